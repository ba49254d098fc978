"""How many deliveries several nodes handle: `python -m benchmarks.nodes` in a checkout.

One daemon on SQLite, and then so many nodes on one PostgreSQL server (of the tests, without fsync) are sent signed
pushes in turns. The hook starts nothing, and GitHub's pace is lifted. Prints what was accepted and handled in a
second, and the processor time for each delivery: of the nodes with their hooks, of this process, which is GitHub, and
of everything else on the machine, such as the database server. What fills the processors is the bound.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import structlog
import trio
from benchmarks.deliveries import HOOKS, lost
from benchmarks.load import Load
from tests.databases import run_postgresql
from tests.loop.world import open_world
from tests.repositories import commit, commits, git

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.databases import PostgreSQLServer

UNPACED = Path(__file__).with_name("unpaced.py")
EVENT, HOOK = HOOKS["whose hook starts nothing"]
AT_ONCE = 16
TICKS = os.sysconf("SC_CLK_TCK")


class Processors:
    """The processor time since this was made, in seconds: of nodes, of this process, and of the whole machine."""

    def __init__(self, nodes: Sequence[int]) -> None:
        self._nodes = nodes
        self._before = self._now()

    def spent(self) -> tuple[float, float, float]:
        nodes, own, machine = (
            now - before for now, before in zip(self._now(), self._before, strict=True)
        )
        return nodes, own, machine

    def _now(self) -> tuple[float, float, float]:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        busy = sum(map(int, fields)) - int(fields[3]) - int(fields[4])
        nodes = sum(_ticks(each) for node in self._nodes for each in _descendants(node))
        return nodes / TICKS, _ticks(os.getpid()) / TICKS, busy / TICKS


def _descendants(parent: int) -> list[int]:
    found = [parent]
    for process in found:
        for thread in Path(f"/proc/{process}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def _ticks(process: int) -> int:
    """Return the time of a process, and of its children that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


async def measure(server: PostgreSQLServer | None, nodes: int, pushes: int) -> str:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / "repository"
        path.mkdir()
        (path / "project.bass").write_text(HOOK)
        git(path, "init", "--quiet", "--initial-branch=main")
        commit(path)
        heads = iter(commits(path, pushes + nodes))
        settings = {} if server is None else {"DATABASE_URL": server.create()}
        world = await stack.enter_async_context(open_world(path, folder / "world", **settings))
        daemons = [
            await stack.enter_async_context(world.daemon(main=UNPACED)) for _ in range(nodes)
        ]
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=60, trust_env=False))
        payload = await world.standin.payload(EVENT)
        loads = [Load(daemon.url, EVENT, payload, heads) for daemon in daemons]
        for load in loads:
            await load.send(client)
        await lost(world, set())
        turns = itertools.islice(itertools.cycle(loads), pushes)

        async def send() -> None:
            for load in turns:
                await load.send(client)

        processors = Processors([daemon.process.pid for daemon in daemons])
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(send)
        accepted = time.perf_counter() - began
        missing = await lost(world, {guid for load in loads for guid in load.accepted})
        handled = time.perf_counter() - began
        of_nodes, own, machine = processors.spent()
    each = 1000 / pushes
    return (
        f"{pushes / accepted:.0f} accepted and {pushes / handled:.0f} handled a second, {missing} lost; "
        f"processor per delivery: nodes {each * of_nodes:.1f} ms, GitHub {each * own:.1f} ms, "
        f"rest {each * (machine - of_nodes - own):.1f} ms; "
        f"{machine / handled:.2f} of {os.cpu_count()} processors busy"
    )


async def main(given: argparse.Namespace) -> None:
    print(f"SQLite: {await measure(None, 1, given.pushes)}", flush=True)
    with run_postgresql() as server:
        for nodes in given.nodes:
            print(
                f"{nodes} on PostgreSQL: {await measure(server, nodes, given.pushes)}", flush=True
            )


if __name__ == "__main__":
    structlog.configure(logger_factory=lambda *_: structlog.ReturnLogger())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pushes", type=int, default=1000, help="deliveries for each measurement")
    parser.add_argument("nodes", type=int, nargs="*", default=[1, 2, 4])
    trio.run(main, parser.parse_args())
