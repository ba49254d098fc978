"""A log as a recording that plays at its own speed: asciicast v2 for asciinema, and frames for a page. Pure."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING

from bassloop.terminal import Terminal, render_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from bassloop.store import LogPiece

COLUMNS, ROWS = 160, 50

IDLE_SECONDS = 3
"""Longer pauses are cut to this by players."""

FRAME_SECONDS = 0.04
"""Changes within this time are one frame."""

MAX_FRAMES, MAX_FRAMES_BYTES, MAX_RECORDED = 3_000, 2 << 20, 16 << 20
"""Frames, characters of their lines, and bytes of the log that are taken for a page."""


class ReplayFrames:
    """What a terminal shows of a log, as it changes: made from the log's pieces in their order.

    Attributes:
        frames: of each, the seconds since the first one, how many lines there are, and the lines that differ
            from those before, as HTML by their numbers.
        full: True once there are as many as a page takes; later pieces are ignored.
    """

    def __init__(self) -> None:
        self.frames: list[tuple[float, int, dict[int, str]]] = []
        self.full = False
        self._terminal = Terminal()
        self._shown: list[bytes] = []
        self._settled = 0
        self._waiting = b""
        self._began = self._at = 0.0
        self._taken = self._size = 0

    def add(self, pieces: Iterable[LogPiece]) -> None:
        """Add pieces. Slow: use a thread."""
        for piece in pieces:
            if self.full:
                return
            at = max(piece.at, self._at)
            if not self._taken:
                self._began = self._at = at
            elif at - self._at >= FRAME_SECONDS:
                self._draw()
                self._at = at
            self._waiting += piece.data
            self._taken += len(piece.data)
            self.full |= self._taken > MAX_RECORDED

    def end(self) -> None:
        """Draw what is left."""
        self._draw()

    def json(self) -> dict[str, Any]:
        """Return the frames as JSON has them."""
        return {"frames": self.frames, "complete": not self.full}

    def _draw(self) -> None:
        settled = self._terminal.feed(self._waiting)
        self._waiting = b""
        shown = [*settled, *self._terminal.screen()]
        before = self._shown
        changed = [
            number
            for number, line in enumerate(shown)
            if number >= len(before) or line != before[number]
        ]
        if changed or len(shown) != len(before):
            lines = render_lines([shown[number] for number in changed])
            numbers = (self._settled + number for number in changed)
            count = self._settled + len(shown)
            at = round(self._at - self._began, 3)
            self.frames.append((at, count, dict(zip(numbers, lines, strict=True))))
            self._size += sum(map(len, lines))
            self.full |= len(self.frames) >= MAX_FRAMES or self._size > MAX_FRAMES_BYTES
        self._settled += len(settled)
        self._shown = shown[len(settled) :]


class Recording:
    """The lines of a recording, made from a log's pieces in their order.

    Args:
        title: the step's name.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._began: float | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._after_return = False

    def add(self, piece: LogPiece) -> str:
        """Return the lines for the next piece; before those for the first one, the header."""
        header = ""
        if self._began is None:
            self._began = piece.at
            header = self._header(piece.at)
        text = self._decoder.decode(piece.data)
        if not text:
            return header
        event = [round(max(piece.at - self._began, 0), 3), "o", self._with_returns(text)]
        return f"{header}{json.dumps(event)}\n"

    def _header(self, at: float) -> str:
        header = {
            "version": 2,
            "width": COLUMNS,
            "height": ROWS,
            "timestamp": int(at),
            "idle_time_limit": IDLE_SECONDS,
            "title": self._title,
        }
        return f"{json.dumps(header)}\n"

    def _with_returns(self, text: str) -> str:
        """Return a text whose lines end as a terminal needs it: a command wrote them to a pipe."""
        starts_after_return, self._after_return = self._after_return, text.endswith("\r")
        found = text.replace("\r\n", "\n").replace("\n", "\r\n")
        if starts_after_return and text.startswith("\n"):
            return found[1:]
        return found
