"""Nodes share a database. The work of a lost one is taken over, and then it can't write any more."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import trio

from bassloop.store import (
    ClaimLost,
    Duty,
    Recorded,
    RuntimeRecord,
    StoreTaken,
    StoreUnreachable,
    StoreUnusable,
    open_store,
)
from bassloop.store.engines.postgresql import PostgreSQLDatabase
from bassloop.store.engines.postgresql_lease import ANSWER_SECONDS, PostgreSQLLease
from bassloop.store.liveness import LEASE_SECONDS, RENEW_SECONDS, OwnLease
from bassloop.store.nodes import Renewal, new_node
from bassloop.terminal import Terminal

from .made import intend, run, step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from bassloop.store import Store
    from bassloop.store.engines.postgresql_connection import PostgreSQLConnection

pytestmark = pytest.mark.postgresql


@pytest.fixture(params=["postgresql"])  # a parameter, so that these tests run in its session
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# --- the rules ---


def test_a_node_with_others_stops_if_it_could_not_renew_its_lease_in_time() -> None:
    lease = OwnLease(renewed_at=100.0)
    lease.renew(110.0, others=1)
    assert not lease.is_over(110.0 + LEASE_SECONDS - 0.1)
    assert lease.is_over(110.0 + LEASE_SECONDS)


def test_a_lost_node_is_noticed_within_twelve_seconds() -> None:
    assert LEASE_SECONDS + RENEW_SECONDS <= 12
    assert RENEW_SECONDS + 2 * ANSWER_SECONDS <= LEASE_SECONDS, "a server may fail to answer once"


def test_a_node_that_is_alone_waits_for_its_database() -> None:
    lease = OwnLease(renewed_at=100.0)
    assert not lease.is_over(100.0 + 100 * LEASE_SECONDS)


def test_a_node_that_was_paused_checks_its_lease_before_it_writes_even_if_it_was_alone() -> None:
    lease = OwnLease(renewed_at=100.0)
    assert lease.may_write(100.0 + LEASE_SECONDS - 0.1)
    assert not lease.may_write(400.0)
    lease.fail(399.0)  # the database can't be reached
    assert lease.may_write(400.0)
    lease.renew(400.0, others=1)
    lease.fail(405.0)
    assert not lease.may_write(400.0 + LEASE_SECONDS), "another node may have taken over"


# --- nodes in one process ---


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no lease run out, and no server be taken for unreachable, because the machine is busy."""
    for module in ("liveness", "nodes"):
        monkeypatch.setattr(f"bassloop.store.{module}.LEASE_SECONDS", 3600.0)
    monkeypatch.setattr("bassloop.store.engines.postgresql_lease.ANSWER_SECONDS", 600.0)


