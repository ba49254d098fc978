"""RunQuotas: what one run, one user and one repository may make the loop do and store.

A limit that bites is named in words, with its setting: `RunQuota.exceeded` for what isn't kept, on the log and on
the check, and `RunQuota.slowed` for what was only slowed down. What is counted a day is counted in memory: a
restart begins anew.
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.bridge.metering import TimeBudget
from bassloop.concurrency import TokenBucket, TTLCache
from bassloop.units import write_size

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from bassloop.store import Run

DAY = 86_400.0
MAX_REMEMBERED = 10_000
DISK_SECONDS = 1.0
"""How long an answer about the free space of the disk is used."""
DISK_BYTES = 8 << 20
"""How many bytes are stored at most before it is asked for again."""
BURST_SECONDS = 4.0
REPORTS_AT_ONCE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaLimits:
    """The limits, in bytes unless a name says otherwise."""

    run_log: int = 4 << 30
    run_steps: int = 10_000
    run_updates: int = 500
    """Messages a second, and four times as many at once."""
    user_log_a_day: int = 50 << 30
    repository_log_a_day: int = 50 << 30
    user_runs: int = 256
    repository_runs: int = 256
    free_space: int = 256 << 20
    """Room that logs leave on the disk, for deliveries; 0 lets whoever writes wait for room instead."""


@dataclass(eq=False)
class _Bound:
    """One bound of the bytes that are stored."""

    bucket: TokenBucket
    message: str


class RunQuotas:
    """All quotas, and what has been used of them.

    Args:
        free_bytes: returns how much room the disk of the logs has; called in a thread.
    """

    def __init__(
        self,
        limits: QuotaLimits | None = None,
        free_bytes: Callable[[], int] = lambda: sys.maxsize,
    ) -> None:
        self.limits = limits or QuotaLimits()
        self.reading = trio.CapacityLimiter(REPORTS_AT_ONCE)
        """Threads that read test reports."""
        self._free_bytes = free_bytes
        self._days = TTLCache[tuple[str, int], TokenBucket](MAX_REMEMBERED, 2 * DAY)
        self._under_way: dict[tuple[str, int], trio.CapacityLimiter] = {}
        self._room = 0
        self._looked_at = -DISK_SECONDS

    def of_run(self, run: Run) -> RunQuota:
        """Return the quota of a run, which shares its user's and its repository's with their other runs."""
        limits = self.limits
        whole = f"{write_size(limits.run_log)} (RUN_LOG)"
        bounds = [_Bound(TokenBucket(limits.run_log, 0), f"the logs of one run may have {whole}")]
        for kind, id_, name, size in (
            ("user", run.user_id, run.login, limits.user_log_a_day),
            ("repository", run.repository_id, run.repository, limits.repository_log_a_day),
        ):
            setting = f"{kind.upper()}_LOG_A_DAY"
            allowed = f"the logs of {name} may have {write_size(size)} a day ({setting})"
            bounds.append(_Bound(self._day((kind, id_), size), allowed))
        return RunQuota(self, bounds)

    def _day(self, key: tuple[str, int], size: int) -> TokenBucket:
        bucket = self._days.get(key)
        if bucket is None:
            bucket = TokenBucket(size, size / DAY)
            self._days.store(key, bucket)
        return bucket

    @asynccontextmanager
    async def under_way(
        self, run: Run, on_wait: Callable[[str], Awaitable[object]]
    ) -> AsyncGenerator[None]:
        """Let a run be under way while the body runs; wait while its repository or its user has too many.

        Args:
            on_wait: told why it has to wait, before it does.
        """
        limits = self.limits
        async with (
            self._slot(
                ("repository", run.repository_id),
                limits.repository_runs,
                f"{limits.repository_runs} checks of {run.repository} are running (REPOSITORY_RUNS)",
                on_wait,
            ),
            self._slot(
                ("user", run.user_id),
                limits.user_runs,
                f"{limits.user_runs} checks of {run.login} are running (USER_RUNS)",
                on_wait,
            ),
        ):
            yield

    @asynccontextmanager
    async def _slot(
        self,
        key: tuple[str, int],
        most: int,
        why: str,
        on_wait: Callable[[str], Awaitable[object]],
    ) -> AsyncGenerator[None]:
        limiter = self._under_way.setdefault(key, trio.CapacityLimiter(most))
        holder = object()
        try:
            limiter.acquire_on_behalf_of_nowait(holder)
        except trio.WouldBlock:
            await on_wait(why)
            await limiter.acquire_on_behalf_of(holder)
        try:
            yield
        finally:
            limiter.release_on_behalf_of(holder)
            if not limiter.borrowed_tokens:
                self._under_way.pop(key, None)

    async def disk_room(self, size: int) -> int:
        """Return how many of so many bytes may be stored before the disk has less room than it should."""
        if not self.limits.free_space:
            return size
        now = trio.current_time()
        if now - self._looked_at >= DISK_SECONDS or self._room < size:
            self._looked_at = now
            free = await trio.to_thread.run_sync(self._free_bytes)
            self._room = min(max(0, free - self.limits.free_space), DISK_BYTES)
        self._room -= (room := min(size, self._room))
        return room


@dataclass(eq=False)
class RunQuota:
    """The amount that one run may still store.

    Args:
        exceeded: why no more of its logs is kept; None while they are.
        slow_seconds: how long its runner was kept waiting because it sent too many messages, or dear ones.
    """

    quotas: RunQuotas
    _bounds: list[_Bound] = field(default_factory=list)
    exceeded: str | None = None
    slow_seconds: float = 0.0
    _updates: TokenBucket = field(init=False)
    _budget: TimeBudget = field(init=False)

    def __post_init__(self) -> None:
        rate = self.quotas.limits.run_updates
        self._updates = TokenBucket(BURST_SECONDS * rate, rate)
        self._budget = TimeBudget()

    @property
    def steps(self) -> int:
        """The number of steps that the run may have."""
        return self.quotas.limits.run_steps

    @property
    def slowed(self) -> str | None:
        """Say that the run was slowed down, and why, if it was for seconds."""
        if self.slow_seconds < 1:
            return None
        return (
            f"the runner was slowed down for {self.slow_seconds:.0f} s: it sent more than "
            f"{self.quotas.limits.run_updates} messages a second (RUN_UPDATES), "
            "or text that is expensive to show"
        )

    async def take(self, size: int) -> int:
        """Return how many of so many bytes may be stored, and count them. Fewer: `exceeded` says why."""
        if self.exceeded is not None:
            return 0
        room, why = (
            await self.quotas.disk_room(size),
            "the disk of the logs is full but for FREE_SPACE",
        )
        for bound in self._bounds:
            if (left := int(bound.bucket.tokens)) < room:
                room, why = left, bound.message
        room = max(0, room)
        for bound in self._bounds:
            bound.bucket.charge(room)
        if room < size:
            self.exceeded = why
        return room

    async def pace(self) -> None:
        """Count a message, and wait until the run may send another one."""
        self._updates.charge(1)
        await self._wait(self._updates.seconds_until(0))

    async def pay(self, began: float, size: int) -> float:
        """Pay for working on some bytes since a time of `timer`; return the seconds of processor time they took.

        Bytes pay for themselves at the rate of ordinary text. A run that sends others may not take more than
        a fifth of the loop's time: it waits here.
        """
        spent = self.timer() - began
        self._budget.charge(spent, size)
        await self._wait(self._budget.delay())
        return spent

    def timer(self) -> float:
        """Return the processor time of this thread, in seconds."""
        return self._budget.timer()

    async def _wait(self, seconds: float) -> None:
        if seconds:
            self.slow_seconds += seconds
            await trio.sleep(seconds)
