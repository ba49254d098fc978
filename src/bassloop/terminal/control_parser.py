"""The parser: splits bytes into lines, parts of lines, and control functions.

It works like a real terminal's with one exception: there is no right edge, so lines never wrap. A newline also returns
the cursor to the first column, because programs here write to pipes as often as to terminals.

Bytes are processed in the largest pieces possible: whole lines while the cursor is at the end of the text or overwrites
lines from their beginning; everything between two newlines while a program only returns to the beginning of its line;
otherwise, single functions.

Control functions take about a hundred times as much time as text. So a log has a budget of functions, which grows with
its bytes. When the budget is used up, the parser rests: for the next `REST_BYTES`, it processes text, newlines and
styles, ignores functions, and turns each carriage return into a newline. A function's cost depends on the bytes before
it, but not on how they were split, and so does the resulting text.
"""

from __future__ import annotations

import re

from bassloop.terminal.control_functions import ControlFunctions
from bassloop.terminal.frames import FrameFinder
from bassloop.terminal.grammar import (
    BROKEN_CSI,
    COLUMN_ONE,
    CONTENT,
    CSI,
    ESCAPE,
    FUNCTIONS,
    LEFT_OUT,
    MODES,
    NOT_IN_CONTENT,
    PARTED_BY_FUNCTIONS,
    PENDING_LIMIT,
    STRING,
    STRING_END,
    TABS,
    TOKEN,
    UNFINISHED,
    UNFINISHED_CHARACTER,
)
from bassloop.terminal.row import REPLACEMENT, Row
from bassloop.terminal.screen import Stops
from bassloop.terminal.style import pen_after

BLOCK = 32 * 1024
"""The number of bytes that are processed at once, which bounds how many are scanned repeatedly."""

FUNCTION_BYTES = 48
"""The bytes of a log that pay for one control function."""

FREE_FUNCTIONS = 10_000
"""The control functions that are free: enough for a spinner to turn for a quarter of an hour."""

FEW_FUNCTIONS = 256
"""If fewer functions are left, it isn't worth looking for frames to skip."""

REST_BYTES = 4096

FAR_COLUMNS = 64
"""A function costs one more for each so many columns to the left of the cursor."""

NOTE = "\u2026 [more cursor movements than are followed: the raw log has all of them]".encode()

FOREVER = 1 << 60
"""A position at which functions cost nothing."""

_IN_LINES = (b"m", b"K")
"""Final bytes of the control sequences that `CONTENT` matches."""

_LINE_FEEDS = bytes.maketrans(b"\x0b\x0c", b"\n\n")
"""Vertical tabs and form feeds begin a new line, as newlines do."""

_MARKED = b"\x0b\n"
"""A carriage return and a newline, while other returns become newlines. Vertical tabs have been replaced by then."""
_RETURNS = bytes.maketrans(b"\r\x0b", b"\n\r")

_BACKSPACES = re.compile(rb"\x08++")
_ESCAPES = re.compile(rb"\x1b++")
_RETURN = re.compile(rb"\r|" + COLUMN_ONE.pattern)
_DEAR = {b"J": 3, b"L": 3, b"M": 3, b"c": 3}
"""The extra cost of functions that create rows, by final byte."""
_PLAIN_FINALS = frozenset((b"7", b"8", b"D", b"E", b"M", b"c"))
"""Final bytes of the escapes that `_plain_escape` handles."""