@pytest.fixture
def soon(steady: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nodes renew their leases often, which is when they look at the others'."""
    monkeypatch.setattr("bassloop.store.engines.postgresql_lease.RENEW_SECONDS", 0.2)


@pytest.fixture
def never(steady: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nodes renew their leases only when another one notifies them."""
    monkeypatch.setattr("bassloop.store.engines.postgresql_lease.RENEW_SECONDS", 3600.0)


def expire(location: str, name: str) -> None:
    """Let a node's lease have run out an hour ago."""
    with contextlib.closing(psycopg.connect(location, autocommit=True)) as connection:
        connection.execute(
            "UPDATE nodes SET alive_until = extract(epoch FROM clock_timestamp()) - 3600 WHERE name = %s",
            (name,),
        )


@contextlib.asynccontextmanager
async def node(location: str, folder: Path, name: str, identity: str = "") -> AsyncIterator[Store]:
    own = new_node(name, f"http://{name}", "1.0")
    async with open_store(location, folder / "blobs", node=own, identity=identity) as store:
        yield store


@pytest.fixture
async def two(location: str, tmp_path: Path, soon: None) -> AsyncIterator[tuple[Store, Store]]:
    async with (
        node(location, tmp_path, "first") as first,
        node(location, tmp_path, "second") as second,
    ):
        yield first, second


def runtime(name: str, login: str = "ada") -> RuntimeRecord:
    return RuntimeRecord(name, 7, login, "linux", "amd64", 0, 1.0, f"addr-{name}", name)


async def test_all_nodes_work_and_see_the_same_data(two: tuple[Store, Store]) -> None:
    first, second = two
    assert await first.deliveries.record("g", "push", None, b"") is Recorded.HERE
    assert await second.deliveries.stored(["g"]) == {"g"}
    assert [each.guid for each in await first.deliveries.unfinished(own=True)] == ["g"]
    assert await second.deliveries.unfinished(own=True) == []
    named = [(each.name, each.role, each.address) for each in await first.nodes.all()]
    assert named == [("first", "works", "http://first"), ("second", "works", "http://second")]


async def test_a_node_knows_how_many_others_there_are_that_do_not_drain(
    two: tuple[Store, Store],
) -> None:
    first, second = two
    with trio.fail_after(120):
        while (first.cluster.size, first.cluster.successors) != (2, 1):
            await first.cluster.changed()
        await second.nodes.note_draining()
        while (first.cluster.size, first.cluster.successors) != (2, 0):
            await first.cluster.changed()
    assert (second.cluster.size, second.cluster.successors) == (2, 1)


async def test_a_delivery_is_left_to_the_node_of_its_head_or_of_its_senders_runner(
    two: tuple[Store, Store],
) -> None:
    first, second = two
    await second.runtimes.add(runtime("r"))

    async def record(guid: str, key: str, sender: str) -> Recorded:
        return await first.deliveries.record(guid, "push", None, b"", order_key=key, sender=sender)

    assert await record("a", "1:aaa", "Ada") is Recorded.ELSEWHERE
    assert await record("b", "1:bbb", "bob") is Recorded.HERE
    assert await record("c", "1:aaa", "bob") is Recorded.ELSEWHERE, "as the other of its head"
    assert await record("d", "1:bbb", "ada") is Recorded.HERE, "as the other of its head"
    assert [each.guid for each in await second.deliveries.unfinished(own=True)] == ["a", "c"]
    requests = await second.requests.all()
    assert [(each.kind, each.body) for each in requests] == [
        ("handle", {"delivery": "a"}),
        ("handle", {"delivery": "c"}),
    ]
    await second.requests.remove([each.id for each in requests])
    assert await second.requests.all() == []
    assert await first.requests.all() == []


async def test_a_node_changes_nothing_that_belongs_to_another_one(two: tuple[Store, Store]) -> None:
    first, second = two
    await first.deliveries.record("g", "push", None, b"")
    for change in (
        second.deliveries.set_state("g", "handling"),
        second.deliveries.fail("g", "why", 1.0),
        second.deliveries.postpone("g", "why", 1.0),
        second.deliveries.put_back("g"),
    ):
        with pytest.raises(ClaimLost):
            await change
    made = run()
    await intend(first, made)
    with pytest.raises(ClaimLost):
        await second.runs.start(made.id, "r", "ada", "linux/amd64", 1.0)
    with pytest.raises(ClaimLost):
        await second.runs.end(made.id, "cancelled", None, 1.0)
    assert await first.runs.end(made.id, "cancelled", None, 1.0)
    assert not await second.runs.end(made.id, "cancelled", None, 1.0), "it has ended before"


async def test_the_work_of_a_node_that_ends_is_taken_over_immediately(
    location: str, tmp_path: Path, never: None
) -> None:
    """Neither does the other node wait for the lease to run out, nor for its own next renewal."""
    queued, running = run(delivery="g"), run(delivery="g", check_name="other")
    async with node(location, tmp_path, "second") as second:
        async with node(location, tmp_path, "first") as first:
            await first.deliveries.record("g", "push", None, b"")
            await first.deliveries.set_state("g", "handling")
            for made in (queued, running):
                await intend(first, made)
            await first.runs.start(running.id, "r", "ada", "linux/amd64", 1.0)
            await first.runtimes.add(runtime("r"))
            with_log, row = await step(first)
            log = await first.logs.open(with_log, row)
            await log.append(b"one\n", Terminal().settle(b"one\n"), 1, 1.0)
        with trio.fail_after(120):
            await second.others_ended.wait()
        left = await second.nodes.take_over()
        assert list(left.nodes) == ["first"]
        assert [each.guid for each in left.deliveries] == ["g"]
        assert {each.id for each in left.runs} >= {queued.id, running.id}
        assert {each.node for each in left.runs} == {second.nodes.own_id}
        assert await second.runtimes.connected() == []
        assert await second.runs.end(running.id, "interrupted", None, 1.0)
        again = await second.nodes.take_over()
        assert (again.nodes, again.deliveries, again.runs) == ([], [], [])
        assert [each.name for each in await second.nodes.all()] == ["second"]


async def test_work_that_a_draining_node_has_not_begun_is_taken_over(
    two: tuple[Store, Store],
) -> None:
    first, second = two
    for guid, key in (("a", "1:aaa"), ("b", "1:aaa"), ("c", "1:ccc"), ("d", None)):
        await first.deliveries.record(guid, "push", None, b"", order_key=key)
    await first.deliveries.set_state("a", "handling")
    assert await second.nodes.drain("first") == 1
    assert await second.nodes.drain("third") == 0
    with trio.fail_after(120):
        await first.drain_requested.wait()
        await second.others_ended.wait()
    left = await second.nodes.take_over()
    assert list(left.nodes) == [], "it hasn't ended"
    assert [each.guid for each in left.deliveries] == ["c", "d"], "in their head's order"
    assert not second.drain_requested.is_set()
    assert await first.deliveries.record("e", "push", None, b"") is Recorded.ELSEWHERE
    assert [each.guid for each in await second.deliveries.unfinished(own=True)] == ["c", "d", "e"]


async def test_a_queued_run_goes_back_to_the_node_that_handles_its_delivery(
    location: str, tmp_path: Path, steady: None
) -> None:
    made = run(delivery="g")
    async with (
        node(location, tmp_path, "second") as second,
        node(location, tmp_path, "third") as third,
    ):
        async with node(location, tmp_path, "first") as first:
            await second.deliveries.record("g", "push", None, b"")
            await intend(first, made)
        left = await third.nodes.take_over()
        assert [each.node for each in left.runs] == [second.nodes.own_id]


async def test_a_node_with_other_keys_is_refused_while_another_one_runs(
    location: str, tmp_path: Path, steady: None
) -> None:
    async with node(location, tmp_path, "first", "these keys"):
        with pytest.raises(StoreUnusable, match="give all nodes the same"):
            async with node(location, tmp_path, "second", "other keys"):
                pass
    async with node(location, tmp_path, "second", "other keys"):
        pass


async def test_a_node_that_did_not_renew_in_time_is_stopped_and_can_not_write(
    location: str, tmp_path: Path, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first doesn't renew its lease, as if it were paused, and then finds that it has run out."""
    pause, woken = PostgreSQLLease._pause, trio.Event()

    async def pause_longer(self: PostgreSQLLease) -> None:
        await (woken.wait() if self._node.name == "first" else pause(self))

    monkeypatch.setattr(PostgreSQLLease, "_pause", pause_longer)

    async def be_paused(second: Store) -> None:
        async with node(location, tmp_path, "first") as first:
            await first.deliveries.record("its", "push", None, b"")
            await trio.to_thread.run_sync(expire, location, "first")
            await second.others_ended.wait()
            left = await second.nodes.take_over()
            assert [each.guid for each in left.deliveries] == ["its"]
            for write in (
                first.deliveries.record("stale", "push", None, b"", wait=True),
                first.deliveries.set_state("its", "handling"),
            ):
                with pytest.raises(StoreTaken):
                    await write
            woken.set()
            await trio.sleep_forever()

    with trio.fail_after(120):
        async with node(location, tmp_path, "second") as second:
            with pytest.raises(StoreTaken, match="another node has taken over"):
                await be_paused(second)
            assert await second.deliveries.stored(["stale", "its"]) == {"its"}
            assert [each.name for each in await second.nodes.all() if each.alive] == ["second"]


async def test_a_node_whose_connections_are_ended_continues(
    location: str, tmp_path: Path, soon: None
) -> None:
    def end_all() -> None:
        with contextlib.closing(psycopg.connect(location, autocommit=True)) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid != pg_backend_pid()"
            )

    async with open_store(location, tmp_path / "blobs") as store:
        [before] = await store.nodes.all()
        await trio.to_thread.run_sync(end_all)
        with trio.fail_after(120):
            await store.deliveries.record("g", "push", None, b"", wait=True)
            [after] = await store.nodes.all()
        assert (after.alive, after.started_at) == (True, before.started_at)


async def test_a_command_that_repairs_keeps_nodes_from_starting(
    location: str, tmp_path: Path, soon: None
) -> None:
    waits, started, reasons = trio.Event(), trio.Event(), []

    def on_wait(why: str) -> None:
        reasons.append(why)
        waits.set()

    async def start() -> None:
        async with open_store(location, tmp_path / "blobs", on_wait=on_wait):
            started.set()
            await trio.sleep_forever()

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            with PostgreSQLDatabase(location).ownership():
                nursery.start_soon(start)
                await waits.wait()
                assert reasons[0].startswith("a command has the database")
            await started.wait()
            nursery.cancel_scope.cancel()


# --- nodes that are killed and paused ---

PROGRAM = """
import sys, trio
from bassloop.store import open_store
from bassloop.store.nodes import Renewal, new_node

async def main():
    where, blobs, name = sys.argv[1:]
    said = lambda word: print(word, flush=True)
    async with trio.open_nursery() as nursery:
        async with open_store(where, blobs, node=new_node(name)) as store:

            async def take_over():
                while True:
                    await store.others_ended.wait()
                    left = await store.nodes.take_over()
                    if left.nodes:
                        said("took over")

            nursery.start_soon(take_over)
            for number in range(1_000_000):
                await store.deliveries.record(f"{name}-{number}", "push", None, b"", wait=True)
                said(f"{name}-{number}")

trio.run(main)
"""


class Process:
    """A node in a process of its own, which records deliveries."""

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
            second.wait_for("second-0")
            yield first, second
        finally:
            second.process.kill()
            second.process.communicate()
    finally:
        first.process.kill()
        first.process.communicate()


async def unfinished_of_first(location: str, folder: Path) -> dict[str, str]:
    async with open_store(location, folder / "blobs", owner=False) as store:
        found = await store.deliveries.unfinished()
        return {each.guid: each.node for each in found if each.guid.startswith("first-")}


def test_the_work_of_a_killed_node_is_taken_over_in_time(
    first_and_second: tuple[Process, Process], location: str, tmp_path: Path
) -> None:
    first, second = first_and_second
    first.process.send_signal(signal.SIGKILL)
    promised = first.process.communicate()[0].split()
    second.wait_for("took over")
    found = trio.run(unfinished_of_first, location, tmp_path)
    assert found.keys() >= set(promised)
    assert len(set(found.values())) == 1

    async def second_s_id() -> str:
        async with open_store(location, tmp_path / "blobs", owner=False) as store:
            [there] = [each for each in await store.nodes.all() if each.alive]
            return there.id

    assert set(found.values()) == {trio.run(second_s_id)}


def test_a_node_that_is_paused_for_longer_than_its_lease_writes_nothing_when_it_wakes(
    first_and_second: tuple[Process, Process], location: str, tmp_path: Path
) -> None:
    first, second = first_and_second
    first.process.send_signal(signal.SIGSTOP)
    second.wait_for("took over")
    before = trio.run(unfinished_of_first, location, tmp_path)
    first.process.send_signal(signal.SIGCONT)
    _, errors = first.process.communicate(timeout=120)
    assert "another node has taken over" in errors
    assert trio.run(unfinished_of_first, location, tmp_path) == before


# --- what one node does for all ---


async def test_a_duty_belongs_to_one_node_until_it_drains_or_is_gone(
    two: tuple[Store, Store],
) -> None:
    first, second = two
    assert await first.nodes.take_duty(Duty.PRUNING)
    assert not await second.nodes.take_duty(Duty.PRUNING)
    assert await first.nodes.take_duty(Duty.PRUNING), "it has it still"
    assert await second.nodes.take_duty(Duty.REDELIVERY), "another duty"
    await first.nodes.note_draining()
    assert await second.nodes.take_duty(Duty.PRUNING)
    assert not await first.nodes.take_duty(Duty.PRUNING)


async def test_a_node_that_was_alone_knows_at_once_when_another_joins(
    location: str, tmp_path: Path, never: None
) -> None:
    with trio.fail_after(120):
        async with node(location, tmp_path, "first") as first:
            async with node(location, tmp_path, "second"):
                while first.cluster.size != 2:
                    await first.cluster.changed()
            while first.cluster.size != 1:
                await first.cluster.changed()


async def test_a_node_with_others_whose_server_did_not_answer_asks_again_soon(
    location: str, tmp_path: Path, never: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew, failed = PostgreSQLLease._renew, []

    def fail_once(self: PostgreSQLLease, db: PostgreSQLConnection) -> Renewal:
        if self._node.name == "first" and self.cluster.size == 2 and not failed:
            failed.append(True)
            raise StoreUnreachable("the server doesn't answer")
        return renew(self, db)

    monkeypatch.setattr(PostgreSQLLease, "_renew", fail_once)
    with trio.fail_after(120):
        async with (
            node(location, tmp_path, "first") as first,
            node(location, tmp_path, "second"),
        ):
            while first.cluster.size != 2:
                await first.cluster.changed()
            async with node(location, tmp_path, "third"):
                while first.cluster.size != 3:
                    await first.cluster.changed()
    assert failed


async def test_a_node_renews_its_lease_while_all_threads_wait_for_something_else(
    location: str, tmp_path: Path, soon: None
) -> None:
    threads = trio.to_thread.current_default_thread_limiter()
    tokens = threads.total_tokens
    with trio.fail_after(120):
        async with node(location, tmp_path, "first") as first:
            async with node(location, tmp_path, "second"):
                while first.cluster.size != 2:
                    await first.cluster.changed()
            threads.total_tokens = 1
            holder = object()
            threads.acquire_on_behalf_of_nowait(holder)
            try:
                while first.cluster.size != 1:
                    await first.cluster.changed()
            finally:
                threads.release_on_behalf_of(holder)
                threads.total_tokens = tokens


async def test_a_node_that_starts_leaves_the_work_of_a_lost_one_to_nodes_that_are_ready(
    location: str, tmp_path: Path, soon: None
) -> None:
    async with node(location, tmp_path, "second") as second:
        async with node(location, tmp_path, "first") as first:
            await first.deliveries.record("g", "push", None, b"")
        async with node(location, tmp_path, "third") as third:
            assert await third.deliveries.unfinished(own=True) == []
            left = await second.nodes.take_over()
            assert [each.guid for each in left.deliveries] == ["g"]


async def test_each_node_knows_how_many_there_are(two: tuple[Store, Store]) -> None:
    with trio.fail_after(120):
        for each in two:
            while each.cluster.size != 2:
                await each.cluster.changed()


async def test_each_node_knows_by_its_own_clock_what_others_spend(
    two: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    now = time.time
    with monkeypatch.context() as wrong:
        wrong.setattr(time, "time", lambda: now() + 500.0)  # the clock of the second node's machine
        at = time.time()
        await second.api_spending.put(
            "App",
            at=at,
            spent=[(at - 3, 50)],
            purposes=["start"],
            reserved=5,
            closed_until=at + 7,
        )
        assert (await second.api_spending.of_others("App")).spent == ()
    found = await first.api_spending.of_others("App")
    [(spent_at, points, purpose)], [(reserved_at, reserved)] = found.spent, found.reserved
    assert (points, purpose, reserved) == (50, "start", 5)
    assert now() - 60 < spent_at < reserved_at < found.closed_until < now() + 60
    assert (await first.api_spending.of_others("Ap")).reserved == ()


async def test_points_that_a_lost_node_has_spent_count_for_the_next_one(
    location: str, tmp_path: Path, steady: None
) -> None:
    async with node(location, tmp_path, "first") as first:
        at = time.time()
        await first.api_spending.put(
            "App", at=at, spent=[(at, 30)], purposes=["start"], reserved=3, closed_until=at + 6
        )
    async with node(location, tmp_path, "second") as second:
        earlier = (await second.api_spending.all())["App"]
        found = await second.api_spending.of_others("App")
    assert (earlier.spent, earlier.reserved) == ((), 0), "it's counted as what another node spent"
    assert earlier.closed_until == pytest.approx(at + 6, abs=60)
    assert [points for _, points, _ in found.spent] == [30]
    assert [points for _, points in found.reserved] == [3]
