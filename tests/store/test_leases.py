"""One node carries the loop. Another one takes over when it has to, and then the first can't write any more."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import trio

from bassloop.store import NodeDrained, StoreTaken, StoreUnusable, open_store
from bassloop.store.engines.postgresql import PostgreSQLDatabase
from bassloop.store.engines.postgresql_lease import PostgreSQLLease
from bassloop.store.leases import LEASE_SECONDS, ForeignNode, Lease, Tenure
from bassloop.store.nodes import new_node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.store import Store


@pytest.fixture
def engine() -> str:
    return "postgresql"


# --- the rules ---


def test_a_lease_is_current_until_its_time() -> None:
    lease = Lease("a", 3, 100.0, "loop")
    assert lease.is_current(99.9)
    assert not lease.is_current(100.0)
    assert not Lease("", 3, 200.0, "loop").is_current(99.9)


def test_a_lease_may_be_taken_when_it_is_over() -> None:
    lease = Lease("a", 3, 100.0, "loop")
    assert not lease.may_be_taken(99.9, "loop")
    assert lease.may_be_taken(100.0, "loop")
    assert lease.may_be_taken(100.0, "another"), "the keys were changed while nobody had it"
    with pytest.raises(ForeignNode):
        lease.may_be_taken(99.9, "another")


def test_a_node_in_company_stops_when_it_could_not_renew_in_time() -> None:
    tenure = Tenure(3, renewed_at=100.0)
    tenure.renew(110.0, has_company=True)
    assert not tenure.is_over(110.0 + LEASE_SECONDS - 0.1)
    assert tenure.is_over(110.0 + LEASE_SECONDS)


def test_a_node_that_is_alone_waits_for_its_database() -> None:
    tenure = Tenure(3, renewed_at=100.0)
    assert not tenure.is_over(100.0 + 100 * LEASE_SECONDS)


# --- nodes in one process ---


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases be short."""
    for module in ("leases", "nodes"):
        monkeypatch.setattr(f"bassloop.store.{module}.LEASE_SECONDS", 1.0)
    monkeypatch.setattr("bassloop.store.engines.postgresql_lease.RENEW_SECONDS", 0.2)


class Standby:
    """A node that stands by in a task of its own."""

    def __init__(self, location: str, folder: Path, *, identity: str = "") -> None:
        self.places = (location, folder / "blobs")
        self.identity = identity
        self.stands_by, self.carries = trio.Event(), trio.Event()
        self.holder = ""
        self.store: Store | None = None

    async def run(self, name: str = "second") -> None:
        def on_standby(holder: str) -> None:
            self.holder = holder
            self.stands_by.set()

        async with open_store(
            *self.places,
            node=new_node(name, "http://second", "1.0"),
            identity=self.identity,
            on_standby=on_standby,
        ) as store:
            self.store = store
            self.carries.set()
            await trio.sleep_forever()


async def test_a_second_node_stands_by_and_takes_over_at_once_when_the_first_ends(
    location: str, tmp_path: Path
) -> None:
    second = Standby(location, tmp_path)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            first = new_node("first", "http://first", "1.0")
            async with open_store(location, tmp_path / "blobs", node=first) as store:
                await store.deliveries.record("g", "push", None, b"")
                nursery.start_soon(second.run)
                await second.stands_by.wait()
                assert second.holder == "first"
                [one, two] = await store.nodes.all()
                assert (one.name, one.alive, one.carries) == ("first", True, True)
                assert (two.name, two.alive, two.carries) == ("second", True, False)
                ended = trio.current_time()
            await second.carries.wait()
            took = trio.current_time() - ended
            assert second.store is not None
            assert await second.store.deliveries.stored(["g"]) == {"g"}
            assert [each.name for each in await second.store.nodes.all()] == ["second"]
            nursery.cancel_scope.cancel()
    assert took < LEASE_SECONDS, "it was not waited for"


async def test_a_node_with_other_keys_is_refused_while_one_is_there(
    location: str, tmp_path: Path
) -> None:
    places = (location, tmp_path / "blobs")
    async with open_store(*places, identity="these keys"):
        with pytest.raises(StoreUnusable, match="give all nodes the same"):
            async with open_store(*places, identity="other keys"):
                pass
    async with open_store(*places, identity="other keys"):
        pass


async def test_nodes_are_asked_to_drain(location: str, tmp_path: Path, soon: None) -> None:
    second = Standby(location, tmp_path)
    first = new_node("first")
    with trio.fail_after(60):
        async with open_store(location, tmp_path / "blobs", node=first) as store:
            with pytest.RaisesGroup(NodeDrained):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(second.run)
                    await second.stands_by.wait()
                    assert await store.nodes.drain("second") == 1
                    assert await store.nodes.drain("third") == 0
            assert not store.drain_requested.is_set()
            assert await store.nodes.drain("first") == 1
            await store.drain_requested.wait()


