"""Quotas: limits on what one run, one user and one repository may make the loop do and store.

When a limit takes effect, a message names it and its setting, on the log and on the check: `RunQuota.exceeded` for
what isn't kept, and `RunQuota.slowed` for what was only slowed down. Daily amounts are counted in memory, so they
start at zero after a restart. Nodes that share a database count them there, as well as their runs (`SharedUsage`).
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import trio

from bassloop.bridge.metering import TimeBudget
from bassloop.concurrency import AutoResetEvent, KeyedLock, TokenBucket, TTLCache, shielded
from bassloop.store import LogUse, QuotaScope, Topic
from bassloop.units import write_size

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from bassloop.store import Run, Store

POLL_SECONDS = 5.0
"""The interval at which a waiting run checks for a free slot, in case a notification or a node was lost."""

FREE_SECONDS = 5.0
"""The maximum time in seconds for a cancelled run to free its slot."""

REPORT_SECONDS = 5.0
"""The interval at which a node publishes how many bytes of logs it has stored."""

REPORTED_SHARE = 0.01
"""The fraction of a limit after which a node publishes at once."""


class SharedUsage:
    """The shared use of limits, counted in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._slot_freed = trio.Event()
        self._waiting: KeyedLock[tuple[QuotaScope, int]] = KeyedLock()
        self._bytes: Counter[tuple[QuotaScope, int]] = Counter()
        self._rates: dict[tuple[QuotaScope, int], float] = {}
        self._report = AutoResetEvent()
        store.notifications.subscribe(Topic.SLOTS, lambda _: self._note_freed())

    def _note_freed(self) -> None:
        self._slot_freed.set()
        self._slot_freed = trio.Event()

    @asynccontextmanager
    async def slot(
        self,
        run: Run,
        most: Mapping[QuotaScope, int],
        on_wait: Callable[[QuotaScope], Awaitable[None]],
    ) -> AsyncGenerator[None]:
        """Hold a slot for a run of this node while the body runs; wait until one is free.

        The slot is freed also if cancelled, within FREE_SECONDS; otherwise, the end of the run or its node frees it.

        Args:
            on_wait: called before it waits, with whether the user or the repository has too many runs.
        """
        if self._store.cluster.size == 1:
            yield
            return
        if (short := await self._take(run, most)) is not None:
            await on_wait(short)
            id_ = run.user_id if short is QuotaScope.USER else run.repository_id
            async with self._waiting.hold((short, id_)):  # one waiter checks for all
                while True:
                    freed = self._slot_freed
                    if await self._take(run, most) is None:
                        break
                    with trio.move_on_after(POLL_SECONDS):
                        await freed.wait()
        try:
            yield
        finally:
            with shielded(FREE_SECONDS):
                await self._store.usage.free_slot(run.id)

    async def _take(self, run: Run, most: Mapping[QuotaScope, int]) -> QuotaScope | None:
        return await self._store.usage.take_slot(
            run.id, repository_runs=most[QuotaScope.REPOSITORY], user_runs=most[QuotaScope.USER]
        )

    def waiting_bytes(self, who: tuple[QuotaScope, int]) -> int:
        """Return the bytes of logs that aren't counted in the store yet."""
        return self._bytes[who]

    def note_bytes(self, who: tuple[QuotaScope, int], size: int, limit: float, rate: float) -> None:
        """Note that bytes of logs were stored; the count decays by `rate` a second."""
        self._rates[who] = rate
        self._bytes[who] += size
        if self._bytes[who] >= REPORTED_SHARE * limit:
            self._report.set()

    async def keep_counting(
        self, note_counted: Callable[[Mapping[tuple[QuotaScope, int], float]], object]
    ) -> None:
        """Count the bytes of logs in the store, until cancelled.

        Args:
            note_counted: called with the new total of all nodes, for each user and repository with new logs.
        """
        while True:
            with trio.move_on_after(REPORT_SECONDS):
                await self._report.wait()
            await self.count(note_counted)

    async def count(
        self, note_counted: Callable[[Mapping[tuple[QuotaScope, int], float]], object]
    ) -> None:
        """Add what isn't counted yet to the store."""
        used = {
            who: LogUse(size, self._rates[who]) for who, size in self._bytes.items() if size > 0
        }
        if used:
            counted = await self._store.usage.count_logs(used)
            self._bytes.subtract({who: size for who, (size, _) in used.items()})
            self._bytes += Counter()  # `+=` drops the counts that are now zero
            note_counted(counted)


