"""SharedUsage: limits on users and repositories across all nodes of a database."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import AutoResetEvent, KeyedLock
from bassloop.store import LogUse, Topic, UserKind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from bassloop.store import Run, Store

LOOK_SECONDS = 5.0
"""The interval at which a waiting run looks for a free place, in case a notification or a node was lost."""

REPORT_SECONDS = 5.0
"""The interval at which a node publishes how many bytes of logs it has stored."""

REPORTED_SHARE = 0.01
"""The fraction of a limit after which a node publishes at once."""


class SharedUsage:
    """The shared use of limits, counted in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._place_freed = trio.Event()
        self._waiting: KeyedLock[tuple[UserKind, int]] = KeyedLock()
        self._bytes: Counter[tuple[UserKind, int]] = Counter()
        self._rates: dict[tuple[UserKind, int], float] = {}
        self._report = AutoResetEvent()
        store.notifications.subscribe(Topic.PLACES, lambda _: self._note_freed())

    def _note_freed(self) -> None:
        self._place_freed.set()
        self._place_freed = trio.Event()

    @asynccontextmanager
    async def place(
        self, run: Run, most: Mapping[UserKind, int], on_wait: Callable[[UserKind], Awaitable[None]]
    ) -> AsyncGenerator[None]:
        """Hold a place for a run of this node while the body runs; wait until one is free.

        If cancelled, the run or its node is about to end, which frees the place.

        Args:
            on_wait: called with who has too many runs, before it waits.
        """
        if self._store.company.size == 1:
            yield
            return
        if (short := await self._take(run, most)) is not None:
            await on_wait(short)
            id_ = run.user_id if short is UserKind.USER else run.repository_id
            async with self._waiting.hold((short, id_)):  # one waiter looks for all
                while True:
                    freed = self._place_freed
                    if await self._take(run, most) is None:
                        break
                    with trio.move_on_after(LOOK_SECONDS):
                        await freed.wait()
        try:
            yield
        except Exception:
            await self._store.usage.free_place(run.id)
            raise
        await self._store.usage.free_place(run.id)

    async def _take(self, run: Run, most: Mapping[UserKind, int]) -> UserKind | None:
        return await self._store.usage.take_place(
            run.id, repository_runs=most[UserKind.REPOSITORY], user_runs=most[UserKind.USER]
        )

    def waiting_bytes(self, who: tuple[UserKind, int]) -> int:
        """Return the bytes of logs that aren't counted in the store yet."""
        return self._bytes[who]

    def note_bytes(self, who: tuple[UserKind, int], size: int, limit: float, rate: float) -> None:
        """Note that bytes of logs were stored; the count decays by `rate` a second."""
        self._rates[who] = rate
        self._bytes[who] += size
        if self._bytes[who] >= REPORTED_SHARE * limit:
            self._report.set()

    async def keep_counting(
        self, note_counted: Callable[[Mapping[tuple[UserKind, int], float]], object]
    ) -> None:
        """Count the bytes of logs in the store, until cancelled.

        Args:
            note_counted: called with the new total of all nodes, for each user and repository whose logs have grown.
        """
        while True:
            with trio.move_on_after(REPORT_SECONDS):
                await self._report.wait()
            await self.count(note_counted)

    async def count(
        self, note_counted: Callable[[Mapping[tuple[UserKind, int], float]], object]
    ) -> None:
        """Add what isn't counted yet to the store."""
        used = {
            who: LogUse(size, self._rates[who]) for who, size in self._bytes.items() if size > 0
        }
        if used:
            counted = await self._store.usage.count_logs(used)
            self._bytes.subtract({who: size for who, (size, _) in used.items()})
            self._bytes += Counter()  # drops those whose bytes are all counted
            note_counted(counted)
