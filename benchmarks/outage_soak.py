"""A loop from which everything around it is taken away in turns: `python -m benchmarks.outage_soak`, as root.

Pushes come at a rate that GitHub's real limits allow. Meanwhile GitHub fails, answers garbage, limits, hangs up and is
slow; the runner is killed; the daemon is killed, stopped and drained; its disk is full, and its database locked. Prints
what happens when, each answer of `/up` that was late, memory and file descriptors every minute, and at the end what
became of everything that was accepted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import structlog
import trio
from benchmarks.runners import resident
from benchmarks.soak import own_disk
from tests.loop.test_full_disk import fill
from tests.loop.world import Daemon, open_world
from tests.outage.trial import LOOK_SECONDS, TOKEN, Outage, Plan, free_address
from tests.repositories import commit, commits, git

from bassloop.standin import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

HOOK = """
(defn github-hook [event client]
  (map
    (fn [[name script]] (client:start-check
      (with-image ($ sh -c $script) {:repository "alpine" :platform {:os "linux"}})
      name event:payload:after))
    [["build" "true"] ["test" "seq 3000; sleep 4; echo end"]]))
"""
LATE_SECONDS = 0.7
MINUTE = 60.0


@dataclass
class Soak(Outage):
    """An outage of everything, one after the other."""

    daemon: Daemon | None = None
    end: trio.Event = field(default_factory=trio.Event)
    drains: bool = False
    """Whether the daemon is asked to end, instead of killed."""

    ended: trio.Event = field(default_factory=trio.Event)
    runner_end: trio.Event = field(default_factory=trio.Event)

    def say(self, *words: object) -> None:
        """Print something with its time."""
        print(f"{trio.current_time() - self.began:6.0f} s ", *words, flush=True)

    async def run_daemon(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run a daemon until `end` is set."""
        self.end, self.ended = trio.Event(), trio.Event()
        async with self.around.daemon() as daemon:
            self.daemon = daemon
            task_status.started()
            await self.end.wait()
            if self.drains:
                daemon.process.terminate()
                with trio.move_on_after(120):
                    self.say("drained with status", await daemon.process.wait())
        self.daemon = None
        self.ended.set()

    async def run_runner(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run a runner in a process of its own until `runner_end` is set."""
        assert self.daemon is not None
        self.runner_end = trio.Event()
        login = self.around.standin.login
        async with self.around.runner_process(self.daemon, login, self.around.key):
            task_status.started()
            await self.runner_end.wait()

    async def watch(self) -> None:
        """Look at `/up` all the time, and at the daemon's process every minute."""
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            looked_at = -MINUTE
            while True:
                asked_at = time.perf_counter()
                with suppress(httpx.HTTPError):
                    await client.get(f"{self.url}/up")
                    self.report.answers.append(took := time.perf_counter() - asked_at)
                    if took > LATE_SECONDS:
                        self.say(f"/up took {took:.2f} s")
                if self.daemon is not None and trio.current_time() - looked_at >= MINUTE:
                    looked_at, pid = trio.current_time(), self.daemon.process.pid
                    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
                    self.say(f"memory {resident(pid) / 1024:.0f} MB, {descriptors} descriptors")
                await trio.sleep(LOOK_SECONDS)

    async def trouble(self, nursery: trio.Nursery) -> None:
        """Take everything away in turns, each for a thirtieth of the time."""
        data, long = self.around.folder / "data", self.plan.seconds / 30
        limit = b'{"message": "You have exceeded a secondary rate limit."}'
        happens: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("GitHub answers 503", partial(self._fault, long, status=503)),
            ("the runner is killed", partial(self._lose_runner, nursery, long)),
            ("the daemon is killed", partial(self._lose_daemon, nursery, long)),
            ("the disk is full", partial(self._fill, data / "filler", long)),
            ("GitHub answers garbage", partial(self._fault, long, status=200, body=b"<html>")),
            (
                "GitHub limits everything",
                partial(self._fault, long, status=403, body=limit, headers={"Retry-After": "20"}),
            ),
            ("the daemon is stopped", partial(self._stop, long)),
            ("the daemon drains", partial(self._lose_daemon, nursery, 5.0, drains=True)),
            ("GitHub hangs up", partial(self._fault, long, status=None, after=True, cut=True)),
            ("the database is locked", partial(self._lock, data / "loop.db", long)),
            ("GitHub is slow", partial(self._fault, long, status=None, delay=8.0)),
            ("the daemon is killed", partial(self._lose_daemon, nursery, 1.0)),
        ]
        for number, (what, happen) in enumerate(happens, 1):
            await trio.sleep_until(self.began + self.plan.seconds * number / (len(happens) + 1))
            self.say(what)
            await happen()
            self.say("that's over")

    async def _fault(self, seconds: float, **fault: Any) -> None:
        faults = self.around.standin.faults
        faults.add(Fault(times=sys.maxsize, **fault))
        await trio.sleep(seconds)
        faults.waiting.clear()

    async def _lose_runner(self, nursery: trio.Nursery, seconds: float) -> None:
        self.runner_end.set()
        await trio.sleep(seconds)
        await nursery.start(self.run_runner)

    async def _lose_daemon(
        self, nursery: trio.Nursery, seconds: float, *, drains: bool = False
    ) -> None:
        self.drains = drains
        self.end.set()
        await self.ended.wait()
        await trio.sleep(seconds)
        await nursery.start(self.run_daemon)
        nursery.start_soon(self.watch_runner, trio.Event())

    async def _fill(self, filler: Path, seconds: float) -> None:
        await trio.to_thread.run_sync(fill, filler)
        await trio.sleep(seconds)
        filler.unlink()

    async def _stop(self, seconds: float) -> None:
        assert self.daemon is not None
        self.daemon.process.send_signal(signal.SIGSTOP)
        await trio.sleep(seconds)
        self.daemon.process.send_signal(signal.SIGCONT)

    async def _lock(self, database: Path, seconds: float) -> None:
        def lock() -> None:
            with closing(sqlite3.connect(database, isolation_level=None, timeout=60)) as other:
                other.execute("BEGIN IMMEDIATE")
                time.sleep(seconds)

        await trio.to_thread.run_sync(lock)