_Who: TypeAlias = "tuple[QuotaScope, int]"
"""A user or a repository, by id."""

DAY = 86_400.0
MAX_REMEMBERED = 10_000
DISK_SECONDS = 1.0
"""How long a reading of the disk's free space is used, in seconds."""
DISK_BYTES = 8 << 20
"""How many bytes are stored at most before it is read again."""
BURST_SECONDS = 4.0
REPORTS_AT_ONCE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaLimits:
    """The limits, in bytes unless a name says otherwise."""

    run_log: int = 4 << 30
    run_steps: int = 10_000
    run_updates: int = 500
    """Messages per second; bursts may have four times as many."""
    user_log_a_day: int = 50 << 30
    repository_log_a_day: int = 50 << 30
    user_runs: int = 256
    repository_runs: int = 256
    free_space: int = 256 << 20
    """Bytes on the disk that logs leave free for deliveries. With 0, writers wait for room instead."""


@dataclass(eq=False)
class _Bound:
    """One limit on stored bytes: a run's, a user's or a repository's."""

    bucket: TokenBucket
    message: str
    who: _Who | None = None


class Quotas:
    """All quotas, and how much of them is used.

    Args:
        free_bytes: returns the free space on the disk of the logs; called in a thread.
        shared: counts the use by other nodes as well.
    """

    def __init__(
        self,
        limits: QuotaLimits | None = None,
        free_bytes: Callable[[], int] = lambda: sys.maxsize,
        shared: SharedUsage | None = None,
    ) -> None:
        self.limits = limits or QuotaLimits()
        self.reading = trio.CapacityLimiter(REPORTS_AT_ONCE)
        """The threads that parse test reports."""
        self._free_bytes = free_bytes
        self._shared = shared
        self._days = TTLCache[_Who, TokenBucket](MAX_REMEMBERED, 2 * DAY)
        self._under_way: dict[_Who, trio.CapacityLimiter] = {}
        self._room = 0
        self._room_read_at = -DISK_SECONDS

    def of_run(self, run: Run) -> RunQuota:
        """Return the quota of a run. It shares those of its user and repository with their other runs."""
        limits = self.limits
        whole = f"{write_size(limits.run_log)} (RUN_LOG)"
        bounds = [_Bound(TokenBucket(limits.run_log, 0), f"the logs of one run may have {whole}")]
        for kind, id_, name, size in (
            (QuotaScope.USER, run.user_id, run.login, limits.user_log_a_day),
            (
                QuotaScope.REPOSITORY,
                run.repository_id,
                run.repository,
                limits.repository_log_a_day,
            ),
        ):
            setting = f"{kind.upper()}_LOG_A_DAY"
            allowed = f"the logs of {name} may have {write_size(size)} a day ({setting})"
            bounds.append(_Bound(self._day((kind, id_), size), allowed, (kind, id_)))
        return RunQuota(self, bounds)

    def _day(self, who: _Who, size: int) -> TokenBucket:
        bucket = self._days.get(who)
        if bucket is None:
            bucket = TokenBucket(size, size / DAY)
            self._days.store(who, bucket)
        return bucket

    def note_stored(self, who: _Who, bucket: TokenBucket, size: int) -> None:
        """Note that bytes of logs were stored, for other nodes."""
        if self._shared is not None:
            self._shared.note_bytes(who, size, bucket.capacity, bucket.rate)

    async def keep_counting(self) -> None:
        """Exchange counts of stored bytes with other nodes until cancelled."""
        if self._shared is not None:
            await self._shared.keep_counting(self._note_counted)

    def _note_counted(self, counted: Mapping[_Who, float]) -> None:
        assert self._shared is not None
        for who, size in counted.items():
            if (bucket := self._days.get(who)) is not None:
                left = bucket.capacity - size - self._shared.waiting_bytes(who)
                bucket.charge(bucket.tokens - left)

    @asynccontextmanager
    async def under_way(
        self, run: Run, on_wait: Callable[[str], Awaitable[object]]
    ) -> AsyncGenerator[None]:
        """Count a run while the body runs; wait while its repository or user has too many.

        Args:
            on_wait: called with the reason before it waits.
        """
        most = {
            QuotaScope.REPOSITORY: self.limits.repository_runs,
            QuotaScope.USER: self.limits.user_runs,
        }
        names = {QuotaScope.REPOSITORY: run.repository, QuotaScope.USER: run.login}

        async def wait(kind: QuotaScope) -> None:
            setting = f"{kind.upper()}_RUNS"
            await on_wait(f"{most[kind]} checks of {names[kind]} are running ({setting})")

        async with AsyncExitStack() as stack:
            for kind, id_ in (
                (QuotaScope.REPOSITORY, run.repository_id),
                (QuotaScope.USER, run.user_id),
            ):
                await stack.enter_async_context(self._slot((kind, id_), most[kind], wait))
            if self._shared is not None:
                await stack.enter_async_context(self._shared.slot(run, most, wait))
            yield

    @asynccontextmanager
    async def _slot(
        self, who: _Who, most: int, on_wait: Callable[[QuotaScope], Awaitable[None]]
    ) -> AsyncGenerator[None]:
        limiter = self._under_way.setdefault(who, trio.CapacityLimiter(most))
        holder = object()
        try:
            limiter.acquire_on_behalf_of_nowait(holder)
        except trio.WouldBlock:
            await on_wait(who[0])
            # Meanwhile, all holders may have left, and the limiter with them.
            limiter = self._under_way.setdefault(who, trio.CapacityLimiter(most))
            await limiter.acquire_on_behalf_of(holder)
        try:
            yield
        finally:
            limiter.release_on_behalf_of(holder)
            if not limiter.borrowed_tokens:
                self._under_way.pop(who, None)

    async def disk_room(self, size: int) -> int:
        """Return how many of these bytes may be stored before the disk's free space falls below the limit."""
        if not self.limits.free_space:
            return size
        now = trio.current_time()
        if now - self._room_read_at >= DISK_SECONDS or self._room < size:
            self._room_read_at = now
            free = await trio.to_thread.run_sync(self._free_bytes)
            self._room = min(max(0, free - self.limits.free_space), DISK_BYTES)
        self._room -= (room := min(size, self._room))
        return room


