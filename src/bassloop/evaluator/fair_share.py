"""A fair share of a bounded number of slots: no key holds more than half of them."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class FairLimiter:
    """A capacity limiter that is fair between keys: a free slot goes to the waiting key that holds the fewest.

    Args:
        capacity: the number of slots. One key gets half of them at most, and at least one.
        on_unused: called whenever the last slot in use is given back.
    """

    def __init__(self, capacity: int, on_unused: Callable[[], None] = lambda: None) -> None:
        self.capacity = capacity
        self.per_key = max(1, capacity // 2)
        self._on_unused = on_unused
        self._held: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[trio.Event]] = {}

    def __repr__(self) -> str:
        return (
            f"<FairLimiter: {self._held.total()} of {self.capacity} held, {self.waiting} waiting>"
        )

    @property
    def held(self) -> int:
        """The number of slots in use."""
        return self._held.total()

    @property
    def waiting(self) -> int:
        """The number of waiters."""
        return sum(map(len, self._waiting.values()))

    async def acquire(self, key: Hashable) -> None:
        """Wait for a slot. A checkpoint. If cancelled, no slot is held."""
        event = trio.Event()
        self._waiting.setdefault(key, deque()).append(event)
        self._grant()
        try:
            await event.wait()
        except BaseException:
            if event.is_set():
                self.release(key)
            else:
                self._remove(key, event)
            raise

    def release(self, key: Hashable) -> None:
        """Give a slot back."""
        assert self._held[key] > 0
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
        self._grant()
        if not self._held:
            self._on_unused()

    def _grant(self) -> None:
        while self._held.total() < self.capacity:
            served = min(self._waiting, key=self._held.__getitem__, default=None)
            if served is None or self._held[served] >= self.per_key:
                return
            event = self._waiting[served][0]
            self._held[served] += 1
            self._remove(served, event)
            event.set()

    def _remove(self, key: Hashable, event: trio.Event) -> None:
        """Remove a key's first waiter, and move the key's other waiters behind those of other keys."""
        waiting = self._waiting.pop(key)
        waiting.remove(event)
        if waiting:
            self._waiting[key] = waiting


class HookSlot:
    """A hook's slot, which is given back while the hook waits."""

    def __init__(self, slots: FairLimiter, key: Hashable) -> None:
        self.key = key
        self._slots = slots
        self._held = False

    async def take(self) -> None:
        """Wait for the slot, unless it is held. Must not be called by two tasks at once."""
        if not self._held:
            await self._slots.acquire(self.key)
            self._held = True

    def release(self) -> None:
        """Give the slot back, if it is held."""
        if self._held:
            self._held = False
            self._slots.release(self.key)