@asynccontextmanager
async def soaking(plan: Plan, folder: Path) -> AsyncGenerator[Soak]:
    """A soak with a daemon and a runner."""
    path = folder / "repository"
    path.mkdir()
    (path / "project.bass").write_text(HOOK)
    git(path, "init", "--quiet", "--initial-branch=main")
    commit(path)
    heads = commits(path, round(plan.rate * plan.seconds))
    addresses = {"LISTEN": free_address(), "SSH_ADDR": free_address()}
    where = folder / "world"
    async with open_world(
        path, where, METRICS_TOKEN=TOKEN, FREE_SPACE="1MB", **addresses
    ) as around:
        with own_disk(where / "data", 400):
            soak = Soak(plan, around, heads)
            async with trio.open_nursery() as nursery:
                await nursery.start(soak.run_daemon)
                await nursery.start(soak.run_runner)
                async with trio.open_nursery() as pushing:
                    pushing.start_soon(soak.push_all)
                    await soak.pushing.wait()
                    nursery.start_soon(soak.watch)
                    pushing.start_soon(soak.trouble, nursery)
                yield soak
                nursery.cancel_scope.cancel()


async def main(given: argparse.Namespace) -> None:
    plan = Plan(0, given.rate, given.seconds, 0, given.patience)
    with tempfile.TemporaryDirectory() as name:
        async with soaking(plan, Path(name)) as soak:
            await soak.finish()
            print(soak.report)
            print((await soak.around.command("check")).strip())


if __name__ == "__main__":
    structlog.configure(logger_factory=lambda *_: structlog.ReturnLogger())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=0.22, help="pushes a second")
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long they come")
    parser.add_argument("--patience", type=float, default=900.0, help="seconds after the last push")
    trio.run(main, parser.parse_args())
