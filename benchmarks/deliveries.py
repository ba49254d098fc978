"""How quickly deliveries are taken: `python -m benchmarks.deliveries` in a checkout.

A daemon, its database on disk with full fsync, is sent signed deliveries: so many a second whether it answers
or not, then as many as it takes. The daemon, the stand-in for GitHub (this process) and what sends the deliveries
(`benchmarks.load`) are three processes. Prints how long an answer of 202 took, the daemon's processor time for
each delivery that was accepted meanwhile, and how many of those that were answered were lost, or aren't finished yet.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import trio
from benchmarks.load import Phase, Target
from tests.loop.world import open_world
from tests.repositories import commit, commits, git

from bassloop.store import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

HOOKS = {
    "handled by the loop alone": ("ping", ""),
    "whose hook starts nothing": ("push", "(defn github-hook [event client] null)"),
}
AT_ONCE = 32
TICKS = os.sysconf("SC_CLK_TCK")


async def phases(target: Target, rate: float, seconds: float) -> AsyncGenerator[Phase]:
    """Yield each phase of `benchmarks.load` as soon as it's over."""
    command = [sys.executable, "-m", "benchmarks.load", f"{rate}", f"{seconds}", f"{AT_ONCE}"]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdin:
        await process.stdin.send_all(msgspec.json.encode(target))
    rest = b""
    async for piece in process.stdout:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield msgspec.json.decode(line, type=Phase)
    assert await process.wait() == 0


def processor_seconds(process: int) -> float:
    """Return the processor time that a process has used, without its children's."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / TICKS


async def measured(what: str, rate: float, seconds: float, settings: Mapping[str, str]) -> None:
    event, hook = HOOKS[what]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "repository"
        path.mkdir()
        (path / "project.bass").write_text(hook)
        git(path, "init", "--quiet", "--initial-branch=main")
        commit(path)
        heads = commits(path, 4000)
        async with (
            open_world(path, Path(folder) / "world", **settings) as world,
            world.daemon() as daemon,
        ):
            payload = await world.standin.payload(event)
            target = Target(daemon.url, event, payload, heads)
            titles = iter(
                (
                    "",
                    f"{event}, {what}: {rate:g} a second",
                    f"{event}, {what}: as many as it takes, {AT_ONCE} at once",
                )
            )
            accepted: set[str] = set()
            used = processor_seconds(daemon.process.pid)
            async for phase in phases(target, rate, seconds):
                used, before = processor_seconds(daemon.process.pid), used
                if title := next(titles):
                    show(title, phase, used - before)
                accepted.update(phase.accepted)
            lost, unfinished = await left_over(world, accepted)
            handled = (len(phase.accepted) - unfinished) / (time.monotonic() - phase.began)
            print(
                f"    of {len(accepted):,} accepted, lost: {lost}, unfinished: {unfinished}; "
                f"{handled:.0f} handled a second"
            )


async def left_over(world: Any, accepted: set[str]) -> tuple[int, int]:
    """How many of the accepted deliveries the daemon's database doesn't have, and how many it hasn't finished.

    Waits for these, but not as long as GitHub's limits may make the daemon wait: 900 points a minute.
    """
    async with open_store(world.database, world.folder / "blobs", owner=False) as store:
        with trio.move_on_after(300):
            while await store.deliveries.unfinished():
                await trio.sleep(0.5)
        left = {delivery.guid for delivery in await store.deliveries.unfinished()}
        return len(accepted - await store.deliveries.stored(accepted)), len(left & accepted)


def show(title: str, phase: Phase, used: float) -> None:
    cuts = statistics.quantiles(phase.took, n=100)
    count = len(phase.took)
    print(
        f"{title}: {count / (phase.ended - phase.began):.0f} a second; answered within "
        f"p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, at most {max(phase.took):.1f} ms; "
        f"{1000 * used / count:.1f} ms of the daemon's processor time each",
        flush=True,
    )


async def main(arguments: argparse.Namespace) -> None:
    settings = {"DATABASE_URL": arguments.database} if arguments.database else {}
    for what in HOOKS:
        await measured(what, arguments.rate, arguments.seconds, settings)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="deliveries a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long")
    parser.add_argument("--database", help="the address of an empty PostgreSQL database")
    trio.run(main, parser.parse_args())
