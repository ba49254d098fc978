"""Several daemons share a database, and all of them work. One is killed, paused, cut off or drained."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from psycopg.conninfo import conninfo_to_dict

from bassloop.standin import StandInError
from bassloop.store import open_store
from bassloop.store.liveness import LEASE_SECONDS
from tests.chaos.cluster import Cable as ChaosCable
from tests.repositories import commits
from tests.until import until

from .world import open_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from bassloop.store import Store
    from tests.databases import PostgreSQLServer
    from tests.repositories import MakeRepository

    from .world import Daemon, LoopNode, World

HOOK = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "COMMAND") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:after))
"""

GRACE_SECONDS = 120.0
"""Seconds that a takeover may take beyond the lease, on a busy machine."""


async def push(world: World, daemon: Daemon, head: str) -> str | None:
    """Push a head, and return the delivery's guid if it was accepted."""
    payload = {**await world.standin.payload("push"), "after": head}
    with suppress(StandInError):  # nobody answered
        delivered = await world.standin.deliver(daemon.url, "push", payload)
        if delivered.status == 202:
            return delivered.guid
    return None


async def handled(store: Store, guid: str) -> None:
    """Wait until a delivery is done, of which another process has no event."""
    while (found := await store.deliveries.get(guid)) is None or found.state != "done":
        await trio.sleep(0.1)


def took_over(node: LoopNode, lost: LoopNode) -> bool:
    """Return whether a node has taken over another one's work, alone or together with that of others."""
    events = (json.loads(line) for line in node.log if b'"taken over"' in line)
    return any(lost.name in event["nodes"] for event in events)


def log_bytes(world: World) -> dict[Path, bytes]:
    """Return the files of all logs, which the nodes have in one folder."""
    logs = world.folder / "data" / "blobs" / "logs"
    return {path: path.read_bytes() for path in logs.rglob("*") if path.is_file()}


def registered(node: LoopNode) -> list[bytes]:
    """Return the lines in which a node says that a runtime was registered."""
    return [line for line in node.log if b"runtime registered" in line]


@pytest.fixture
def url(postgresql: PostgreSQLServer) -> Iterator[str]:
    url = postgresql.create()
    yield url
    postgresql.drop(url)


@asynccontextmanager
async def nodes(
    world: World, names: tuple[str, ...] = ("one", "two", "three"), **settings: str
) -> AsyncGenerator[list[LoopNode]]:
    """Several nodes, all of them ready. The first one alone has the settings."""
    async with AsyncExitStack() as stack:
        found = []
        for name in names:
            own = settings if name == names[0] else {}
            found.append(await stack.enter_async_context(world.node(name, **own)))
        for node in found:
            await node.ready()
        yield found


class Cable:
    """The way to a database server, which can be cut."""

    def __init__(self, url: str) -> None:
        there = conninfo_to_dict(url)
        self._socket = f"{there['host']}/.s.PGSQL.5432"
        self._name = there["dbname"]
        self._connections = trio.CancelScope()
        self.url = ""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self._connections:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listeners[0].socket.getsockname()[1]
            self.url = f"postgresql://postgres@127.0.0.1:{port}/{self._name}"
            task_status.started()
            await trio.serve_listeners(self._serve, listeners)

    def cut(self) -> None:
        """Close all connections, and take no more."""
        self._connections.cancel()

    async def _serve(self, client: trio.SocketStream) -> None:
        async with await trio.open_unix_socket(self._socket) as server:
            await join(client, server)


