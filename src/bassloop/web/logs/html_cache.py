"""A cache of the HTML of log lines, shared by all visitors.

A settled line never changes, and neither does its HTML. Hundreds of pages that follow one run ask for the
same lines at the same moment. HTML is cached in chunks of lines; the least recently used chunks are dropped
first. It is kept in memory rather than beside the log: rendering a chunk takes about as long as reading it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import KeyedLock, TTLCache
from bassloop.terminal import render_lines
from bassloop.web.logs.links import link_urls
from bassloop.web.logs.workflow_commands import mark_command

if TYPE_CHECKING:
    from bassloop.store import Store

CHUNK = 256
"""Lines that are cached and dropped together."""

MAX_SIZE = 32 << 20
"""Characters of HTML that are cached."""

MIN_THREAD_BYTES = 64 * 1024
"""Bytes of lines from which on rendering takes a thread, so that no other task has to wait."""


@dataclass(slots=True)
class _Chunk:
    lines: list[str | None] = field(default_factory=lambda: [None] * CHUNK)

    @property
    def size(self) -> int:
        return sum(len(line) for line in self.lines if line is not None)


class LogHtmlCache:
    """Renders the lines of logs, and caches the result.

    Args:
        max_size: characters of HTML that are cached at most.
    """

    def __init__(self, store: Store, max_size: int = MAX_SIZE) -> None:
        self._store = store
        self._chunks: TTLCache[tuple[int, int], _Chunk] = TTLCache(
            max_size, size_of=lambda chunk: chunk.size
        )
        self._logs = KeyedLock[int]()
        self._rendered = 0
        self._returned = 0

    def statistics(self) -> dict[str, int]:
        """Return the lines rendered and returned so far, and the characters that are cached."""
        return {
            "rendered": self._rendered,
            "returned": self._returned,
            "characters": int(self._chunks.current_size),
        }

    async def lines(self, run_id: str, row: int, start: int, stop: int) -> list[str]:
        """Return the HTML of settled lines `start` to `stop` of a step's log, which it must have.

        The answer has fewer lines if they are very long, as with `Logs.lines`. The caller has checked
        that the visitor may see the run. Callers that want the same lines at the same time share the work;
        cancelling one loses nothing that was rendered by then.
        """
        async with self._logs.hold(row):
            lines = self._cached(row, start, stop)
            missing = [start + index for index, line in enumerate(lines) if line is None]
            if missing:
                first, last = missing[0], missing[-1]
                raw = await self._store.logs.lines(run_id, row, first, last + 1)
                rendered = await _render(raw)
                self._add(row, first, rendered)
                lines[first - start : first - start + len(rendered)] = rendered
        found: list[str] = []
        for line in lines:
            if line is None:
                break
            found.append(line)
        self._returned += len(found)
        return found

    def _cached(self, row: int, start: int, stop: int) -> list[str | None]:
        lines: list[str | None] = []
        while start < stop:
            number, offset = divmod(start, CHUNK)
            count = min(CHUNK - offset, stop - start)
            chunk = self._chunks.get((row, number))
            lines += [None] * count if chunk is None else chunk.lines[offset : offset + count]
            start += count
        return lines

    def _add(self, row: int, start: int, lines: list[str]) -> None:
        self._rendered += len(lines)
        index = 0
        while index < len(lines):
            number, offset = divmod(start + index, CHUNK)
            part = lines[index : index + CHUNK - offset]
            chunk = self._chunks.get((row, number)) or _Chunk()
            chunk.lines[offset : offset + len(part)] = part
            self._chunks.store((row, number), chunk)
            index += len(part)


async def _render(lines: list[bytes]) -> list[str]:
    if sum(map(len, lines)) < MIN_THREAD_BYTES:
        return _lines_to_html(lines)
    return await trio.to_thread.run_sync(_lines_to_html, lines)


def _lines_to_html(lines: list[bytes]) -> list[str]:
    return [mark_command(link_urls(line)) for line in render_lines(lines)]
