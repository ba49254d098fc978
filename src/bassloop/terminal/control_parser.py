"""The parser: bytes taken apart into lines, parts of lines, and control functions.

It is a real terminal's in everything but one: it has no right edge, so that lines never wrap. A
newline also returns the cursor to the first column, since programs here write to pipes as often as
to terminals.

Bytes are worked on in the largest pieces that mean something together: whole lines while the cursor
is at the end of the text, or goes over lines from their beginning; all that is between two newlines
while a program only returns to the beginning of its line; single functions otherwise.
"""

from __future__ import annotations

import re

from bassloop.terminal.control_functions import ControlFunctions
from bassloop.terminal.frames import skippable
from bassloop.terminal.row import Row
from bassloop.terminal.sequences import (
    BROKEN_CSI,
    CONTENT,
    CSI,
    ESCAPE,
    PENDING_LIMIT,
    STRING,
    STRING_END,
    TABS,
    UNFINISHED,
    UNFINISHED_CHARACTER,
)
from bassloop.terminal.style import pen_after

BLOCK = 32 * 1024
"""Bytes that are worked on at once; it bounds what is looked at more than once."""

_IN_LINES = (b"m", b"K")
"""Final bytes of the control sequences that `CONTENT` takes in."""

_LINE_FEEDS = bytes.maketrans(b"\x0b\x0c", b"\n\n")
"""Vertical tabs and form feeds begin a new line, as newlines do."""

_BACKSPACES = re.compile(rb"\x08++")
_PLAIN_FINALS = frozenset((b"7", b"8", b"D", b"E", b"M", b"c"))
"""Final bytes of the escapes that `_plain_escape` acts on."""


class ControlParser(ControlFunctions):
    """A screen of so many rows that is fed bytes; `take` then returns the lines that settled."""

    def __init__(self, height: int) -> None:
        super().__init__(height)
        self._held = b""
        self._in_string = False

    def finish(self) -> None:
        """Settle everything. What is unfinished at the end is dropped."""
        texts = self.texts()
        if self._skipping:
            self._end_skipping()
        self._settle(texts)
        self.rows = [Row()]
        self.y = self._x = 0
        self._at_end = True
        self._held = b""

    def feed(self, data: bytes) -> None:
        """Work on bytes, split anywhere."""
        data = data.translate(_LINE_FEEDS)
        for start in range(0, len(data), BLOCK):
            self._feed(data[start : start + BLOCK] if len(data) > BLOCK else data)

    def _feed(self, data: bytes) -> None:
        if self._held:
            data = self._held + data
            self._held = b""
        if self._in_string:
            end = STRING_END.search(data)
            if end is None:
                return
            self._in_string = False
            data = data[end.start() if end[0] in b"\x1b\n" else end.end() :]
        if data and data[-1] >= 0x80 and (tail := UNFINISHED_CHARACTER.search(data[-3:])):
            self._held = tail[0]
            data = data[: -len(tail[0])]
        at = 0
        size = len(data)
        looked = 0
        while at < size:
            if self._skipping:
                newline = data.find(b"\n", at)
                if newline < 0:
                    return
                self._end_skipping()
                at = newline + 1
                continue
            function = CSI.match(data, at) if data[at] == 0x1B else None
            if function and function[3] not in _IN_LINES:
                if not function[2]:
                    self._csi(function[1], function[3])
                at = function.end()
                continue
            if self._at_rest():
                at = self._whole_lines(data, at)
                if at == size:
                    return
            elif self._x == 0 and not self._at_end and self.y < len(self.rows) - 1:
                if at >= looked:
                    at, looked = self._frames_over(data, at)
                at = self._lines_over(data, at)
                if at == size:
                    return
            if content := CONTENT.match(data, at):
                at = content.end()
                self._content(content[0])
            elif tabs := TABS.match(data, at):
                at = tabs.end()
                self._tab(tabs[0])
            elif backspaces := _BACKSPACES.match(data, at):
                self._x = max(0, self._column() - (backspaces.end() - at))
                at = backspaces.end()
            elif data[at] != 0x1B:
                self._line_feed()
                at += 1
            else:
                at = self._escape(data, at)

    def _frames_over(self, data: bytes, at: int) -> tuple[int, int]:
        """Leave out the frames from `at` on that others cover. Returns where the first that is to be
        drawn begins, and up to where there is none to be left out."""
        if self._top or self._bottom < self.height - 1 or self.pen.link:
            return at, len(data)
        room = len(self.rows) - 1 - self.y
        frames, until = skippable(data, at, room, self._measure)
        if frames is None:
            return at, until
        self.pen = pen_after(self.pen, data[at : frames.end])
        for row, written in zip(self.rows[self.y :], frames.written, strict=False):
            row.touched = row.touched or written
        return frames.end, until

    def _escape(self, data: bytes, at: int) -> int:
        if data[at + 1 : at + 2] in _PLAIN_FINALS:
            self._plain_escape(data[at + 1 : at + 2])
            return at + 2
        if found := CSI.match(data, at):
            if not found[2]:
                self._csi(found[1], found[3])
            return found.end()
        if found := STRING.match(data, at):
            return found.end()
        if UNFINISHED.match(data, at):
            if len(data) - at > PENDING_LIMIT:
                self._in_string = True
                self._held = b"\x1b" if data.endswith(b"\x1b") else b""
            else:
                self._held = data[at:] + self._held
            return len(data)
        if found := ESCAPE.match(data, at):
            if not found[1]:
                self._plain_escape(found[2])
            return found.end()
        broken = BROKEN_CSI.match(data, at)
        return broken.end() if broken else at + 1