class ControlParser(ControlFunctions):
    """A screen of `height` rows. Add bytes with `feed`; `take` then returns the lines that have settled."""

    def __init__(self, height: int) -> None:
        super().__init__(height)
        self._held = b""
        self._in_string = False
        self._content_stops = Stops(NOT_IN_CONTENT, b"\n", b"\t", b"\b")
        self._frame_finder = FrameFinder(self._measure)
        self._last = 0
        self._received = 0
        self._budget = FREE_FUNCTIONS * FUNCTION_BYTES
        self._rests_until = 0
        self._is_noted = False

    def finish(self) -> None:
        """Settle everything. An unfinished sequence at the end is dropped."""
        texts = self.texts()
        if self._skipping:
            self._end_skipping()
        self._settle(texts)
        self.rows = [Row()]
        self.y = self._x = 0
        self._at_end = True
        self._held = b""

    def feed(self, data: bytes) -> None:
        """Process bytes, which may be split anywhere."""
        data = data.translate(_LINE_FEEDS)
        for start in range(0, len(data), BLOCK):
            self._feed(data[start : start + BLOCK] if len(data) > BLOCK else data)

    def _feed(self, data: bytes) -> None:
        self._received += len(data)
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
        elif data.endswith(b"\r"):
            # A return before a newline has no effect, so wait for the next byte.
            self._held = b"\r"
            data = data[:-1]
        position = self._received - len(self._held) - len(data)
        at = 0
        while at < len(data):
            if position + at < self._rests_until:
                at = self._rest(data, at, self._rests_until - position)
            else:
                at = self._work(data, at, position)
        if data:
            self._last = data[-1]

    def _work(self, data: bytes, at: int, position: int) -> int:
        """Process data from `at` on until it ends or a rest begins; return that offset.

        `position` is the position of the data within all bytes.
        """
        size = len(data)
        looked = 0
        tabs = data.count(b"\t", at) * FUNCTION_BYTES
        while at < size:
            if self._skipping:
                newline = data.find(b"\n", at)
                if newline < 0:
                    return size
                self._end_skipping()
                at = newline + 1
                continue
            is_escape = data[at] == 0x1B
            if is_escape:
                function = CSI.match(data, at)
                if function and function[3] not in _IN_LINES:
                    if modes := MODES.match(data, at):
                        at = modes.end()
                        continue
                    if not self._pay(position + at):
                        return at
                    if not function[2]:
                        y = self.y
                        self._csi(function[1], function[3])
                        self._pay_more(function[3], y)
                    at = function.end()
                    continue
                final = data[at + 1 : at + 2]
                if final in _PLAIN_FINALS:
                    if not self._pay(position + at):
                        return at
                    y = self.y
                    self._plain_escape(final)
                    self._pay_more(final, y)
                    at += 2
                    continue
            start = at
            if self._at_rest():
                if not tabs:
                    at = self._whole_lines(data, at)
                elif self._budget + position + at >= tabs:
                    at = self._whole_lines(data, at)
                    if position < FOREVER:
                        self._budget -= data.count(b"\t", start, at) * FUNCTION_BYTES
            elif self._x == 0 and not self._at_end and self.y < len(self.rows) - 1:
                if at >= looked:
                    at, looked = self._frames_over(data, at, position)
                at = self._lines_over(data, at)
            if at > start:
                continue
            if (end := self._end_of_content(data, at)) > at:
                end = self._pay_returns(data, at, end, position)
                if end == at:
                    return at
                self._content(data[at:end])
                at = end
            elif found := TABS.match(data, at):
                end = self._pay_tabs(at, found.end(), position)
                if end == at:
                    return at
                self._tab(data[at:end])
                at = end
            elif found := _BACKSPACES.match(data, at):
                # Only the first one of several costs something.
                last = data[at - 1] if at else self._last
                if last != 0x08 and not self._pay(position + at):
                    return at
                self._x = max(0, self._column() - (found.end() - at))
                at = found.end()
            elif not is_escape:
                margins = self._top or self._bottom < self.height - 1
                if margins and not self._pay(position + at):
                    return at
                self._line_feed()
                at += 1
            else:
                after = self._escape(data, at, position)
                if after == at:
                    return at
                at = after
        return at

    def _end_of_content(self, data: bytes, at: int) -> int:
        """Return the end of the text, styles, returns and erasures that begin at `at`."""
        end = self._content_stops.next(data, at)
        if data.startswith(b"\x1b]", end) and (content := CONTENT.match(data, at)):
            return content.end()  # a hyperlink, which may contain anything
        return end

    # The cost of functions

    def _pay(self, position: int) -> bool:
        """Pay for a function at a position. If the budget is used up, begin a rest and return False."""
        if self._budget + position < 0:
            self._rests_until = position + REST_BYTES
            return False
        if position < FOREVER:
            self._budget -= FUNCTION_BYTES
        return True

    def _pay_more(self, final: bytes, y: int) -> None:
        """Pay for the column and rows that a function moved the cursor by from row `y`, and for rows it created."""
        more = self._column() // FAR_COLUMNS + max(0, y - self.y - 1) + _DEAR.get(final, 0)
        self._budget -= more * FUNCTION_BYTES

    def _pay_returns(self, data: bytes, at: int, end: int, position: int) -> int:
        """Pay for the returns in a part of a line. Return the offset of the first one that isn't paid for, or `end`."""
        count = data.count(b"\r", at, end)
        if data.find(b"G", at, end) >= 0:
            count += len(COLUMN_ONE.findall(data, at, end))
        if not count or position >= FOREVER:
            return end
        if self._budget + position + at >= count * FUNCTION_BYTES:
            count -= data.startswith(b"\r\n", end - 1)
            self._budget -= count * FUNCTION_BYTES
            return end
        for found in _RETURN.finditer(data, at, end):
            if data.startswith(b"\r\n", found.start()):
                continue
            if not self._pay(position + found.start()):
                return found.start()
        return end

    def _pay_tabs(self, at: int, end: int, position: int) -> int:
        """Pay for tabs. Return the offset of the first one that isn't paid for, or `end`."""
        for tab in range(at, end):
            if not self._pay(position + tab):
                return tab
        return end

    def _rest(self, data: bytes, at: int, end: int) -> int:
        """Process data from `at` to about `end` while resting, without functions; return the offset reached."""
        if self._top or self._bottom < self.height - 1:
            self._top, self._bottom = 0, self.height - 1
            self._note()
        end = min(end, len(data))
        last = data.rfind(b"\x1b", at, end)
        if last == len(data) - 1 and (before := data.rfind(b"\x1b", at, last)) >= 0:
            # It may be the first half of a string's terminator.
            last = before if UNFINISHED.match(data, before) else last
        if last >= 0 and UNFINISHED.match(data, last):
            if last == at:
                return self._hold(data, at)
            end = last
        elif last >= 0 and (token := TOKEN.match(data, last)):
            end = max(end, token.end())
        end += data.startswith(b"\r\n", end - 1)
        if not self._is_noted and (found := LEFT_OUT.search(data, at, end)):
            self._work(data[at : found.start()], 0, FOREVER)
            if not self._skipping:
                self._note()
                return found.start()
            if found[0] == b"\r":
                self._end_skipping()
            return found.end()
        # A return before a newline stays. Those that only functions separate from a newline become newlines.
        text = data[at:end].replace(b"\r\n", _MARKED)
        if not text.isascii():
            text = PARTED_BY_FUNCTIONS.sub(rb"\1" + REPLACEMENT, text)
        text = FUNCTIONS.sub(b"", text).translate(_RETURNS, b"\b")
        self._work(text, 0, FOREVER)
        return end

    def _note(self) -> None:
        """Write a note that functions were ignored, once."""
        if not self._is_noted:
            self._is_noted = True
            self._line_feed()
            self._write(NOTE)
            self._line_feed()

    def _frames_over(self, data: bytes, at: int, position: int) -> tuple[int, int]:
        """Skip the frames from `at` on that later ones cover.

        Return the start of the first one to draw, and the offset up to which no others can be skipped.
        """
        if self._top or self._bottom < self.height - 1 or self.pen.link:
            return at, len(data)
        if self._budget + position + at < FEW_FUNCTIONS * FUNCTION_BYTES:
            return at, len(data)
        room = len(self.rows) - 1 - self.y
        frames, until = self._frame_finder.skippable(data, at, room)
        if frames is None:
            return at, until
        cost = frames.moves * FUNCTION_BYTES
        if self._budget + position + at < cost:
            return at, until
        self._budget -= cost
        self.pen = pen_after(self.pen, data[at : frames.end])
        for row, written in zip(self.rows[self.y :], frames.written, strict=False):
            row.touched = row.touched or written
        return frames.end, until

    def _escape(self, data: bytes, at: int, position: int) -> int:
        """Process an escape; return its end, or `at` if it isn't paid for."""
        if data.startswith(b"\x1b\x1b", at) and (escapes := _ESCAPES.match(data, at)):
            return escapes.end() - 1
        if UNFINISHED.match(data, at) and len(data) - at <= PENDING_LIMIT:
            return self._hold(data, at)
        if not self._pay(position + at):
            return at
        if found := CSI.match(data, at):
            if not found[2]:
                y = self.y
                self._csi(found[1], found[3])
                self._pay_more(found[3], y)
            return found.end()
        if found := STRING.match(data, at):
            return found.end()
        if UNFINISHED.match(data, at):
            return self._hold(data, at)
        if found := ESCAPE.match(data, at):
            return found.end()
        broken = BROKEN_CSI.match(data, at)
        return broken.end() if broken else at + 1

    def _hold(self, data: bytes, at: int) -> int:
        """Keep an unfinished sequence until more of it arrives, unless it's too long."""
        if len(data) - at > PENDING_LIMIT:
            self._in_string = True
            self._held = b"\x1b" if data.endswith(b"\x1b") else b""
        else:
            self._held = data[at:] + self._held
        return len(data)
