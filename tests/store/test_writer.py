"""The one writer: batches of what queued meanwhile, each write whole, and nobody waits for ever."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from bassloop.store import StoreConflict, StoreError
from bassloop.store.errors import StoreLocked
from bassloop.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

from bassloop.store import Store


def insert(number: int, gate: threading.Event | None = None) -> Callable[[sqlite3.Connection], int]:
    def change(connection: sqlite3.Connection) -> int:
        if gate is not None:
            assert gate.wait(10)
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        return number

    return change


class Opened:
    """A writer over a table of numbers."""

    def __init__(self, path: Path, room: int = 100, *, patient: bool = False) -> None:
        self.path = path
        self.writer = Writer(self.connect, path, room, patient=patient)

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=0.01, isolation_level=None, check_same_thread=False
        )
        connection.execute("CREATE TABLE IF NOT EXISTS numbers (number INTEGER UNIQUE)")
        return connection

    def numbers(self) -> list[int]:
        connection = sqlite3.connect(self.path)
        try:
            return [number for (number,) in connection.execute("SELECT number FROM numbers")]
        finally:
            connection.close()


async def test_what_queues_during_a_commit_is_the_next_batch(tmp_path: Path) -> None:
    opened = Opened(tmp_path / "numbers.db")
    entered, gate = threading.Event(), threading.Event()

    def held_up(connection: sqlite3.Connection) -> int:
        entered.set()
        return insert(0, gate)(connection)

    async with trio.open_nursery() as outer:
        await outer.start(opened.writer.serve)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(opened.writer.write, held_up)
            assert await trio.to_thread.run_sync(entered.wait, 10)
            for number in range(1, 21):
                nursery.start_soon(opened.writer.write, insert(number))
            await trio.testing.wait_all_tasks_blocked()
            assert opened.writer.statistics().waiting == 21
            gate.set()
        statistics = opened.writer.statistics()
        assert (statistics.waiting, statistics.batches, statistics.writes) == (0, 2, 21)
        opened.writer.close()
    assert sorted(opened.numbers()) == list(range(21))


async def test_a_write_that_fails_takes_no_neighbour_with_it(tmp_path: Path) -> None:
    opened = Opened(tmp_path / "numbers.db")
    gate = threading.Event()
    failures: list[Exception] = []

    async def write(number: int) -> None:
        try:
            await opened.writer.write(insert(number, gate))
        except StoreConflict as error:
            failures.append(error)

    async with trio.open_nursery() as outer:
        await outer.start(opened.writer.serve)
        async with trio.open_nursery() as nursery:
            for number in (1, 1, 2, 2, 3):
                nursery.start_soon(write, number)
            await trio.testing.wait_all_tasks_blocked()
            gate.set()
        opened.writer.close()
    assert sorted(opened.numbers()) == [1, 2, 3]
    assert len(failures) == 2


async def test_an_error_of_the_change_itself_reaches_its_caller(tmp_path: Path) -> None:
    opened = Opened(tmp_path / "numbers.db")

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO numbers VALUES (1)")
        raise KeyError("mine")

    async with trio.open_nursery() as outer:
        await outer.start(opened.writer.serve)
        with pytest.raises(KeyError, match="mine"):
            await opened.writer.write(broken)
        opened.writer.close()
    assert opened.numbers() == []


async def test_a_cancelled_write_that_did_not_begin_never_happens(tmp_path: Path) -> None:
    opened = Opened(tmp_path / "numbers.db")
    gate = threading.Event()
    async with trio.open_nursery() as outer:
        await outer.start(opened.writer.serve)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(opened.writer.write, insert(1, gate))
            await trio.testing.wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                scope.cancel()
                await opened.writer.write(insert(2))
            gate.set()
        assert await opened.writer.write(insert(3)) == 3
        opened.writer.close()
    assert opened.numbers() == [1, 3]


async def test_callers_wait_when_too_many_writes_are_queued(tmp_path: Path) -> None:
    opened = Opened(tmp_path / "numbers.db", room=3)
    gate = threading.Event()
    async with trio.open_nursery() as outer:
        await outer.start(opened.writer.serve)
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(opened.writer.write, insert(number, gate))
            await trio.testing.wait_all_tasks_blocked()
            assert opened.writer.statistics().waiting == 3
            gate.set()
        opened.writer.close()
    assert len(opened.numbers()) == 10


async def test_a_transaction_that_cannot_begin_fails_all_that_were_in_it(tmp_path: Path) -> None:
    opened = Opened(tmp_path / "numbers.db")
    async with trio.open_nursery() as outer:
        await outer.start(opened.writer.serve)
        other = sqlite3.connect(opened.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another process"):
            await opened.writer.write(insert(0))
        other.execute("ROLLBACK")
        other.close()
        assert await opened.writer.write(insert(1)) == 1
        opened.writer.close()


async def test_a_patient_writer_waits_until_nobody_keeps_the_database_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bassloop.store.writer.RETRY_SECONDS", 0.001)
    opened = Opened(tmp_path / "numbers.db", patient=True)
    async with trio.open_nursery() as outer:
        await outer.start(opened.writer.serve)
        with closing(sqlite3.connect(opened.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with trio.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(opened.writer.write, insert(number))
                with pytest.raises(StoreLocked, match="locked by another process"):
                    await opened.writer.write(insert(9), wait=False)
                with trio.CancelScope() as given_up:
                    given_up.cancel()
                    await opened.writer.write(insert(8))
                other.execute("ROLLBACK")
        opened.writer.close()
    assert sorted(opened.numbers()) == [0, 1, 2]


async def test_what_is_queued_when_the_store_closes_is_committed(tmp_path: Path) -> None:
    opened = Opened(tmp_path / "numbers.db")
    async with trio.open_nursery() as outer:
        await outer.start(opened.writer.serve)
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(opened.writer.write, insert(number))
            await trio.testing.wait_all_tasks_blocked()
            opened.writer.close()
    assert len(opened.numbers()) == 5
    with pytest.raises(StoreError, match="the store is closed"):
        await opened.writer.write(insert(9))


async def test_reads_go_on_while_a_write_is_held_up(store: Store) -> None:
    gate = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store._engine.write, lambda db: gate.wait(10))
        assert await store.deliveries.newest() == []
        gate.set()


async def test_many_reads_share_a_few_connections(store: Store) -> None:
    await store.deliveries.record("g", "push", None, b"body")
    found: list[bytes] = []

    async def read() -> None:
        delivery = await store.deliveries.get("g")
        assert delivery is not None
        found.append(delivery.body)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(read)
    assert found == [b"body"] * 50
