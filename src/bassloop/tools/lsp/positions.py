"""Between offsets into a text and the protocol's positions: lines, and units of an encoding in them."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Final

_END: Final = re.compile(r"\r\n|\n|\r")
_WIDTH: Final = {"utf-8": 1, "utf-16": 2, "utf-32": 4}


class Positions:
    """The lines of a text, counted from 0, and the units of an encoding in them.

    Whatever position an editor sends has an offset: one behind the end of a line means the end.
    """

    def __init__(self, text: str, encoding: str = "utf-16") -> None:
        self._text = text
        self._codec = {"utf-8": "utf-8", "utf-32": "utf-32-le"}.get(encoding, "utf-16-le")
        self._width = _WIDTH.get(encoding, 2)
        self._starts = [0]
        self._ends: list[int] = []
        for end in _END.finditer(text):
            self._ends.append(end.start())
            self._starts.append(end.end())
        self._ends.append(len(text))

    def position(self, offset: int) -> tuple[int, int]:
        """The line and the units in it that are before an offset."""
        offset = max(0, min(offset, len(self._text)))
        line = bisect_right(self._starts, offset) - 1
        before = self._text[self._starts[line] : min(offset, self._ends[line])]
        return line, self._units(before)

    def offset(self, line: int, units: int) -> int:
        """The offset of a line's units."""
        if line < 0:
            return 0
        if line >= len(self._starts):
            return len(self._text)
        start, end = self._starts[line], self._ends[line]
        at = start
        left = units
        while at < end and left > 0:
            left -= self._units(self._text[at])
            # Never into the middle of a character.
            at += left >= 0
        return at

    def _units(self, text: str) -> int:
        if text.isascii():
            return len(text)
        return len(text.encode(self._codec, "surrogatepass")) // self._width
