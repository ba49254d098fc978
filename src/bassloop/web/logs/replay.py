"""A log as a recording that plays in real time: asciicast v2 for asciinema, and frames for a page. No I/O."""

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
"""Players shorten longer pauses to this."""

FRAME_SECONDS = 0.04
"""Changes within this time are combined to one frame."""

MAX_FRAMES, MAX_FRAMES_BYTES, MAX_RECORDED = 3_000, 2 << 20, 16 << 20
"""Limits on what a page gets: frames, characters of their lines, and bytes of the log."""


class ReplayFrames:
    """The frames of a log's replay in a terminal, made from its pieces in order.

    Attributes:
        frames: for each frame, the seconds since the first one, the number of lines, and those lines that differ
            from the frame before, as HTML by number.
        full: True once a limit is reached. Later pieces are ignored.
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
        """Draw the last frame."""
        self._draw()

    def json(self) -> dict[str, Any]:
        """Return the frames for JSON."""
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
    """The lines of a recording, made from a log's pieces in order.

    Args:
        title: the step's name.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._began: float | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._after_return = False

    def add(self, piece: LogPiece) -> str:
        """Return the lines for the next piece, with the header before those for the first one."""
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
        """Convert line endings to CRLF, which a terminal needs, since the command wrote to a pipe."""
        starts_after_return, self._after_return = self._after_return, text.endswith("\r")
        found = text.replace("\r\n", "\n").replace("\n", "\r\n")
        if starts_after_return and text.startswith("\n"):
            return found[1:]
        return found
