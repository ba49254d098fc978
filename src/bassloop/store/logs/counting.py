"""Counting lines as text goes by, and noting now and then where one begins."""

from __future__ import annotations

from bassloop.store.logs.formats import ENTRY_BYTES, ENTRY_LINES, LINE_RECORD

_NARROW = 64


class LineCounter:
    """Knows how many lines have ended and how many bytes went by. `feed` returns new records for
    the index of lines: one for each line that begins 512 lines or 256 KiB after the last one."""

    __slots__ = ("_entry_line", "_entry_offset", "_stride", "lines", "offset")

    def __init__(self, lines: int = 0, offset: int = 0) -> None:
        self.lines = lines
        self.offset = offset
        self._entry_line = lines
        self._entry_offset = offset
        self._stride = 32 * 1024

    def feed(self, text: bytes) -> bytes:
        count = text.count(b"\n")
        if (
            self.lines + count < self._entry_line + ENTRY_LINES
            and self.offset + len(text) < self._entry_offset + ENTRY_BYTES
        ):
            self.lines += count
            self.offset += len(text)
            return b""
        records = []
        at = 0
        while (end := self._next_entry(text, at)) >= 0:
            self._entry_line = self.lines
            self._entry_offset = self.offset + end
            records.append(LINE_RECORD.pack(self._entry_line, self._entry_offset))
            at = end
        self.offset += len(text)
        return b"".join(records)

    def _next_entry(self, text: bytes, at: int) -> int:
        """Where the next line to record begins, having counted the lines up to there; -1 if none
        does, having counted all that are left."""
        enough = max(at, self._entry_offset + ENTRY_BYTES - self.offset - 1)
        far = text.find(b"\n", enough) if enough < len(text) else -1
        limit = len(text) if far < 0 else far
        wanted = self._entry_line + ENTRY_LINES - self.lines
        begun = at
        while at < limit:
            window = min(limit, at + self._stride)
            count = text.count(b"\n", at, window)
            if count >= wanted:
                position = nth_newline(text, at, window, wanted)
                self.lines += wanted
                self._stride = max(256, 2 * (position - begun))
                return position + 1
            self.lines += count
            wanted -= count
            at = window
            self._stride = min(32 * 1024, 2 * self._stride)
        if far < 0:
            return -1
        self.lines += 1
        return far + 1


def nth_newline(text: bytes, low: int, high: int, n: int) -> int:
    """Position of the `n`th newline of `text[low:high]`, which has that many."""
    while high - low > _NARROW:
        middle = (low + high) // 2
        count = text.count(b"\n", low, middle)
        if count >= n:
            high = middle
        else:
            n -= count
            low = middle
    position = low - 1
    for _ in range(n):
        position = text.index(b"\n", position + 1)
    return position
