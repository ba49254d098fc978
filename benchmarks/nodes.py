"""What several nodes do: `python -m benchmarks.nodes` in a checkout.

Measured are one daemon on SQLite, and then so many nodes on one PostgreSQL server (of the tests, without fsync):

- deliveries: the nodes are sent signed pushes in turns. The hook starts nothing. GitHub's limits are lifted, but for
  the number of requests at the same time.
- logs: runners of a user at each node send theirs as fast as they are stored.
- runners: idle ones are registered, the same number at each node.

Each node is pinned to one processor, in turns.

Prints how much there was in a second, and the processor time that it cost: of the nodes with their hooks, of this
process, which is GitHub, and of everything else on the machine, such as the database server. What fills the
processors is the bound.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh
import httpx
import structlog
import trio
from benchmarks.deliveries import left_over
from benchmarks.load import Load
from benchmarks.runners import MANY, resident, simulated
from tests.databases import run_postgresql
from tests.loop.world import open_world
from tests.repositories import commit, commits, git
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from tests.databases import PostgreSQLServer
    from tests.loop.world import Daemon, World

UNPACED = Path(__file__).with_name("unpaced.py")
STREAMS = 4
"""The runners at each node that send logs, each for a check of its own."""

HOOK = """
(defn github-hook [event client]
  (if (= event:event "check_suite")
    (map
      (fn [name] (client:start-check
        (with-image ($ it $name) {:repository "it" :platform {:os "linux"}})
        name event:payload:check_suite:head_sha))
      [NAMES])
    null))
""".replace("NAMES", " ".join(f'"check-{number}"' for number in range(STREAMS)))
AT_ONCE = 16
UNLIMITED = 10**9
MESSAGE_BYTES = 32_768
IDLE_SECONDS = 5.0
MOST_SECONDS = 180.0
"""How long one of the measurements may take before it's given up."""

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


@dataclass
class Nodes:
    """Nodes that are ready, and commits for what they are sent."""

    world: World
    daemons: Sequence[Daemon]
    heads: Iterator[str]

    def processors(self) -> Processors:
        return Processors([daemon.process.pid for daemon in self.daemons])

    def user(self) -> tuple[str, asyncssh.SSHKey]:
        """Return a new user of the repository, and the key for their runners."""
        login, key = f"user-{next(self.heads)[:8]}", asyncssh.generate_private_key("ssh-ed25519")
        public = key.export_public_key().decode().strip()
        self.world.standin.add_user(login, [public], permission="write")
        return login, key


