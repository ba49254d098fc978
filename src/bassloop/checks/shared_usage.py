"""SharedUsage: lets limits on users and repositories hold for all nodes that share a database together."""

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
"""How often a run that waits for a place looks for one, in case a notification was lost, or a node."""

REPORT_SECONDS = 5.0
"""How often a node says how many bytes of logs it has stored."""

REPORTED_SHARE = 0.01
"""The share of a limit that one node stores before it says so at once."""


class SharedUsage:
    """The use of limits that are counted in the store."""

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
        """Let a run of this node have a place while the body runs; wait while there is none.

        Cancelled, the run is about to end, or its node is, and either frees its place.

        Args:
            on_wait: told who has too many runs, before it waits.
        """
        if self._store.company.size == 1:
            yield
            return
        if (short := await self._take(run, most)) is not None:
            await on_wait(short)
            id_ = run.user_id if short is UserKind.USER else run.repository_id
            async with self._waiting.hold((short, id_)):  # one of them looks for the others
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
        """Return how many bytes of logs aren't counted in the store yet."""
        return self._bytes[who]

    def note_bytes(self, who: tuple[UserKind, int], size: int, limit: float, rate: float) -> None:
        """Note that bytes of logs were stored, of which `rate` are forgiven a second."""
        self._rates[who] = rate
        self._bytes[who] += size
        if self._bytes[who] >= REPORTED_SHARE * limit:
            self._report.set()

    async def keep_counting(
        self, note_counted: Callable[[Mapping[tuple[UserKind, int], float]], object]
    ) -> None:
        """Count the bytes of logs in the store, until cancelled.

        Args:
            note_counted: told how many are counted then, of all nodes, for whose logs have grown.
        """
        while True:
            with trio.move_on_after(REPORT_SECONDS):
                await self._report.wait()
            await self.count(note_counted)

    async def count(
        self, note_counted: Callable[[Mapping[tuple[UserKind, int], float]], object]
    ) -> None:
        """Count what isn't counted yet."""
        used = {
            who: LogUse(size, self._rates[who]) for who, size in self._bytes.items() if size > 0
        }
        if used:
            counted = await self._store.usage.count_logs(used)
            self._bytes.subtract({who: size for who, (size, _) in used.items()})
            self._bytes += Counter()  # forgets those of whom all is counted
            note_counted(counted)
