"""An outage, played out: pushes come faster than GitHub's limits allow, and the daemon is killed again and again.

GitHub is the stand-in with its real limits on, and the daemon, its data and the one runner are real. A trial ends
when nothing is left to do, or when its patience does, and says what became of everything that was accepted.
"""

from __future__ import annotations

import math
import random
import re
import socket
import statistics
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import trio

from bassloop.standin import StandInError
from bassloop.store import open_store
from tests.loop.world import Daemon, World, open_world
from tests.repositories import commit, commits, git

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

NAMES = ("build", "test")
HOOK = """
(defn github-hook [event client]
  (map
    (fn [name] (client:start-check
      (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}})
      name event:payload:after))
    ["build" "test"]))
"""
TOKEN = "the token of the metrics"
POINTS_A_PUSH = 1 + len(NAMES) * (5 + 5)
"""The least that a push costs: its hook is read, and each check is created and concluded."""

RUNTIMES = re.compile(r"^bassloop_runtimes (\S+)$", re.MULTILINE)
RESTART_SECONDS = 0.5
LOOK_SECONDS = 0.2
NO_COMMIT = "0" * 40
ALWAYS = ((0.0, math.inf),)


@dataclass(frozen=True, slots=True)
class Plan:
    """The course of a trial.

    Args:
        seed: of the times of the kills.
        rate: pushes a second, each to a branch of its own.
        seconds: how long pushes come.
        kills: how often the daemon is killed meanwhile.
        patience: seconds after the last push by which everything has to be done.
    """

    seed: int
    rate: float = 2.0
    seconds: float = 60.0
    kills: int = 5
    patience: float = 600.0

    @property
    def kill_times(self) -> list[float]:
        """Return the times at which the daemon is killed, in seconds since the start."""
        chance = random.Random(self.seed)
        return sorted(chance.uniform(2.0, self.seconds) for _ in range(self.kills))

    def least(
        self, pushes: int, points_a_minute: int, up: Sequence[tuple[float, float]] = ALWAYS
    ) -> float:
        """Return the seconds until so many pushes are through if each point is spent as soon as it may be.

        No minute, wherever it begins, has more than its points: a point waits for its push, and until a minute
        has passed since the one that many points before it.

        Args:
            up: when there is a daemon to spend them, in seconds since the start.
        """
        spent: list[float] = []
        for number in range(pushes * POINTS_A_PUSH):
            at = number // POINTS_A_PUSH / self.rate
            if (window := number - points_a_minute) >= 0:
                at = max(at, spent[window] + 60.0)
            spent.append(next((max(at, ready) for ready, end in up if at < end), math.inf))
        return max(self.seconds, spent[-1] if spent else 0.0)


@dataclass
class Report:
    """The outcome of a trial.

    Args:
        accepted: deliveries that were answered with 202.
        states: what the store says of all deliveries, by state.
        lost: accepted deliveries that the store doesn't have, or that are done without their checks.
        doubled: checks of a head that GitHub was shown more than once.
        spinning: check runs that aren't concluded.
        without_runner: check runs that ended because no runner was connected, although there was one.
        conclusions: of all check runs.
        seconds: from the first push until nothing was left to do; None if that never came.
        least: the seconds that the same work takes if nothing but GitHub's points limits it.
        least_while_up: the same if they can only be spent while a daemon is ready.
        up: when a daemon was ready, in seconds since the first push.
        registered: after each restart, the seconds from ready to the runner being registered.
        killed_before: after each other restart, the seconds from ready to the next kill or the end.
        answers: the seconds that answers to `/up` took.
        limited: calls that GitHub refused because of a limit, in all.
        log: the last lines of the last daemon's log if `seconds` is None.
    """

    accepted: int = 0
    states: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    spinning: int = 0
    without_runner: int = 0
    conclusions: Counter[str] = field(default_factory=Counter)
    seconds: float | None = None
    least: float = 0.0
    least_while_up: float = 0.0
    up: list[tuple[float, float]] = field(default_factory=list)
    registered: list[float] = field(default_factory=list)
    killed_before: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    limited: int = 0
    log: str = ""

    @property
    def set_aside(self) -> int:
        """The number of deliveries that were set aside."""
        return self.states["set_aside"] + self.states["failed"]

    def __str__(self) -> str:
        waiting = self.states["received"] + self.states["handling"]
        through = "never" if self.seconds is None else f"{self.seconds:.0f} s"
        registered = survival_percentile(self.registered, self.killed_before, 95)
        killed = [f"{seconds:.1f}" for seconds in sorted(self.killed_before)]
        ratio = ""
        if self.seconds is not None:
            while_up = (
                f"{self.seconds / self.least_while_up:.2f} times what it is while a daemon is ready"
            )
            ratio = f", {self.seconds / self.least:.2f} times that, {while_up}"
        lines = [
            f"deliveries: {self.accepted} accepted; {self.states['done']} done, {waiting} waiting, "
            f"{self.set_aside} set aside, {self.lost} lost",
            f"checks: {self.doubled} doubled, {self.spinning} spinning, {self.without_runner} falsely without "
            f"a runner; {dict(sorted(self.conclusions.items()))}",
            f"through after {through}; the budget's least is {self.least:.0f} s{ratio}; "
            f"{self.limited} calls refused by a limit",
            f"runner registered after a restart: p95 {registered:.1f} s of "
            f"{len(self.registered) + len(self.killed_before)}; {len(killed)} killed before, after "
            f"{', '.join(killed) or 'none'} s",
            f"/up: p50 {1000 * _percentile(self.answers, 50):.0f} ms, "
            f"p99 {1000 * _percentile(self.answers, 99):.0f} ms of {len(self.answers)}",
            *self.log.splitlines(),
        ]
        return "\n".join(lines)


