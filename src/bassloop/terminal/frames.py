"""Frames: several lines that a program draws repeatedly, moving the cursor up in between.

Of the frames in a piece of data, only the last one that covers all before it is drawn, because it hides the others.
This module only finds them; the parser skips them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from bassloop.terminal.lines import SHAPE

if TYPE_CHECKING:
    from bassloop.terminal.lines import Measure

_MOVER = re.compile(rb"(?:\x1b\[[01]?G|\r)*+\x1b\[[0-9]{0,3}A(?:\x1b\[(?:[0-9]{0,3}A|[01]?G)|\r)*+")
"""Cursor movements up, and to the first column."""

_UP = re.compile(rb"\x1b\[([0-9]{0,3})A")

_BODY = re.compile(
    rb"(?:[^\x00-\x09\x0b-\x1f\x7f]++|\x1b\[[0-9;:]{0,256}+m|\x1b\[\?[0-9;]{0,64}+[hl])*+"
)
"""Lines of text with styles and modes, but without tabs, erasures and links."""

_MODES = re.compile(rb"(?:\x1b\[\?[0-9;]{0,64}+[hl])*+")


_FRAME_BYTES = 4096
_KNOWN_LIMIT = 64

_Widths = tuple[int, ...]


class Frames(NamedTuple):
    """Frames that needn't be drawn.

    Args:
        end: where they end in the data.
        written: for each of their lines, whether it has text.
        moves: the number of rows and carriage returns by which they move the cursor.
    """

    end: int
    written: list[bool]
    moves: int


class Search(NamedTuple):
    """The result of a search, and the position up to which there is nothing else to find."""

    frames: Frames | None
    until: int


class FrameFinder:
    """Finds the frames that needn't be drawn.

    Successive frames mostly differ only in digits and letters, which doesn't change their widths. So widths are
    cached by a frame's shape.
    """

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._known: dict[bytes, _Widths | None] = {}

    def skippable(self, data: bytes, at: int, room: int) -> Search:
        """Return the frames from `at` on that the one after them covers.

        The cursor is in the first column, with `room` lines below its own.
        """
        found = _MOVER.search(data, at)
        if found is None:
            return Search(None, len(data))
        mover = found[0]
        last = data.rfind(mover, found.end())
        if last < 0:
            return Search(None, found.end())
        height = sum(int(count or 1) or 1 for count in _UP.findall(mover))
        if height > room:
            return Search(None, found.end())
        widest: _Widths = (0,) * height
        covered = widest
        skipped = here = at
        count = 0
        for index, body in enumerate(data[at:last].split(mover)):
            widths = self._widths(body)
            if widths is None or len(widths) != height:
                break
            if widths == widest or all(map(int.__ge__, widths, widest)):
                if index:
                    skipped, count, covered = here, index, widest
                widest = widths
            else:
                widest = tuple(map(max, widths, widest))
            here += len(body) + len(mover)
        if skipped > at:
            moves = height + mover.count(b"\r") + mover.count(b"G")
            written = [width > 0 for width in covered]
            return Search(Frames(skipped, written, count * moves), skipped)
        return Search(None, max(here, found.end()))

    def _widths(self, body: bytes) -> _Widths | None:
        """Return the widths of a frame's lines, or None if it must be drawn."""
        if len(body) > _FRAME_BYTES:
            return self._measured(body)
        shape = body.translate(SHAPE)
        if shape not in self._known:
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.clear()
            self._known[shape] = self._measured(body)
        return self._known[shape]

    def _measured(self, body: bytes) -> _Widths | None:
        lines = body.split(b"\n")
        if not _MODES.fullmatch(lines.pop()) or not _BODY.fullmatch(body):
            return None
        widths = tuple(map(self._measure.columns, lines))
        if any(line and not width for line, width in zip(lines, widths, strict=True)):
            return None
        return widths
