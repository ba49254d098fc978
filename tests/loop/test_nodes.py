"""Several daemons share a database: one is killed, paused or drained, and another one goes on."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.standin import StandInError
from bassloop.store import open_store
from bassloop.store.leases import LEASE_SECONDS
from tests.repositories import commits
from tests.until import until

from .world import world

if TYPE_CHECKING:
    from collections.abc import Iterator
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

GRACE_SECONDS = 5.0
"""What a takeover may take beyond the lease."""


async def first_ready(*nodes: LoopNode) -> tuple[LoopNode, Daemon]:
    """Wait until one of the nodes carries the loop."""
    found: list[tuple[LoopNode, Daemon]] = []
    async with trio.open_nursery() as nursery:

        async def wait(node: LoopNode) -> None:
            found.append((node, await node.ready()))
            nursery.cancel_scope.cancel()

        for node in nodes:
            nursery.start_soon(wait, node)
    return found[0]


async def push(its: World, daemon: Daemon, head: str) -> str | None:
    """Push a head, and return the delivery's guid if it was accepted."""
    payload = {**await its.standin.payload("push"), "after": head}
    with suppress(StandInError):  # nobody answered
        delivered = await its.standin.deliver(daemon.url, "push", payload)
        if delivered.status == 202:
            return delivered.guid
    return None


async def handled(store: Store, guid: str) -> None:
    """Wait until a delivery is done, of which another process has no event."""
    while (found := await store.deliveries.get(guid)) is None or found.state != "done":
        await trio.sleep(0.1)


@pytest.fixture
def url(postgresql: PostgreSQLServer) -> Iterator[str]:
    url = postgresql.create()
    yield url
    postgresql.drop(url)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_check_that_a_lost_node_ran_is_interrupted_and_the_next_node_goes_on(
    make_repository: MakeRepository, url: str, tmp_path: Path, how: signal.Signals
) -> None:
    ran, go = tmp_path / "ran", tmp_path / "go"
    command = f"echo ran >> {ran}; test -e {go} || sleep 300"
    repository = make_repository(**{"project.bass": HOOK.replace("COMMAND", command)})
    heads = commits(repository, 2)
    with trio.fail_after(150):
        async with AsyncExitStack() as stack:
            around = world(repository, tmp_path / "world", DATABASE_URL=url)
            its = await stack.enter_async_context(around)
            lost = await stack.enter_async_context(its.node("lost"))
            daemon = await lost.ready()
            others = [await stack.enter_async_context(its.node(name)) for name in ("two", "three")]
            for node in others:
                await node.stands_by.wait()
            async with its.runner(daemon):
                first = await push(its, daemon, heads[0])
                await its.seen("in_progress")
                await until(ran.exists)
                lost.process.send_signal(how)
                since = trio.current_time()
                carrying, daemon = await first_ready(*others)
                await its.concluded()
                took = trio.current_time() - since
            assert [run["conclusion"] for run in its.standin.check_runs] == ["cancelled"]
            assert took < LEASE_SECONDS + GRACE_SECONDS
            if how == signal.SIGSTOP:
                lost.process.send_signal(signal.SIGCONT)
                assert await lost.process.wait() == 1
                assert any(b"another node has taken over" in line for line in lost.log)
            go.touch()
            async with its.runner(daemon):
                second = await push(its, daemon, heads[1])
                async with open_store(url, tmp_path / "blobs", owner=False) as store:
                    assert first is not None
                    assert second is not None
                    for guid in (first, second):
                        await handled(store, guid)
                    [now] = [each for each in await store.nodes.all() if each.carries]
            assert now.name == carrying.name
            conclusions = [run["conclusion"] for run in its.standin.check_runs]
            assert conclusions == ["cancelled", "success"]
    assert len(ran.read_text().splitlines()) == 2


async def test_a_node_that_drains_finishes_its_check_and_hands_over_at_once(
    make_repository: MakeRepository, url: str, tmp_path: Path
) -> None:
    ran, go = tmp_path / "ran", tmp_path / "go"
    os.mkfifo(go)
    repository = make_repository(
        **{"project.bass": HOOK.replace("COMMAND", f"echo ran >> {ran}; cat {go}")}
    )
    with trio.fail_after(150):
        async with AsyncExitStack() as stack:
            around = world(repository, tmp_path / "world", DATABASE_URL=url)
            its = await stack.enter_async_context(around)
            one = await stack.enter_async_context(its.node("one"))
            daemon = await one.ready()
            two = await stack.enter_async_context(its.node("two"))
            await two.stands_by.wait()
            async with its.runner(daemon):
                await push(its, daemon, commits(repository, 1)[0])
                await until(ran.exists)
                said = await its.command("drain", "one")
                assert said == "one drains, and ends then\n"
                await until(lambda: any(b"asked to drain" in line for line in one.log))
                go.write_text("done")
                await its.concluded()
                assert await one.process.wait() == 0
            since = trio.current_time()
            await two.ready()
            assert trio.current_time() - since < LEASE_SECONDS - 2, "it didn't wait for the lease"
            assert [run["conclusion"] for run in its.standin.check_runs] == ["success"]
            assert "two  carries the loop  (" in await its.command("nodes")


@pytest.mark.slow
async def test_no_delivery_is_lost_or_handled_twice_while_nodes_are_killed_and_paused(
    make_repository: MakeRepository, url: str, tmp_path: Path
) -> None:
    """Every few pushes the node that carries the loop is lost, and another one started."""
    repository = make_repository(**{"project.bass": HOOK.replace("COMMAND", "echo ran")})
    heads = commits(repository, 24)
    accepted: dict[str, str] = {}
    with trio.fail_after(230):
        async with AsyncExitStack() as stack:
            around = world(repository, tmp_path / "world", DATABASE_URL=url)
            its = await stack.enter_async_context(around)
            nodes = [await stack.enter_async_context(its.node("0"))]
            carrying, daemon = await first_ready(*nodes)
            for turn in range(6):
                node = await stack.enter_async_context(its.node(f"{turn + 1}"))
                await node.stands_by.wait()
                async with its.runner(daemon):
                    for head in heads[4 * turn : 4 * turn + 4]:
                        if (guid := await push(its, daemon, head)) is not None:
                            accepted[guid] = head
                    carrying.process.send_signal(signal.SIGSTOP if turn % 2 else signal.SIGKILL)
                    lost = carrying
                    carrying, daemon = await first_ready(node)
                    if turn % 2:
                        lost.process.send_signal(signal.SIGCONT)
                        assert await lost.process.wait() == 1
            async with (
                its.runner(daemon),
                open_store(url, tmp_path / "blobs", owner=False) as store,
            ):
                for guid in accepted:
                    await handled(store, guid)
                await its.concluded()
                assert await store.deliveries.unfinished() == []
                runs = (await store.runs.newest(100, public_only=False)).items
    assert len(accepted) == len(heads)
    shown = Counter(run["head_sha"] for run in its.standin.check_runs)
    assert shown == Counter(heads), "each head has one check run"
    assert Counter(run.head_sha for run in runs) == Counter(heads)
    assert {run.state for run in runs} <= {"succeeded", "interrupted"}