@dataclass
class Outage:
    """A trial that goes on."""

    plan: Plan
    around: World
    heads: Sequence[str]
    report: Report = field(default_factory=Report)
    accepted: dict[str, str] = field(default_factory=dict)
    """The head of each accepted delivery, by guid."""
    began: float = 0.0
    pushing: trio.Event = field(default_factory=trio.Event)
    up_since: float = 0.0
    """The time at which the running daemon was ready, in seconds since the first push."""
    daemon: Daemon | None = None
    """The running daemon, or the last one."""

    @property
    def url(self) -> str:
        """The daemon's pages; they stay at the same address through restarts."""
        return f"http://{self.around.env['LISTEN']}"

    async def push_all(self) -> None:
        """Push at the plan's rate, whether the daemon answers or not."""
        payload = await self.around.standin.payload("push")
        self.began = trio.current_time()
        self.pushing.set()

        async def push(number: int, head: str) -> None:
            ref = f"refs/heads/topic-{number}"
            pushed = {**payload, "ref": ref, "before": NO_COMMIT, "after": head}
            with suppress(StandInError):  # nobody answered: the loop has to ask GitHub for it
                delivered = await self.around.standin.deliver(self.url, "push", pushed)
                if delivered.status == 202:
                    self.accepted[delivered.guid] = head

        async with trio.open_nursery() as nursery:
            for number, head in enumerate(self.heads):
                await trio.sleep_until(self.began + number / self.plan.rate)
                nursery.start_soon(push, number, head)

    async def run_daemons(self, *, task_status: trio.TaskStatus[Daemon]) -> None:
        """Run one daemon after the other; all but the last are killed when the plan says so."""
        async with self.run_daemon() as daemon:
            task_status.started(daemon)
            await self.pushing.wait()
            for at in self.plan.kill_times[:1]:
                await trio.sleep_until(self.began + at)
                self.report.up.append((0.0, trio.current_time() - self.began))
            if not self.plan.kills:
                await trio.sleep_forever()
        for at in (*self.plan.kill_times[1:], math.inf):
            await trio.sleep(RESTART_SECONDS)
            async with self.run_daemon(), trio.open_nursery() as nursery:
                registered, ready_at = trio.Event(), trio.current_time()
                self.up_since = ready_at - self.began
                nursery.start_soon(self.watch_runner, registered)
                try:
                    await trio.sleep_until(self.began + at)
                finally:
                    now = trio.current_time()
                    self.report.up.append((self.up_since, now - self.began))
                    if not registered.is_set():
                        self.report.killed_before.append(now - ready_at)
                nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def run_daemon(self) -> AsyncGenerator[Daemon]:
        """A daemon that is killed at the end, and has to live until then."""
        async with self.around.daemon() as self.daemon, trio.open_nursery() as nursery:
            nursery.start_soon(self.daemon.fail_when_ended)
            yield self.daemon
            nursery.cancel_scope.cancel()

    async def watch_runner(self, registered: trio.Event) -> None:
        """Note how long a daemon that is ready has no runner."""
        ready_at = trio.current_time()
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            while not registered.is_set():
                with suppress(httpx.HTTPError):
                    headers = {"Authorization": f"Bearer {TOKEN}"}
                    text = (await client.get(f"{self.url}/metrics", headers=headers)).text
                    if (found := RUNTIMES.search(text)) and float(found[1]):
                        self.report.registered.append(trio.current_time() - ready_at)
                        registered.set()
                await trio.sleep(LOOK_SECONDS)

    async def visit(self) -> None:
        """Look at `/up` all the time; a daemon that was killed doesn't answer, which is no answer that is late."""
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            while True:
                asked_at = time.perf_counter()
                with suppress(httpx.HTTPError):
                    await client.get(f"{self.url}/up")
                    self.report.answers.append(time.perf_counter() - asked_at)
                await trio.sleep(LOOK_SECONDS)

    async def finish(self) -> None:
        """Wait until nothing is left to do, or until the plan's patience is over, and count."""
        data, report = self.around.folder / "data", self.report
        async with open_store(data / "loop.db", data / "blobs", owner=False) as store:
            with trio.move_on_after(self.plan.patience):
                while await store.deliveries.unfinished() or await store.checks.unfinished():
                    await trio.sleep(1.0)
                report.seconds = trio.current_time() - self.began
            if report.seconds is None and self.daemon is not None:
                report.log = self.daemon.last_lines()
            report.accepted = len(self.accepted)
            before: str | None = None
            done: set[str] = set()
            handled = 0
            while page := await store.deliveries.newest(100, before):
                report.states.update(delivery.state for delivery in page)
                done |= {each.guid for each in page if each.state == "done"}
                handled += len(page)
                before = page[-1].guid
            stored = await store.deliveries.stored(set(self.accepted))
        shown = Counter((run["head_sha"], run["name"]) for run in self.around.standin.check_runs)
        report.lost = len(self.accepted.keys() - stored) + sum(
            any((head, name) not in shown for name in NAMES)
            for guid, head in self.accepted.items()
            if guid in done
        )
        report.doubled = sum(many - 1 for many in shown.values())
        for run in self.around.standin.check_runs:
            report.spinning += run["status"] != "completed"
            report.without_runner += run["conclusion"] == "action_required"
            report.conclusions[run["conclusion"] or run["status"]] += 1
        report.limited = self.around.standin.rate_limits.refused
        points = self.around.standin.rate_limits.points_per_minute
        report.least = self.plan.least(handled, points)
        report.least_while_up = self.plan.least(
            handled, points, [*report.up, (self.up_since, math.inf)]
        )


