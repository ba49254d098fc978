"""Where a log stood still: the longest times between its pieces. Blocking, in bounded memory."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from bassloop.store.logs.formats import PIECE_RECORD
from bassloop.store.model import LineGap

if TYPE_CHECKING:
    from bassloop.store.logs.formats import LogFiles

_RECORDS = 4096


def read_gaps(files: LogFiles, seconds: float, limit: int) -> list[LineGap]:
    """The `limit` longest pauses of at least `seconds`, in the order of their lines. Raises
    OSError."""
    longest: list[tuple[float, int]] = []
    try:
        file = files.pieces.open("rb", buffering=0)
    except FileNotFoundError:
        return []
    before: float | None = None
    with file:
        while data := file.read(_RECORDS * PIECE_RECORD.size):
            whole = len(data) // PIECE_RECORD.size * PIECE_RECORD.size
            for _, line, at, _ in PIECE_RECORD.iter_unpack(memoryview(data)[:whole]):
                if before is not None and at - before >= seconds:
                    keep = heapq.heappush if len(longest) < limit else heapq.heappushpop
                    keep(longest, (at - before, line))
                before = at
    return sorted((LineGap(line, paused) for paused, line in longest), key=lambda gap: gap.line)
