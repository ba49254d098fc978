"""A daemon under attack, and visitors who keep using it."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.loop.world import Daemon, World, open_world
from tests.repositories import MakeRepository, commit
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

GOOD = '(defn github-hook [event client] (error "this hook was evaluated"))'
OTHER = 1000
"""The offset of the id of the repository that isn't attacking."""

OTHER_NAME = "octocat/Hello"
"""Its name, which is the same repository for GitHub, and another one for the loop."""

HOLD_SECONDS = 0.1
MEDIAN_SECONDS = 0.05
LONGEST_SECONDS = 0.25
CONCLUDED_SECONDS = 30.0
"""Processor seconds, on a machine that does the visitor's work in `WORK_SECONDS`."""

WORK_SECONDS = 160e-6
CALM_SECONDS = 0.3
ATTACK_SECONDS = 1.5
STUCK_SECONDS = 400.0
MEMORY_GROWTH = 400 << 20
"""Bytes by which the daemon may have been larger during an attack."""

VISITOR = Path(__file__).with_name("visitor.py")


@dataclass(frozen=True)
class Visit:
    """A page that was asked for: when, and the fields that `visitor.py` measures."""

    began: float
    seconds: float
    processor_seconds: float
    work_seconds: float


@dataclass
class Target:
    """A daemon in a process of its own, with a stand-in for GitHub around it, and a visitor."""

    world: World
    daemon: Daemon
    visits: list[Visit] = field(default_factory=list)
    _pushing: trio.Lock = field(default_factory=trio.Lock)

    @asynccontextmanager
    async def used_by_others(self, attack: str) -> AsyncGenerator[None]:
        """Look at the daemon as others do while the body attacks it.

        All bounds but the one of memory are of the daemon's processor time, and grow with the time that a fixed piece
        of work takes meanwhile: other programs may keep everybody waiting, but that is not the daemon's doing. The
        watchdog may not see a step of the loop that computes for over 100 ms; a page that somebody else asks for
        waits for little of what the daemon computes for the attacker, in one of its threads or another.
        """
        began, memory = time.monotonic(), self._begin_peak()
        known = set(self.daemon.lines_with("loop held"))
        yield
        await self._is_visited_again(attack)
        visits = [each for each in self.visits if each.began > began]
        slowness, slowest = self._slowness_since(began)
        usual = median(each.processor_seconds for each in visits)
        longest = max(visits, key=lambda each: each.processor_seconds)
        held = [line for line in self.daemon.lines_with("loop held") if line not in known]
        hold = max((json.loads(line)["processor_seconds"] for line in held), default=0.0)
        growth = self._peak() - memory
        print(
            f"{attack}: held for {hold:.3f} s; of {len(visits)} pages, half waited for {usual:.4f} s, and one for"
            f" {longest.processor_seconds:.3f} s of processor ({longest.seconds:.3f} s); {growth >> 20} MiB more;"
            f" {slowness:.1f} times as slow a machine, and {slowest:.1f} at times"
        )
        assert hold < slowest * HOLD_SECONDS, f"{attack} held the loop: {held}"
        assert usual < slowness * MEDIAN_SECONDS, attack
        assert longest.processor_seconds < slowest * LONGEST_SECONDS, attack
        assert growth < MEMORY_GROWTH, f"{attack}: {growth:,} bytes"

    async def withstand(
        self,
        attack: str,
        flood: Callable[[], Awaitable[object]],
        enough: trio.Event | None = None,
    ) -> None:
        """Let something flood the daemon for a while; another repository's delivery is concluded meanwhile.

        Args:
            enough: set when the flood has come as far as it has to, which takes longer on a busy machine.
        """
        async with self.used_by_others(attack), trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            end = trio.current_time() + ATTACK_SECONDS
            await self.other_is_concluded(attack)
            await trio.sleep_until(end)
            if enough is not None:
                await enough.wait()
            nursery.cancel_scope.cancel()

    async def _is_visited_again(self, attack: str) -> None:
        """Wait for a visit that began after the attack: one that a frozen daemon keeps waiting isn't in `visits`."""
        ended = time.monotonic()
        with trio.move_on_after(STUCK_SECONDS) as scope:
            await until(lambda: any(each.began > ended for each in self.visits))
        assert not scope.cancelled_caught, f"{attack} has frozen the daemon"

    async def visit(self) -> None:
        """Have the daemon visited until cancelled."""
        command = [sys.executable, str(VISITOR), self.daemon.url, str(self.daemon.process.pid)]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        rest = b""
        try:
            async for piece in process.stdout:
                *lines, rest = (rest + piece).split(b"\n")
                self.visits.extend(Visit(*json.loads(line)) for line in lines)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
        raise AssertionError("the visitor has left")

    def _slowness_since(self, began: float) -> tuple[float, float]:
        """Return how many times as long as usual a fixed piece of work has taken; at least 1.

        The first is the median. A single look at the daemon may have been one at the slow times, which the second is
        of: a twentieth of the works took longer.
        """
        works = [WORK_SECONDS, *(each.work_seconds for each in self.visits if each.began > began)]
        slow = quantiles(works, n=20)[-1] if len(works) > 1 else WORK_SECONDS
        return max(1.0, median(works) / WORK_SECONDS), max(1.0, slow / WORK_SECONDS)

    async def other_is_concluded(self, attack: str) -> None:
        """Push to the other repository, and wait until its check is concluded."""
        began, used = time.monotonic(), self.processor_seconds()
        with trio.move_on_after(STUCK_SECONDS) as scope:
            sha = await self.push(GOOD, repository=OTHER)
            check = await self.concluded(sha)
        assert not scope.cancelled_caught, f"{attack} kept another repository's delivery waiting"
        assert "this hook was evaluated" in check["output"]["summary"]
        used = self.processor_seconds() - used
        print(f"{attack}: another delivery waited for {used:.2f} s of processor")
        most = self._slowness_since(began)[1] * CONCLUDED_SECONDS
        assert used < most, f"{attack} kept another repository's delivery waiting"

    async def push(self, hook: str, *, repository: int = 0) -> str:
        """Push a commit with a hook; return the commit. `repository` is added to the repository's id."""
        standin = self.world.standin
        async with self._pushing:
            (standin.repository_path / "project.bass").write_text(hook)
            commit(standin.repository_path)
            payload: dict[str, Any] = copy.deepcopy(dict(await standin.payload("check_suite")))
        if repository:
            payload["repository"] |= {
                "id": payload["repository"]["id"] + repository,
                "full_name": OTHER_NAME,
                "name": OTHER_NAME.rpartition("/")[2],
            }
        delivered = await standin.deliver(self.daemon.url, "check_suite", payload)
        assert delivered.status == 202
        return str(payload["check_suite"]["head_sha"])

    async def concluded(self, sha: str, name: str = "") -> dict[str, Any]:
        """Wait for a completed check run of a commit, which may have to have a name, and return it."""
        await until(lambda: self.completed(sha, name))
        return self.completed(sha, name)[0]

    def completed(self, sha: str, name: str = "") -> list[dict[str, Any]]:
        """Return the completed check runs of a commit, which may have to have a name."""
        return [
            run
            for run in self.world.standin.check_runs
            if run["head_sha"] == sha
            and run["status"] == "completed"
            and run["name"] in (name or run["name"],)
        ]

    def processor_seconds(self) -> float:
        """Return the processor time of all threads of the daemon."""
        return time.clock_gettime((~self.daemon.process.pid << 3) | 2)

    def _begin_peak(self) -> int:
        """Forget the most memory that the daemon has had, and return what it has now, in bytes."""
        Path(f"/proc/{self.daemon.process.pid}/clear_refs").write_text("5")
        return self._peak()

    def _peak(self) -> int:
        """Return the most bytes of memory that the daemon has had."""
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        [line] = [each for each in status.splitlines() if each.startswith("VmHWM:")]
        return int(line.split()[1]) << 10


@pytest.fixture
async def target(
    request: pytest.FixtureRequest, make_repository: MakeRepository, tmp_path: Path
) -> AsyncGenerator[Target]:
    """A daemon that has evaluated a hook already, as one has that runs for longer than a second."""
    repository = make_repository(**{"project.bass": ""})
    settings = {
        # Enough for hooks that have to come to an end on a slow machine, but in the tests that are about the limit.
        "HOOK_CPU": getattr(request.module, "HOOK_CPU", "10"),
        "HOOK_SECONDS": "2m",
        "SUPERSEDE": "false",
        "GITHUB_APP_CLIENT_ID": "Iv1.0000000000000001",
        "GITHUB_APP_CLIENT_SECRET": "client-secret",
        **getattr(request.module, "SETTINGS", {}),
    }
    async with (
        open_world(repository, tmp_path / "world", **settings) as around,
        around.daemon() as daemon,
    ):
        target = Target(around, daemon)
        await target.other_is_concluded("nothing yet")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(target.visit)
            await until(lambda: target.visits)
            yield target
            nursery.cancel_scope.cancel()
