"""Frames: several lines that a program draws over and over, moving the cursor up in between.

Of the frames in a piece of data, only the last one that covers all before it is drawn; of the others
nothing remains to be seen. Pure: what is covered is worked out here, the screen acts on it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.terminal.lines import Measure

_MOVER = re.compile(rb"(?:\x1b\[[01]?G|\r)*+\x1b\[[0-9]{0,3}A(?:\x1b\[(?:[0-9]{0,3}A|[01]?G)|\r)*+")
"""Up, and to the first column."""

_UP = re.compile(rb"\x1b\[([0-9]{0,3})A")

_BODY = re.compile(
    rb"(?:[^\x00-\x09\x0b-\x1f\x7f]++|\x1b\[[0-9;:]{0,256}+m|\x1b\[\?[0-9;]{0,64}+[hl])*+"
)
"""Lines of text and looks, without tabs, erasures and links, and modes."""

_MODES = re.compile(rb"(?:\x1b\[\?[0-9;]{0,64}+[hl])*+")


class Frames(NamedTuple):
    """Frames that need not be drawn: up to where in the data, which of their lines, from the
    first on, had text, and by how many rows and returns the cursor moves in them."""

    end: int
    written: list[bool]
    moves: int


class Search(NamedTuple):
    """The result of a search, and the position up to which there is nothing else to be found."""

    frames: Frames | None
    until: int


def skippable(data: bytes, at: int, room: int, measure: Measure) -> Search:
    """Return the frames from `at` on that are covered by the one after them.

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
    widest = [0] * height
    skipped = here = at
    count = 0
    for index, (begin, end) in enumerate(_bodies(data, at, last, mover)):
        widths = _widths(data[begin:end], height, measure)
        if widths is None:
            break
        if begin > at and all(map(int.__ge__, widths, widest)):
            skipped, count = begin, index
            written = [width > 0 for width in widest]
        widest = list(map(max, widths, widest))
        here = end + len(mover)
    if skipped > at:
        moves = height + mover.count(b"\r") + mover.count(b"G")
        return Search(Frames(skipped, written, count * moves), skipped)
    return Search(None, max(here, found.end()))


def _bodies(data: bytes, at: int, last: int, mover: bytes) -> Iterator[tuple[int, int]]:
    """Return where the text between movers begins and ends."""
    while at <= last:
        end = data.find(mover, at)
        yield at, end
        at = end + len(mover)


def _widths(body: bytes, height: int, measure: Measure) -> list[int] | None:
    """Return how wide the lines of a frame are; None if it is no frame that could be left out."""
    if body.count(b"\n") != height or not _BODY.fullmatch(body):
        return None
    end = body.rfind(b"\n")
    if not _MODES.fullmatch(body, end + 1):
        return None
    widths = measure.widths(body[:end])
    if not all(widths) and any(
        line and not width for line, width in zip(body[:end].split(b"\n"), widths, strict=True)
    ):
        return None
    return widths