@dataclass
class Balancer:
    """An address in front of the nodes, which leads new connections of runners to one of them."""

    target: Daemon
    port: int = 0

    @property
    def daemon(self) -> Daemon:
        """The daemon that runners take it for."""
        host_key = self.target.host_key.replace(f":{self.target.ssh_port} ", f":{self.port} ")
        return replace(self.target, ssh_port=self.port, host_key=host_key)

    async def serve(self, client: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", self.target.ssh_port) as server:
            await join(client, server)


@asynccontextmanager
async def balancer(target: Daemon) -> AsyncGenerator[Balancer]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    found = Balancer(target, listeners[0].socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, found.serve, listeners)
        yield found
        nursery.cancel_scope.cancel()


async def join(client: trio.SocketStream, server: trio.SocketStream) -> None:
    """Carry bytes both ways until one of the two ends."""
    async with trio.open_nursery() as both:

        async def copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async for piece in source:
                    await target.send_all(piece)
            both.cancel_scope.cancel()

        both.start_soon(copy, client, server)
        both.start_soon(copy, server, client)


@pytest.mark.parametrize("how", ["kill", "pause", "cut"])
async def test_a_check_that_a_lost_node_ran_is_interrupted_and_the_others_continue(
    make_repository: MakeRepository, url: str, tmp_path: Path, how: str
) -> None:
    ran, go = tmp_path / "ran", tmp_path / "go"
    command = f"echo ran >> {ran}; while ! test -e {go}; do echo line; sleep 0.1; done"
    repository = make_repository(**{"project.bass": HOOK.replace("COMMAND", command)})
    heads = commits(repository, 2)
    cable = Cable(url)
    with trio.fail_after(600):
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            await nursery.start(cable.run)
            around = open_world(repository, tmp_path / "world", DATABASE_URL=url)
            world = await stack.enter_async_context(around)
            own = {"DATABASE_URL": cable.url} if how == "cut" else {}
            lost, two, three = await stack.enter_async_context(nodes(world, **own))
            async with world.runner(await lost.ready()):
                first = await push(world, await two.ready(), heads[0])
                await world.seen("in_progress")
                await until(lambda: b"line\n" in b"".join(log_bytes(world).values()))
                since = trio.current_time()
                match how:
                    case "kill":
                        lost.process.kill()
                    case "pause":
                        lost.process.send_signal(signal.SIGSTOP)
                    case "cut":
                        cable.cut()
                await world.concluded()
                took = trio.current_time() - since
            assert [run["conclusion"] for run in world.standin.check_runs] == ["cancelled"]
            stored, shown = log_bytes(world), deepcopy(world.standin.check_runs)
            if how == "pause":
                lost.process.send_signal(signal.SIGCONT)
            if how != "kill":
                assert await lost.process.wait() == 1
            assert log_bytes(world) == stored
            assert world.standin.check_runs == shown
            assert took < LEASE_SECONDS + GRACE_SECONDS
            go.touch()
            async with world.runner(await two.ready()):
                second = await push(world, await three.ready(), heads[1])
                async with open_store(url, tmp_path / "blobs", owner=False) as store:
                    assert first is not None
                    assert second is not None
                    for guid in (first, second):
                        await handled(store, guid)
                    assert await store.requests.all() == []
            conclusions = [run["conclusion"] for run in world.standin.check_runs]
            assert conclusions == ["cancelled", "success"]
            nursery.cancel_scope.cancel()
    assert len(ran.read_text().splitlines()) == 2


async def test_a_node_that_is_alone_waits_for_its_database_and_its_check_succeeds(
    make_repository: MakeRepository, url: str, tmp_path: Path
) -> None:
    ran, go, there = tmp_path / "ran", tmp_path / "go", conninfo_to_dict(url)
    command = f"echo ran >> {ran}; until test -e {go}; do sleep 0.1; done"
    repository = make_repository(**{"project.bass": HOOK.replace("COMMAND", command)})
    cable = ChaosCable(partial(trio.open_unix_socket, f"{there['host']}/.s.PGSQL.5432"))
    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            await nursery.start(cable.run)
            its_url = f"postgresql://postgres@127.0.0.1:{cable.port}/{there['dbname']}"
            async with (
                open_world(repository, tmp_path / "world", DATABASE_URL=its_url) as its,
                its.node("alone") as node,
                its.runner(await node.ready()),
            ):
                await push(its, await node.ready(), commits(repository, 1)[0])
                await until(ran.exists)
                async with cable.cut():
                    go.touch()
                    await trio.sleep(LEASE_SECONDS + 2)
                await its.concluded()
                assert node.process.returncode is None
                assert [run["conclusion"] for run in its.standin.check_runs] == ["success"]
            nursery.cancel_scope.cancel()
    assert ran.read_text() == "ran\n"


async def test_a_node_that_drains_finishes_its_check_and_the_others_use_its_idle_runners(
    make_repository: MakeRepository, url: str, tmp_path: Path
) -> None:
    ran, go = tmp_path / "ran", tmp_path / "go"
    os.mkfifo(go)
    command = f"if test -e {ran}; then echo again >> {ran}; else echo ran > {ran}; cat {go}; fi"
    repository = make_repository(**{"project.bass": HOOK.replace("COMMAND", command)})
    heads = commits(repository, 2)
    with trio.fail_after(600):
        async with (
            open_world(repository, tmp_path / "world", DATABASE_URL=url) as world,
            nodes(world, ("one", "two"), DRAIN_SECONDS="600") as (one, two),
            balancer(await one.ready()) as balanced,
        ):
            async with world.runner(await one.ready()):
                await push(world, await two.ready(), heads[0])
                await until(ran.exists)
                async with world.runner(balanced.daemon):
                    await until(lambda: len(registered(one)) == 2)
                    balanced.target = await two.ready()
                    assert await world.command("drain", "one") == "one drains, and ends then\n"
                    await until(lambda: any(b"asked to drain" in line for line in one.log))
                    assert "one  drains  (" in await world.command("nodes")
                    await until(lambda: registered(two))
                    await push(world, await two.ready(), heads[1])
                    await until(lambda: ran.read_text() == "ran\nagain\n")
                    go.write_text("done")
                    await world.concluded()
                    assert await one.process.wait() == 0
            conclusions = [run["conclusion"] for run in world.standin.check_runs]
            assert conclusions == ["success", "success"]
            said = await world.command("nodes")
            assert said.startswith("two  works  (")
            assert "one" not in said


async def test_a_check_can_be_cancelled_on_any_node(
    make_repository: MakeRepository, url: str, tmp_path: Path
) -> None:
    """A push that replaces a head is handled by another node than the one that runs its check."""
    ran = tmp_path / "ran"
    command = f"echo ran >> {ran}; sleep 300"
    repository = make_repository(**{"project.bass": HOOK.replace("COMMAND", command)})
    before, after = commits(repository, 2)
    with trio.fail_after(600):
        async with (
            open_world(repository, tmp_path / "world", DATABASE_URL=url) as world,
            nodes(world, ("one", "two")) as (one, two),
            world.runner(await one.ready()),
        ):
            await push(world, await two.ready(), before)
            await until(ran.exists)
            payload = {**await world.standin.payload("push"), "before": before, "after": after}
            payload["sender"] = {**payload["sender"], "login": "somebody", "id": 4711}
            await world.standin.deliver((await two.ready()).url, "push", payload)
            check = world.standin.check_runs[0]
            await until(lambda: check["status"] == "completed")
            assert check["conclusion"] == "cancelled"
            assert any(b"run superseded" in line for line in two.log)


async def test_a_runner_that_connects_late_runs_what_waits_for_it_on_another_node(
    make_repository: MakeRepository, url: str, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    repository = make_repository(**{"project.bass": HOOK.replace("COMMAND", f"echo ran >> {ran}")})
    with trio.fail_after(600):
        async with (
            open_world(repository, tmp_path / "world", DATABASE_URL=url) as world,
            nodes(world, ("one", "two")) as (one, two),
        ):
            guid = await push(world, await one.ready(), commits(repository, 1)[0])
            await world.seen("queued")
            async with (
                world.runner(await two.ready()),
                open_store(url, tmp_path / "blobs", owner=False) as store,
            ):
                await world.concluded()
                assert guid is not None
                await handled(store, guid)
                [run] = (await store.runs.newest(10, public_only=False)).items
                assert run.state == "succeeded"
                ids = {each.name: each.id for each in await store.nodes.all()}
                assert run.node == ids["two"]
                delivery = await store.deliveries.get(guid)
                assert delivery is not None
                assert delivery.node == ids["one"]
            assert any(b"run handed over" in line for line in one.log)
    assert [check["conclusion"] for check in world.standin.check_runs] == ["success"]
    assert ran.read_text() == "ran\n"


async def test_a_hook_that_needs_a_runner_is_evaluated_on_the_node_that_gets_one(
    make_repository: MakeRepository, url: str, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    hook = """
(defn github-hook [event client]
  (run (with-image ($ sh -c "echo hook >> RAN") {:repository "alpine" :platform {:os "linux"}}))
  (client:start-check
    (with-image ($ sh -c "echo check >> RAN") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:after))
"""
    repository = make_repository(**{"project.bass": hook.replace("RAN", str(ran))})
    with trio.fail_after(600):
        async with (
            open_world(repository, tmp_path / "world", DATABASE_URL=url) as world,
            nodes(world, ("one", "two")) as (one, two),
        ):
            guid = await push(world, await one.ready(), commits(repository, 1)[0])
            assert guid is not None
            await until(lambda: any(b"delivery decided" in line for line in one.log))
            async with (
                world.runner(await two.ready()),
                open_store(url, tmp_path / "blobs", owner=False) as store,
            ):
                await handled(store, guid)
                await world.concluded()
                delivery = await store.deliveries.get(guid)
                ids = {each.name: each.id for each in await store.nodes.all()}
                assert delivery is not None
                assert (delivery.node, delivery.attempts) == (ids["two"], 1)
            assert any(b"delivery handed over" in line for line in one.log)
    assert [check["conclusion"] for check in world.standin.check_runs] == ["success"]
    assert ran.read_text() == "hook\ncheck\n"


@pytest.mark.slow
async def test_no_delivery_is_lost_or_handled_twice_while_nodes_are_killed_and_paused(
    make_repository: MakeRepository, url: str, tmp_path: Path
) -> None:
    """Every few pushes the node that the runner is connected to is lost, and another one started."""
    repository = make_repository(**{"project.bass": HOOK.replace("COMMAND", "echo ran")})
    heads = commits(repository, 24)
    accepted: dict[str, str] = {}
    with trio.fail_after(600):
        async with AsyncExitStack() as stack:
            around = open_world(repository, tmp_path / "world", DATABASE_URL=url)
            world = await stack.enter_async_context(around)
            found = await stack.enter_async_context(nodes(world))
            for turn in range(6):
                lost = found.pop(0)
                async with world.runner(await lost.ready()):
                    for number, head in enumerate(heads[4 * turn : 4 * turn + 4]):
                        daemon = await found[number % 2].ready()
                        if (guid := await push(world, daemon, head)) is not None:
                            accepted[guid] = head
                    lost.process.send_signal(signal.SIGSTOP if turn % 2 else signal.SIGKILL)
                found.append(await stack.enter_async_context(world.node(f"{turn}")))
                await found[-1].ready()
                if turn % 2:
                    await until(lambda lost=lost: any(took_over(node, lost) for node in found))
                    lost.process.send_signal(signal.SIGCONT)
                    assert await lost.process.wait() == 1
            async with (
                world.runner(await found[0].ready()),
                open_store(url, tmp_path / "blobs", owner=False) as store,
            ):
                for guid in accepted:
                    await handled(store, guid)
                await world.concluded()
                assert await store.deliveries.unfinished() == []
                runs = (await store.runs.newest(100, public_only=False)).items
    assert len(accepted) == len(heads)
    shown = Counter(run["head_sha"] for run in world.standin.check_runs)
    assert shown == Counter(heads), "each head has one check run"
    assert Counter(run.head_sha for run in runs) == Counter(heads)
    assert {run.state for run in runs} <= {"succeeded", "interrupted"}
