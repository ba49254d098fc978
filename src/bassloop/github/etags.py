"""Answers kept with their ETag: asked again, GitHub says 304, which counts for no rate limit."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that may still be right."""

    etag: str
    body: bytes
    link: str


@dataclass(eq=False)
class ETags:
    """The answers used last, up to a number and a size; larger ones are not kept.

    The key must name whose credential asked: what one installation may read, another may not.
    """

    entries: int = 1000
    total_bytes: int = 32 << 20
    largest: int = 2 << 20
    _kept: OrderedDict[Hashable, Kept] = field(default_factory=OrderedDict, init=False)
    _bytes: int = field(default=0, init=False)

    def __repr__(self) -> str:
        return f"<ETags: {len(self._kept)} answers, {self._bytes:,} bytes>"

    def get(self, key: Hashable) -> Kept | None:
        """The answer kept for a key."""
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def put(self, key: Hashable, kept: Kept) -> None:
        """Keep an answer, in place of an older one, and drop those used longest ago."""
        self.drop(key)
        if len(kept.body) > self.largest:
            return
        self._kept[key] = kept
        self._bytes += len(kept.body)
        while len(self._kept) > self.entries or self._bytes > self.total_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped.body)

    def drop(self, key: Hashable) -> None:
        """Forget what is kept for a key."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= len(kept.body)
