"""The writer: queued changes are committed in batches, each change is atomic, and nobody waits forever."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from bassloop.store import StoreConflict, StoreError
from bassloop.store.engines.postgresql import PostgreSQLConnection, PostgreSQLDatabase
from bassloop.store.engines.sqlite import SQLiteDatabase
from bassloop.store.errors import StoreLocked
from bassloop.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bassloop.store.database import Connection

from bassloop.store import Store


def insert(number: int, gate: threading.Event | None = None) -> Callable[[Connection], int]:
    def change(connection: Connection) -> int:
        if gate is not None:
            assert gate.wait(120)
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        return number

    return change


_TABLE = "CREATE TABLE IF NOT EXISTS numbers (number INTEGER UNIQUE)"


class NumbersFile(SQLiteDatabase):
    """A database with a table of numbers, which doesn't wait for others that write."""

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=0.01, isolation_level=None, check_same_thread=False
        )
        connection.execute(_TABLE)
        return connection


class NumbersOnServer(PostgreSQLDatabase):
    """The same on a server."""

    def connect(self) -> PostgreSQLConnection:
        connection = super().connect()
        connection.execute(_TABLE)
        return connection


class Opened:
    """A writer over a table of numbers."""

    def __init__(self, location: Path | str, room: int = 100, *, patient: bool = False) -> None:
        on_server = isinstance(location, str)
        self.database = NumbersOnServer(location) if on_server else NumbersFile(location)
        self.writer = Writer(self.database, room, patient=patient)

    def numbers(self) -> list[int]:
        with closing(self.database.connect()) as connection:
            return [number for (number,) in connection.execute("SELECT number FROM numbers")]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be another process that writes."""
        with closing(self.database.connect()) as connection:
            self.database.begin(connection)
            yield
            connection.execute("ROLLBACK")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait for others that write, and let a transaction be held up for as long as a test likes."""
    monkeypatch.setattr("bassloop.store.engines.postgresql.LOCK_SECONDS", 0.01)
    monkeypatch.setattr("bassloop.store.engines.postgresql.IDLE_SECONDS", 600.0)


class Steps(trio.abc.Instrument):
    """Counts the steps of a task, from one checkpoint to the next."""

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self.task, self.count = task, 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task is self.task


async def test_a_write_pauses_only_for_its_commit(location: Path | str) -> None:
    opened = Opened(location)
    steps = Steps(trio.lowlevel.current_task())
    async with trio.open_nursery() as nursery:
        await nursery.start(opened.writer.serve)
        trio.lowlevel.add_instrument(steps)
        assert await opened.writer.write(insert(1)) == 1
        trio.lowlevel.remove_instrument(steps)
        opened.writer.close()
    assert steps.count == 1


async def test_a_cancelled_write_is_not_queued(location: Path | str) -> None:
    opened = Opened(location)
    async with trio.open_nursery() as nursery:
        await nursery.start(opened.writer.serve)
        with trio.CancelScope() as scope:
            scope.cancel()
            await opened.writer.write(insert(1))
        assert opened.writer.statistics().waiting == 0
        opened.writer.close()
    assert opened.numbers() == []


async def test_changes_queued_during_a_commit_are_the_next_batch(location: Path | str) -> None:
    opened = Opened(location)
    entered, gate = threading.Event(), threading.Event()

    def held_up(connection: Connection) -> int:
        entered.set()
        return insert(0, gate)(connection)

    async with trio.open_nursery() as outer:
        await outer.start(opened.writer.serve)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(opened.writer.write, held_up)
            assert await trio.to_thread.run_sync(entered.wait, 120)
            for number in range(1, 21):
                nursery.start_soon(opened.writer.write, insert(number))
            await trio.testing.wait_all_tasks_blocked()
            assert opened.writer.statistics().waiting == 21
            gate.set()
        statistics = opened.writer.statistics()
        assert (statistics.waiting, statistics.batches, statistics.writes) == (0, 2, 21)
        opened.writer.close()
    assert sorted(opened.numbers()) == list(range(21))


async def test_a_failing_write_does_not_affect_others_in_its_batch(location: Path | str) -> None:
    opened = Opened(location)
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


async def test_an_error_of_the_change_itself_reaches_its_caller(location: Path | str) -> None:
    opened = Opened(location)

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO numbers VALUES (1)")
        raise KeyError("mine")

    async with trio.open_nursery() as outer:
        await outer.start(opened.writer.serve)
        with pytest.raises(KeyError, match="mine"):
            await opened.writer.write(broken)
        opened.writer.close()
    assert opened.numbers() == []


async def test_a_cancelled_write_that_has_not_begun_never_happens(location: Path | str) -> None:
    opened = Opened(location)
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


async def test_callers_wait_when_too_many_writes_are_queued(location: Path | str) -> None:
    opened = Opened(location, room=3)
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


async def test_a_transaction_that_cannot_begin_fails_all_that_were_in_it(
    location: Path | str,
) -> None:
    opened = Opened(location)
    async with trio.open_nursery() as outer:
        await outer.start(opened.writer.serve)
        with opened.locked(), pytest.raises(StoreError, match="locked by another process"):
            await opened.writer.write(insert(0))
        assert await opened.writer.write(insert(1)) == 1
        opened.writer.close()


class LostConnection(sqlite3.Connection):
    """A connection that can't even roll back."""

    def execute(self, statement: str, *more: object) -> sqlite3.Cursor:
        if statement == "ROLLBACK":
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(statement, *more)  # type: ignore[arg-type]


async def test_a_connection_that_is_lost_while_it_is_rolled_back_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(tmp_path / "db")
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=LostConnection))
    async with trio.open_nursery() as outer:
        await outer.start(opened.writer.serve)
        await opened.writer.write(insert(1))
        monkeypatch.undo()
        with pytest.raises(StoreError, match="UNIQUE"):
            await opened.writer.write(insert(1))
        assert await opened.writer.write(insert(2)) == 2
        opened.writer.close()
    assert opened.numbers() == [1, 2]


async def test_a_patient_writer_waits_until_the_database_is_no_longer_locked(
    location: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bassloop.store.writer.RETRY_SECONDS", 0.001)
    opened = Opened(location, patient=True)
    async with trio.open_nursery() as outer:
        await outer.start(opened.writer.serve)
        async with trio.open_nursery() as nursery:
            with opened.locked():
                for number in range(3):
                    nursery.start_soon(opened.writer.write, insert(number))
                with pytest.raises(StoreLocked, match="locked by another process"):
                    await opened.writer.write(insert(9), wait=False)
                with trio.CancelScope() as given_up:
                    given_up.cancel()
                    await opened.writer.write(insert(8))
        opened.writer.close()
    assert sorted(opened.numbers()) == [0, 1, 2]


async def test_queued_changes_are_committed_when_the_store_closes(location: Path | str) -> None:
    opened = Opened(location)
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


async def test_reads_continue_while_a_write_is_delayed(store: Store) -> None:
    gate = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store._engine.write, lambda db: gate.wait(120))
        assert await store.deliveries.newest() == []
        gate.set()


async def test_many_reads_share_a_few_connections(store: Store) -> None:
    await store.deliveries.record("g", "push", None, b"body")
    found: list[bytes] = []

    async def read() -> None:
        found.append(await store.deliveries.body("g"))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(read)
    assert found == [b"body"] * 50