@dataclass(eq=False)
class RunQuota:
    """The quota of one run.

    Args:
        exceeded: why no more of its logs is kept; None if they are kept.
        slow_seconds: how long its runner had to wait because it sent too many messages, or expensive ones.
        budget: the processor time for the text that its runner sends.
    """

    quotas: Quotas
    _bounds: list[_Bound] = field(default_factory=list)
    exceeded: str | None = None
    slow_seconds: float = 0.0
    budget: TimeBudget = field(default_factory=TimeBudget)
    _updates: TokenBucket = field(init=False)

    def __post_init__(self) -> None:
        rate = self.quotas.limits.run_updates
        self._updates = TokenBucket(BURST_SECONDS * rate, rate)

    @property
    def steps(self) -> int:
        """The number of steps that the run may have."""
        return self.quotas.limits.run_steps

    @property
    def slowed(self) -> str | None:
        """A sentence about why the run was slowed down, if that took seconds; otherwise None."""
        if self.slow_seconds < 1:
            return None
        return (
            f"the runner was slowed down for {self.slow_seconds:.0f} s: it sent more than "
            f"{self.quotas.limits.run_updates} messages a second (RUN_UPDATES), "
            "or text that is expensive to show"
        )

    async def take(self, size: int) -> int:
        """Return how many of these bytes may be stored, and count those. If not all, `exceeded` says why."""
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
            if bound.who is not None:
                self.quotas.note_stored(bound.who, bound.bucket, room)
        if room < size:
            self.exceeded = why
        return room

    async def pace(self) -> None:
        """Count a message, and wait until the run may send the next one."""
        self._updates.charge(1)
        await self._wait(self._updates.seconds_until(0))

    async def wait_for_budget(self) -> None:
        """Wait until the run's budget isn't overdrawn.

        Processing ordinary text is free. A run that sends text that is more expensive to process waits here,
        so that it takes no more than a fifth of the loop's time.
        """
        await self._wait(self.budget.delay())

    async def _wait(self, seconds: float) -> None:
        if seconds:
            self.slow_seconds += seconds
            await trio.sleep(seconds)
