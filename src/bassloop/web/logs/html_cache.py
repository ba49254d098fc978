"""HTML of settled lines, made once for all who look at them.

A settled line never changes, and neither does its HTML: two hundred pages that follow one run ask for
the same lines within the same moment. What was made is kept while there is room, in chunks; the
least lately asked for goes first. It is kept in memory and not beside the log: making a chunk again
takes about as long as reading it would.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.terminal import render_lines

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bassloop.store import Store

CHUNK = 256
"""Lines that are kept and forgotten together."""

ROOM = 32 << 20
"""Characters of HTML that are kept."""

IN_THREAD = 64 * 1024
"""Bytes of lines from which on HTML is made in a thread, so that nobody else waits for it."""


@dataclass(slots=True)
class _Chunk:
    lines: list[str | None] = field(default_factory=lambda: [None] * CHUNK)
    size: int = 0


@dataclass(slots=True, eq=False)
class _Turn:
    """Who works on a log, and how many wait for them."""

    lock: trio.Lock = field(default_factory=trio.Lock)
    holders: int = 0


class RenderedLogs:
    """The HTML of logs' lines.

    Args:
        room: characters that are kept at most, in whole chunks.
    """

    def __init__(self, store: Store, room: int = ROOM) -> None:
        self._store = store
        self._room = room
        self._chunks: OrderedDict[tuple[int, int], _Chunk] = OrderedDict()
        self._turns: dict[int, _Turn] = {}
        self._size = 0
        self._made = 0
        self._given = 0

    def statistics(self) -> dict[str, int]:
        """Lines that HTML was made of, lines that were given out, characters that are kept."""
        return {"made": self._made, "given": self._given, "characters": self._size}

    async def lines(self, run_id: str, row: int, start: int, stop: int) -> list[str]:
        """HTML of the settled lines `start` to `stop`, which the log has; fewer when the answer has
        become long, as of `Store.log_lines`. For callers that may see the run.

        Those who ask for the same lines at once wait for the first. When cancelled, what was made
        by then is kept.
        """
        async with self._turn(row):
            wanted = self._known(row, start, stop)
            missing = [start + index for index, line in enumerate(wanted) if line is None]
            if missing:
                first, last = missing[0], missing[-1]
                read = await self._store.log_lines(run_id, row, first, last + 1)
                made = await _render(read)
                self._keep(row, first, made)
                wanted[first - start : first - start + len(made)] = made
        found: list[str] = []
        for line in wanted:
            if line is None:
                break
            found.append(line)
        self._given += len(found)
        return found

    def _known(self, row: int, start: int, stop: int) -> list[str | None]:
        known: list[str | None] = []
        while start < stop:
            key, offset = (row, start // CHUNK), start % CHUNK
            count = min(CHUNK - offset, stop - start)
            chunk = self._chunks.get(key)
            if chunk is None:
                known += [None] * count
            else:
                self._chunks.move_to_end(key)
                known += chunk.lines[offset : offset + count]
            start += count
        return known

    def _keep(self, row: int, start: int, made: list[str]) -> None:
        self._made += len(made)
        at = 0
        while at < len(made):
            key, offset = (row, (start + at) // CHUNK), (start + at) % CHUNK
            part = made[at : at + CHUNK - offset]
            chunk = self._chunks.setdefault(key, _Chunk())
            before = chunk.lines[offset : offset + len(part)]
            grown = sum(map(len, part)) - sum(len(line) for line in before if line is not None)
            chunk.lines[offset : offset + len(part)] = part
            chunk.size += grown
            self._size += grown
            self._chunks.move_to_end(key)
            at += len(part)
        while self._size > self._room and self._chunks:
            _, dropped = self._chunks.popitem(last=False)
            self._size -= dropped.size

    @asynccontextmanager
    async def _turn(self, row: int) -> AsyncGenerator[None]:
        """One at a time for a log."""
        turn = self._turns.setdefault(row, _Turn())
        turn.holders += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.holders -= 1
            if not turn.holders:
                del self._turns[row]


async def _render(lines: list[bytes]) -> list[str]:
    if sum(map(len, lines)) < IN_THREAD:
        return render_lines(lines)
    return await trio.to_thread.run_sync(render_lines, lines)