async def test_a_node_that_was_not_heard_of_in_time_is_stopped_and_can_t_write(
    location: str, tmp_path: Path, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first doesn't renew its lease, as if it were paused, and then finds that it was taken."""
    pause, woken = PostgreSQLLease._pause, trio.Event()

    async def pause_longer(self: PostgreSQLLease) -> None:
        await (woken.wait() if self._node.name == "first" else pause(self))

    monkeypatch.setattr(PostgreSQLLease, "_pause", pause_longer)
    first, second = Standby(location, tmp_path), Standby(location, tmp_path)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            with pytest.RaisesGroup(
                pytest.RaisesExc(StoreTaken, match="another node has taken over")
            ):
                async with trio.open_nursery() as its:
                    its.start_soon(first.run, "first")
                    await first.carries.wait()
                    nursery.start_soon(second.run)
                    await second.carries.wait()
                    assert first.store is not None
                    with pytest.raises(StoreTaken):
                        await first.store.deliveries.record("stale", "push", None, b"", wait=True)
                    woken.set()
            assert second.store is not None
            assert await second.store.deliveries.record("fresh", "push", None, b"")
            assert await second.store.deliveries.stored(["stale", "fresh"]) == {"fresh"}
            nursery.cancel_scope.cancel()


async def test_a_node_whose_connections_are_ended_goes_on(
    location: str, tmp_path: Path, soon: None
) -> None:
    def end_all() -> None:
        with contextlib.closing(psycopg.connect(location, autocommit=True)) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid != pg_backend_pid()"
            )

    async with open_store(location, tmp_path / "blobs") as store:
        [before] = await store.nodes.all()
        await trio.to_thread.run_sync(end_all)
        with trio.fail_after(60):
            await store.deliveries.record("g", "push", None, b"", wait=True)
            [after] = await store.nodes.all()
        assert (after.carries, after.started_at) == (True, before.started_at)


async def test_a_command_that_repairs_keeps_nodes_from_starting(
    location: str, tmp_path: Path, soon: None
) -> None:
    second = Standby(location, tmp_path)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            with PostgreSQLDatabase(location).ownership():
                nursery.start_soon(second.run)
                await second.stands_by.wait()
                assert second.holder == "a command that repairs it"
            await second.carries.wait()
            nursery.cancel_scope.cancel()


# --- nodes that are killed and paused ---

PROGRAM = """
import sys, trio
from bassloop.store import open_store
from bassloop.store.nodes import new_node

async def main():
    where, blobs, name = sys.argv[1:]
    said = lambda word: print(word, flush=True)
    async with open_store(where, blobs, node=new_node(name), on_standby=lambda _: said("waits")) as store:
        said("carries")
        for number in range(1_000_000):
            await store.deliveries.record(f"{name}-{number}", "push", None, b"")
            said(f"{name}-{number}")

trio.run(main)
"""


class Process:
    """A node in a process of its own, which records deliveries while it carries the loop."""

    def __init__(self, location: str, folder: Path, name: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, location, str(folder / "blobs"), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
            text=True,
        )

    def wait_for(self, word: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == word:
                return
        raise AssertionError(f"{self.name} ended: {self.process.communicate()[1]}")


@pytest.fixture
def first_and_second(location: str, tmp_path: Path) -> Iterator[tuple[Process, Process]]:
    first = Process(location, tmp_path, "first")
    try:
        first.wait_for("first-20")
        second = Process(location, tmp_path, "second")
        try:
            second.wait_for("waits")
            yield first, second
        finally:
            second.process.kill()
            second.process.communicate()
    finally:
        first.process.kill()
        first.process.communicate()


def test_the_lease_of_a_node_that_is_killed_is_taken_in_time(
    first_and_second: tuple[Process, Process], location: str, tmp_path: Path
) -> None:
    first, second = first_and_second
    first.process.send_signal(signal.SIGKILL)
    promised = first.process.communicate()[0].split()
    second.wait_for("second-0")

    async def stored() -> set[str]:
        async with open_store(location, tmp_path / "blobs", owner=False) as store:
            return await store.deliveries.stored(promised)

    assert trio.run(stored) == set(promised)


def test_a_node_that_is_paused_for_longer_than_its_lease_writes_nothing_when_it_wakes(
    first_and_second: tuple[Process, Process], location: str, tmp_path: Path
) -> None:
    first, second = first_and_second
    first.process.send_signal(signal.SIGSTOP)
    second.wait_for("second-0")

    async def stored_of_first() -> int:
        async with open_store(location, tmp_path / "blobs", owner=False) as store:
            rows = await store._engine.read(
                lambda db: db.execute(
                    "SELECT count(*) FROM deliveries WHERE guid LIKE 'first-%'"
                ).fetchone()
            )
            return int(rows[0])

    before = trio.run(stored_of_first)
    first.process.send_signal(signal.SIGCONT)
    _, errors = first.process.communicate(timeout=60)
    assert "another node has taken over" in errors
    assert trio.run(stored_of_first) == before
    second.wait_for("second-100")