async def run_trial(plan: Plan, folder: Path) -> Report:
    """Play an outage out in an empty folder, and return what became of it."""
    path = folder / "repository"
    path.mkdir()
    (path / "project.bass").write_text(HOOK)
    git(path, "init", "--quiet", "--initial-branch=main")
    commit(path)
    heads = commits(path, round(plan.rate * plan.seconds))
    settings = {"LISTEN": free_address(), "SSH_ADDR": free_address(), "METRICS_TOKEN": TOKEN}
    async with open_world(path, folder / "world", **settings) as around:
        outage = Outage(plan, around, heads)
        async with _daemons(outage):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(outage.push_all)
            await outage.finish()
    return outage.report


@asynccontextmanager
async def _daemons(outage: Outage) -> AsyncGenerator[None]:
    """A daemon that is killed again and again, a runner that comes back, and a visitor."""
    async with trio.open_nursery() as nursery:
        daemon = await nursery.start(outage.run_daemons)
        async with outage.around.runner(daemon):
            nursery.start_soon(outage.visit)
            yield
        nursery.cancel_scope.cancel()


def free_address() -> str:
    """Return an address on loopback that is free, for a daemon that comes back to it."""
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{it.getsockname()[1]}"


def survival_percentile(ended: Sequence[float], broken_off: Sequence[float], percent: int) -> float:
    """Return the time by which so many percent have ended, by Kaplan and Meier's estimate.

    What was broken off had not ended by then, and nobody knows when it would have. Infinite if too few ended.
    """
    left = 1.0
    seen = sorted([*((at, False) for at in ended), *((at, True) for at in broken_off)])
    for index, (at, was_broken_off) in enumerate(seen):
        if not was_broken_off:
            left *= 1 - 1 / (len(seen) - index)
        if left <= 1 - percent / 100 + 1e-9:
            return at
    return math.inf


def _percentile(values: Sequence[float], percent: int) -> float:
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