@contextmanager
def pinned(processor: int) -> Iterator[None]:
    """Keep processes that are started meanwhile, and theirs, on one processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@asynccontextmanager
async def open_nodes(
    server: PostgreSQLServer | None, count: int, pushes: int
) -> AsyncGenerator[Nodes]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / "repository"
        path.mkdir()
        (path / "project.bass").write_text(HOOK)
        git(path, "init", "--quiet", "--initial-branch=main")
        commit(path)
        heads = iter(commits(path, pushes + 4 * count))
        settings = MANY if server is None else {**MANY, "DATABASE_URL": server.create()}
        world = await stack.enter_async_context(open_world(path, folder / "world", **settings))
        world.standin.rate_limits.points_per_minute = world.standin.rate_limits.per_hour = UNLIMITED
        daemons = []
        for _, processor in zip(range(count), itertools.cycle(os.sched_getaffinity(0))):
            with pinned(processor):
                daemons.append(await stack.enter_async_context(world.daemon(main=UNPACED)))
        yield Nodes(world, daemons, heads)


async def measure_deliveries(nodes: Nodes, pushes: int) -> str:
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        payload = await nodes.world.standin.payload("push")
        loads = [Load(daemon.url, "push", payload, nodes.heads) for daemon in nodes.daemons]
        for load in loads:
            await load.send(client)
        await left_over(nodes.world, set())
        turns = itertools.islice(itertools.cycle(loads), pushes)

        async def send() -> None:
            for load in turns:
                await load.send(client)

        processors, began = nodes.processors(), time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(send)
        accepted = time.perf_counter() - began
        lost, unfinished = await left_over(
            nodes.world, {guid for load in loads for guid in load.accepted}
        )
        handled = time.perf_counter() - began
    of_nodes, own, machine = (1000 / pushes * each for each in processors.spent())
    return (
        f"{pushes / accepted:.0f} deliveries accepted and {pushes / handled:.0f} handled a second, {lost} lost, "
        f"{unfinished} unfinished; "
        f"processor for each: nodes {of_nodes:.1f} ms, GitHub {own:.1f} ms, "
        f"rest {machine - of_nodes - own:.1f} ms; "
        f"{machine * pushes / 1000 / handled:.2f} of {os.cpu_count()} processors busy"
    )


async def measure_logs(nodes: Nodes, megabytes: float) -> str:
    """Have runners at all nodes send so many megabytes of logs together."""
    standin, streams = nodes.world.standin, STREAMS * len(nodes.daemons)
    messages = max(1, round(megabytes * 1e6 / MESSAGE_BYTES / streams))
    async with AsyncExitStack() as stack:
        payloads = []
        for daemon in nodes.daemons:
            user = nodes.user()
            await stack.enter_async_context(
                simulated(nodes.world, daemon, "streaming", STREAMS, messages, MESSAGE_BYTES, user)
            )
            payload = await standin.payload("check_suite", sender=user[0])
            payload["check_suite"]["head_sha"] = next(nodes.heads)
            payloads.append(payload)
        processors, began = nodes.processors(), time.perf_counter()
        async with trio.open_nursery() as nursery:
            for daemon, payload in zip(nodes.daemons, payloads, strict=True):
                nursery.start_soon(standin.deliver, daemon.url, "check_suite", payload)
        runs = standin.check_runs
        await until(lambda: sum(each["status"] == "completed" for each in runs) == streams)
        took = time.perf_counter() - began
        of_nodes, own, machine = processors.spent()
    assert {each["conclusion"] for each in runs} == {"success"}
    stored = messages * MESSAGE_BYTES * streams / 1e6
    return (
        f"{stored / took:.1f} MB of logs stored a second from {streams} runners ({stored:.0f} MB); processor for "
        f"each MB: nodes {1000 * of_nodes / stored:.1f} ms, rest {1000 * (machine - of_nodes - own) / stored:.1f} ms; "
        f"{machine / took:.2f} of {os.cpu_count()} processors busy"
    )


async def measure_runners(nodes: Nodes, count: int) -> str:
    """Connect so many runners, and look at the nodes while nothing happens."""
    each, before = count // len(nodes.daemons), _resident(nodes)
    users = [nodes.user() for _ in nodes.daemons]
    processors, began = nodes.processors(), time.perf_counter()
    async with AsyncExitStack() as stack:

        async def connect(daemon: Daemon, user: tuple[str, asyncssh.SSHKey]) -> None:
            around = simulated(nodes.world, daemon, "idle", each, user=user)
            await stack.enter_async_context(around)

        async with trio.open_nursery() as nursery:
            for daemon, user in zip(nodes.daemons, users, strict=True):
                nursery.start_soon(connect, daemon, user)
        took, registering = time.perf_counter() - began, processors.spent()[0]
        connected, held = each * len(nodes.daemons), _resident(nodes) - before
        processors = nodes.processors()
        await trio.sleep(IDLE_SECONDS)
        idle = processors.spent()[0]
    return (
        f"{connected} runners registered in {took:.1f} s, {connected / took:.0f} a second; for each: nodes' processor "
        f"{1000 * registering / connected:.1f} ms, memory {held / connected:.0f} KB; "
        f"the nodes' processor while all are idle: {idle / IDLE_SECONDS:.1%}"
    )


def _resident(nodes: Nodes) -> float:
    return sum(resident(daemon.process.pid) for daemon in nodes.daemons)


async def measure(
    given: argparse.Namespace, title: str, server: PostgreSQLServer | None, nodes: int
) -> None:
    with trio.fail_after(MOST_SECONDS):
        async with open_nodes(server, nodes, given.pushes) as opened:
            print(f"{title}:", flush=True)
            print(f"  {await measure_deliveries(opened, given.pushes)}", flush=True)
            print(f"  {await measure_logs(opened, given.megabytes)}", flush=True)
            print(f"  {await measure_runners(opened, given.runners)}", flush=True)


async def main(given: argparse.Namespace) -> None:
    await measure(given, "SQLite", None, 1)
    with run_postgresql() as server:
        for nodes in given.nodes:
            await measure(given, f"{nodes} on PostgreSQL", server, nodes)


if __name__ == "__main__":
    structlog.configure(logger_factory=lambda *_: structlog.ReturnLogger())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pushes", type=int, default=300, help="deliveries, for each number of nodes"
    )
    parser.add_argument("--megabytes", type=float, default=60, help="megabytes of logs")
    parser.add_argument("--runners", type=int, default=200, help="idle runners")
    parser.add_argument("nodes", type=int, nargs="*", default=[1, 2, 4])
    trio.run(main, parser.parse_args())
