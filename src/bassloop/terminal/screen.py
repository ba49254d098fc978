"""The screen: the last few lines, which may still change, and writing text to them.

A line that scrolls out at the top is settled. Strokes are texts that begin in the first column and overwrite each
other. They aren't drawn one by one, but only those of which the later ones leave something visible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.terminal.grammar import (
    COLUMN_ONE,
    ERASE,
    ERASE_RIGHT,
    MODE,
    NOT_IN_LINES,
    PARTED_BY_MODES,
    UNFINISHED,
    UNFINISHED_CHARACTER,
)
from bassloop.terminal.lines import Measure, columns
from bassloop.terminal.row import COLUMN_LIMIT, CUT, REPLACEMENT, ROW_LIMIT, Row
from bassloop.terminal.style import DEFAULT_PEN, PLAIN, Pen, begin, pen_after, style_after

if TYPE_CHECKING:
    import re

BEYOND = 1 << 30
"""A column to the right of all others."""


class Stops:
    """Finds the first of some control characters and escapes, without scanning any byte twice.

    Returns before newlines are ignored because they have no effect.
    """

    def __init__(self, escape: re.Pattern[bytes], *controls: bytes) -> None:
        self._escape = escape
        self._controls = controls
        self._data = b""
        self._found = [-1] * (1 + len(controls))
        self._first = -1

    def next(self, data: bytes, at: int) -> int:
        """Return the position of the first stop from `at` on, or the length of the data.

        In successive calls with the same data, `at` mustn't decrease.
        """
        found = self._found
        if data is not self._data:
            self._data = data
            found[:] = [-1] * len(found)
        elif at <= self._first:
            return self._first
        if found[0] < at:
            escape = self._escape.search(data, at)
            found[0] = escape.start() if escape else len(data)
        for index, control in enumerate(self._controls, 1):
            if found[index] < at:
                position = data.find(control, at)
                while position >= 0 and data.startswith(b"\r\n", position):
                    position = data.find(control, position + 2)
                found[index] = position if position >= 0 else len(data)
        self._first = min(found)
        return self._first


class Screen:
    """A screen of up to `height` rows, with a cursor, a pen, and the lines that have settled.

    The cursor is in row `y` and column `_x`. If `_at_end` is true, it's after the row's text instead, in a column that
    hasn't been computed.
    """

    def __init__(self, height: int) -> None:
        self.height = height
        self.rows = [Row()]
        self.y = 0
        self.pen = DEFAULT_PEN
        self.settled = 0
        self._x = 0
        self._at_end = True
        self._top = 0
        self._bottom = height - 1
        self._out: list[bytes] = []
        self._skipping = False
        self._cut_short = False
        self._measure = Measure()
        self._stops = Stops(NOT_IN_LINES, b"\r", b"\b")

    def take(self) -> list[bytes]:
        """Return the lines that have settled since the last call."""
        out, self._out = self._out, []
        return out

    def load(self, text: bytes) -> None:
        """Begin with plain text on the screen, which must fit."""
        lines = text.split(b"\n")
        self.rows = [Row(line.removesuffix(b"\r")) for line in lines[:-1]]
        self.rows.append(Row(lines[-1]))
        self.y = len(lines) - 1
        self._at_end = True

    def skip_line(self) -> None:
        """Begin in the middle of a line that is too long, and whose beginning has settled."""
        self._skipping = self._cut_short = True

    def texts(self) -> list[bytes]:
        """Return the lines on the screen, without blank ones at its end."""
        texts = [row.text() for row in self.rows]
        while texts and not texts[-1]:
            texts.pop()
        return texts

    # Whole lines

    def _at_rest(self) -> bool:
        row = self.rows[-1]
        return (
            self.y == len(self.rows) - 1
            and row.cells is None
            and (self._at_end or (not row.data and self._x == 0))
            and self._top == 0
            and self._bottom == self.height - 1
        )

    def _whole_lines(self, data: bytes, at: int) -> int:
        """Process the lines from `at` on that are only written from left to right, and return their end.

        The cursor must be at the end of the last line.
        """
        end = self._end_of_lines(data, at)
        if end == at:
            return at
        block = _tidied(data[at:end])
        if b"\x1b[" in block:
            block = ERASE_RIGHT.sub(b"", block)
        lines = block.split(b"\n")
        if lines[0]:
            self._write(lines[0])
        if self._skipping:
            self._end_skipping()
        else:
            self._add_row()
        if len(lines) > 2:
            self._add_lines(lines[1:-1])
        return end

    def _lines_over(self, data: bytes, at: int) -> int:
        """Do the same for lines that overwrite others, as many as there are above the last one.

        The cursor must be in the first column of a line that isn't the last one.
        """
        end = self._end_of_lines(data, at)
        # A tab moves the cursor, but doesn't overwrite anything.
        if (tab := data.find(b"\t", at, end)) >= 0:
            end = max(at, data.rfind(b"\n", at, tab) + 1)
        if end == at or self._top or self._bottom < self.height - 1:
            return at
        lines = _tidied(data[at:end]).split(b"\n")
        room = len(self.rows) - 1 - self.y
        measure = self._measure.columns
        erases = ERASE.search(data, at, end) is not None
        if len(lines) - 1 > room:
            lines = data[at:end].split(b"\n", room)
            end -= len(lines[-1])
            lines = [_tidied(line + b"\n")[:-1] for line in lines[:-1]] + [b""]
        lines.pop()
        for line in lines:
            if erases and ERASE.search(line):
                self._overstrike([], line)
            elif line:
                row = self.rows[self.y]
                width = measure(line)
                if 0 < width >= row.columns():
                    pen = self.pen
                    self.pen = pen_after(pen, line)
                    row.touched = row.touched or not row.blank
                    row.replace(line, pen, self.pen, width)
                else:
                    self._write(line)
            self._new_line(self.y + 1)
        return end

    def _add_row(self) -> None:
        self.rows.append(Row())
        if len(self.rows) > self.height:
            self._settle([self.rows.pop(0).text()])
        self._new_line(len(self.rows) - 1)

    def _add_lines(self, lines: list[bytes]) -> None:
        """Add whole lines, with the cursor at the beginning of a blank last row."""
        style = self.pen.style
        for index, line in enumerate(lines):
            if style is not PLAIN and line:
                lines[index] = begin(Pen(style)) + line
            if b"\x1b" in line:
                style = style_after(style, line)
        self.pen = Pen(style)
        self.rows.pop()
        over = len(self.rows) + len(lines) + 1 - self.height
        if over > 0:
            kept = self.rows[over:]
            self._settle([row.text() for row in self.rows[:over]])
            direct = max(0, over - len(self.rows))
            self._settle(lines[:direct])
            self.rows = kept
            lines = lines[direct:]
        self.rows += [Row(line, None) for line in lines]
        self.rows.append(Row())
        self._new_line(len(self.rows) - 1)

    def _settle(self, lines: list[bytes]) -> None:
        self._out += lines
        self.settled += len(lines)

    def _new_line(self, y: int) -> None:
        self.y = y
        self._x = 0
        self._at_end = False
        if self.pen.link:
            self.pen = Pen(self.pen.style)

    # Parts of a line

    def _content(self, content: bytes) -> None:
        if b"G" in content:
            content = COLUMN_ONE.sub(b"\r", content)
        if b"\r" not in content:
            self._strokes(content)
            return
        strokes = content.split(b"\r")
        self._strokes(strokes[0])
        returned = not strokes[-1]
        last = strokes.pop() if not returned else b""
        while strokes and not strokes[-1] and not last:
            strokes.pop()
        if not last and len(strokes) > 1:
            last = strokes.pop()
        if last and not self._skipping:
            self._x, self._at_end = 0, False
            self._overstrike(strokes[1:], last)
        if returned:
            self._x, self._at_end = 0, False

    def _overstrike(self, earlier: list[bytes], last: bytes) -> None:
        """Write strokes, with the cursor in the first column; all but the last only if they stay visible in part."""
        row = self.rows[self.y]
        erases = ERASE.search(last) is not None
        reach = BEYOND if erases else self._measure.columns(last)
        if reach <= 0:
            for stroke in earlier:
                self._stroke(stroke)
            self._strokes(last)
            return
        drawn, reach, is_erased = self._visible(earlier, reach)
        if not is_erased and not row.blank and row.columns() > reach:
            is_over = True
        else:
            is_over = bool(drawn)
            before = b"".join(earlier[: drawn[0] if drawn else None])
            if row.blank and not row.touched and before and ERASE.sub(b"", before):
                row.touched = True
            row.clear()
        at = 0
        for index in drawn:
            self.pen = pen_after(self.pen, b"".join(earlier[at:index]))
            self._stroke(earlier[index])
            at = index + 1
        self.pen = pen_after(self.pen, b"".join(earlier[at:]))
        self._strokes(last)
        if not erases and not is_over and self._at_end:
            row.width = reach

    def _visible(self, strokes: list[bytes], reach: int) -> tuple[list[int], int, bool]:
        """Find the strokes that stay visible in part if a stroke of `reach` columns follows them.

        Return their indices, the width that they and the following one reach, and whether the row was erased.
        """
        sizes = [len(stroke) for stroke in strokes]
        may_erase = any(b"K" in stroke for stroke in strokes)
        visible = []
        for index in range(len(strokes) - 1, -1, -1):
            if sizes[index] > reach and (width := self._measure.columns(strokes[index])) > reach:
                visible.append(index)
                reach = width
            if may_erase and ERASE.search(strokes[index]):
                return visible[::-1], reach, True
        return visible[::-1], reach, reach == BEYOND

    def _stroke(self, stroke: bytes) -> None:
        """Write a stroke, and return the cursor to the first column."""
        if stroke:
            self._strokes(stroke)
            self._x, self._at_end = 0, False

    def _strokes(self, content: bytes) -> None:
        """Write text and erasures, without returns."""
        if b"K" not in content or not ERASE.search(content):
            if content:
                self._write(content)
            return
        at = 0
        for erase in ERASE.finditer(content):
            if erase.start() > at:
                self._write(content[at : erase.start()])
            self._erase_line(2 if erase[0] == b"\x1b[2K" else 0)
            at = erase.end()
        if at < len(content):
            self._write(content[at:])

    def _write(self, content: bytes) -> None:
        if self._skipping:
            return
        row = self.rows[self.y]
        pen = self.pen
        after = pen_after(pen, content)
        self.pen = after
        if row.cells is None and (self._at_end or (row.blank and self._x == 0)):
            row.append(content, pen, after)
            self._at_end = True
        else:
            self._write_over(row, content, pen, after)
        if len(row.data) > ROW_LIMIT:
            if row.touched:
                self._column()
                row.to_cells()
            else:
                self._overflow(row)

    def _write_over(self, row: Row, content: bytes, pen: Pen, after: Pen) -> None:
        x = self._column()
        if row.cells is None and 0 < x == row.columns():
            row.append(content, pen, after)
            self._at_end = True
            return
        if row.cells is not None and row.write_plain(x, content, pen):
            self._x = x + len(content)
            return
        width = columns(content, x)
        if width == 0 and content.isascii():
            return
        if row.blank and 0 < x <= COLUMN_LIMIT - width:
            row.touched = True
            row.data, row.width = b" " * x, x
            row.append(content, pen, after)
            self._at_end = True
            return
        if row.data:
            row.touched = True
        if x == 0 and width >= row.columns():
            row.touched = True
            row.replace(content, pen, after, width)
            self._at_end = True
            return
        self._x = row.write(x, content, pen)
        self._at_end = False

    def _erase_line(self, kind: int) -> None:
        row = self.rows[self.y]
        if kind == 2:
            self._column()
            row.clear()
        elif kind == 0:
            if self._at_end or row.blank:
                return
            if self._x == 0:
                row.clear()
            else:
                row.erase(self._x, BEYOND)
        elif kind == 1 and not row.blank:
            row.erase(0, self._column() + 1)

    def _overflow(self, row: Row) -> None:
        """Settle all lines because one is too long, and drop its rest, up to the next newline."""
        row.data = row.data[:ROW_LIMIT]
        at = self.rows.index(row)
        texts = [row.text() for row in self.rows]
        texts[at] = _whole(row.data) + CUT.encode()
        self._settle(texts)
        self.rows = [Row()]
        self.y = self._x = 0
        self._at_end = True
        self.pen = DEFAULT_PEN
        self._skipping = True

    def _end_skipping(self) -> None:
        self._skipping = False
        if self._cut_short:
            self._cut_short = False
            self._settle([CUT.encode()])
        self._new_line(0)

    def _end_of_lines(self, data: bytes, at: int) -> int:
        """Return the end of the lines from `at` on that are only written from left to right; `at` if there are none."""
        found = self._stops.next(data, at)
        return at if found == at else max(at, data.rfind(b"\n", at, found) + 1)

    def _column(self) -> int:
        """Return the cursor's column, which is only computed when it's needed."""
        if self._at_end:
            self._x = self.rows[self.y].columns()
            self._at_end = False
        return self._x

    def _reach(self, y: int) -> None:
        while len(self.rows) <= y:
            self.rows.append(Row())


def _tidied(lines: bytes) -> bytes:
    """Return lines without returns at their ends, and without modes."""
    if b"\r" in lines:
        lines = lines.replace(b"\r\n", b"\n")
    if b"\x1b[?" in lines:
        if not lines.isascii():
            lines = PARTED_BY_MODES.sub(rb"\1" + REPLACEMENT, lines)
        lines = MODE.sub(b"", lines)
    return lines


def _whole(data: bytes) -> bytes:
    """Return bytes without an unfinished escape or character at their end."""
    data = UNFINISHED.sub(b"", data)
    return UNFINISHED_CHARACTER.sub(b"", data)
