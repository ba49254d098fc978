"""The screen: the last few lines, which cursor movement may still change.

It is a real terminal's in everything but one: it has no right edge, so that lines never wrap. A
line that scrolls out at the top is settled. A newline also returns the cursor to the first column,
since programs here write to pipes as often as to terminals.

Bytes are worked on in the largest pieces that mean something together: whole lines while the cursor
is at the end of the text; all that is between two newlines while a program only returns to the
beginning of its line, of which the last stroke that covers the others is what remains; single
functions otherwise.
"""

from __future__ import annotations

from bassloop.terminal.lines import Measure, columns
from bassloop.terminal.row import CUT, ROW_LIMIT, Row
from bassloop.terminal.sequences import (
    BARE_RETURN,
    BROKEN_CSI,
    COLUMN_ONE,
    CONTENT,
    CSI,
    ERASE,
    ERASE_RIGHT,
    ESCAPE,
    MODE,
    NOT_IN_LINES,
    PENDING_LIMIT,
    STRING,
    STRING_END,
    TABS,
    UNFINISHED,
    UNFINISHED_CHARACTER,
)
from bassloop.terminal.style import DEFAULT_PEN, Pen, begin, pen_after, style_after
from bassloop.terminal.width import TAB, next_stop

MOVE_LIMIT = 1024
"""The furthest column that cursor movement reaches."""

BLOCK = 32 * 1024
"""Bytes that are worked on at once; it bounds what is looked at more than once."""

_NUMBER_LIMIT = 9999


class Screen:
    """A screen of so many rows. `feed` it bytes, then `take` the lines that settled."""

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
        self._saved: tuple[int, int, Pen] = (0, 0, DEFAULT_PEN)
        self._out: list[bytes] = []
        self._held = b""
        self._in_string = False
        self._skipping = False
        self._cut_short = False
        self._measure = Measure()

    def take(self) -> list[bytes]:
        """The lines that settled since the last call."""
        out, self._out = self._out, []
        return out

    def load(self, text: bytes) -> None:
        """Begin with plain text on the screen, which fits on it."""
        lines = text.split(b"\n")
        self.rows = [Row(line.removesuffix(b"\r")) for line in lines[:-1]]
        self.rows.append(Row(lines[-1]))
        self.y = len(lines) - 1
        self._at_end = True

    def skip_line(self) -> None:
        """Begin in the middle of a line that was settled in part, because it is too long."""
        self._skipping = self._cut_short = True

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

    def texts(self) -> list[bytes]:
        """The lines on the screen, without blank ones at its end."""
        texts = [row.text() for row in self.rows]
        while texts and not texts[-1]:
            texts.pop()
        return texts

    def feed(self, data: bytes) -> None:
        """Work on bytes, split anywhere."""
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
                at = self._lines_over(data, at)
                if at == size:
                    return
            if content := CONTENT.match(data, at):
                at = content.end()
                self._content(content[0])
            elif tabs := TABS.match(data, at):
                at = tabs.end()
                self._tab(tabs[0])
            elif data[at] != 0x1B:
                self._control(data[at])
                at += 1
            else:
                at = self._escape(data, at)

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
        """Work on the lines from `at` on that are only written from left to right; returns where
        the first other one begins. The cursor is at the end of the last line."""
        end = _end_of_lines(data, at)
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
        """The same for lines that are written over others, from the first column of a line that is
        not the last: as many as there are above that."""
        end = _end_of_lines(data, at)
        if end == at or self._top or self._bottom < self.height - 1:
            return at
        lines = _tidied(data[at:end]).split(b"\n")
        room = len(self.rows) - 1 - self.y
        measure = columns if data.find(b"\t", at, end) >= 0 else self._measure.columns
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
            if b"\x1b" in line:
                if style:
                    lines[index] = begin(Pen(style)) + line
                style = style_after(style, line)
            elif line and style:
                lines[index] = begin(Pen(style)) + line
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
        self.rows += [Row(line) for line in lines]
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
        if b"\x1b[" in content:
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
        """Write strokes that each begin in the first column, the cursor being there; all but the
        last only if something of them remains to be seen."""
        row = self.rows[self.y]
        erases = ERASE.search(last) is not None
        if erases:
            covered = _COVERED
        else:
            covered = self._measure.columns(last)
            for stroke in reversed(earlier):
                if len(stroke) > covered and self._measure.columns(stroke) > covered:
                    covered = -1
                    break
                if ERASE.search(stroke):
                    break
            else:
                if not row.blank and row.columns() > covered:
                    covered = -1
        if covered <= 0:
            for stroke in earlier:
                if stroke:
                    self._strokes(stroke)
                    self._x, self._at_end = 0, False
            self._strokes(last)
            return
        if earlier:
            before = b"".join(earlier)
            self.pen = pen_after(self.pen, before)
            if row.blank and not row.touched and ERASE.sub(b"", before):
                row.touched = True
        row.clear()
        self._strokes(last)
        if not erases and self._at_end:
            row.width = covered

    def _strokes(self, content: bytes) -> None:
        """Text and erasures, without returns."""
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
        width = columns(content, x)
        if width == 0 and content.isascii():
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

    def _overflow(self, row: Row) -> None:
        """The line has become too long: it and all others settle, and what follows up to the next
        newline is dropped."""
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

    def _column(self) -> int:
        """The cursor's column; it is worked out only when somebody needs it."""
        if self._at_end:
            self._x = self.rows[self.y].columns()
            self._at_end = False
        return self._x

    # Functions

    def _control(self, code: int) -> None:
        if code in (0x0A, 0x0B, 0x0C):
            self._line_feed()
        elif code == 0x08:
            self._x = max(0, self._column() - 1)

    def _tab(self, tabs: bytes) -> None:
        row = self.rows[self.y]
        if row.cells is None and (self._at_end or (row.blank and self._x == 0)):
            self._write(tabs)
        else:
            self._x = next_stop(self._column()) + TAB * (len(tabs) - 1)

    def _line_feed(self) -> None:
        y = self.y
        if y == self._bottom:
            self._settle([self.rows.pop(self._top).text()])
            self.rows.insert(self._bottom, Row())
        elif y < self.height - 1:
            y += 1
            self._reach(y)
        self._new_line(y)

    def _reach(self, y: int) -> None:
        while len(self.rows) <= y:
            self.rows.append(Row())

    def _escape(self, data: bytes, at: int) -> int:
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

    def _plain_escape(self, final: bytes) -> None:
        if final == b"7":
            self._saved = (self.y, self._column(), self.pen)
        elif final == b"8":
            self._restore()
        elif final == b"D":
            x = self._column()
            self._line_feed()
            self._x = x
        elif final == b"E":
            self._line_feed()
        elif final == b"M":
            self._column()
            if self.y == self._top:
                if len(self.rows) > self._bottom:
                    del self.rows[self._bottom]
                self.rows.insert(self._top, Row())
            elif self.y:
                self.y -= 1
        elif final == b"c":
            self.rows = [Row()]
            self.y = self._x = 0
            self._at_end = True
            self.pen = DEFAULT_PEN
            self._top, self._bottom = 0, self.height - 1
            self._saved = (0, 0, DEFAULT_PEN)

    def _restore(self) -> None:
        y, x, self.pen = self._saved
        self._move(y, x)

    def _move(self, y: int, x: int) -> None:
        self.y = max(0, min(y, self.height - 1))
        self._x = max(0, min(x, MOVE_LIMIT))
        self._at_end = False
        self._reach(self.y)

    def _csi(self, parameters: bytes, final: bytes) -> None:
        function = _FUNCTIONS.get(final)
        if function is None or parameters[:1] in (b"<", b"=", b">", b"?"):
            return
        numbers = [_number(value) for value in parameters.replace(b":", b";").split(b";")[:4]]
        function(self, numbers)

    def _up(self, numbers: list[int]) -> None:
        top = self._top if self.y >= self._top else 0
        self._move(max(top, self.y - _count(numbers)), self._column())

    def _down(self, numbers: list[int]) -> None:
        bottom = self._bottom if self.y <= self._bottom else self.height - 1
        self._move(min(bottom, self.y + _count(numbers)), self._column())

    def _right(self, numbers: list[int]) -> None:
        self._sideways(self._column() + _count(numbers))

    def _left(self, numbers: list[int]) -> None:
        self._sideways(self._column() - _count(numbers))

    def _to_column(self, numbers: list[int]) -> None:
        if numbers[0] <= 1:
            self._x, self._at_end = 0, False
        else:
            self._sideways(numbers[0] - 1)

    def _sideways(self, x: int) -> None:
        here = self._column()
        self._x = max(0, min(x, max(here, MOVE_LIMIT)))

    def _next_line(self, numbers: list[int]) -> None:
        self._down(numbers)
        self._x = 0

    def _previous_line(self, numbers: list[int]) -> None:
        self._up(numbers)
        self._x = 0

    def _to_row(self, numbers: list[int]) -> None:
        self._move(_count(numbers) - 1, self._column())

    def _to_position(self, numbers: list[int]) -> None:
        self._move(_count(numbers) - 1, _count(numbers[1:]) - 1)

    def _erase_in_line(self, numbers: list[int]) -> None:
        self._erase_line(numbers[0])

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
                row.erase(self._x, _COVERED)
        elif kind == 1 and not row.blank:
            row.erase(0, self._column() + 1)

    def _erase_in_display(self, numbers: list[int]) -> None:
        kind = numbers[0]
        self._column()
        if kind == 0:
            self._erase_line(0)
            del self.rows[self.y + 1 :]
        elif kind == 1:
            self._erase_line(1)
            self.rows[: self.y] = [Row() for _ in range(self.y)]
        elif kind == 2:
            self.rows = [Row() for _ in range(self.y + 1)]

    def _insert_lines(self, numbers: list[int]) -> None:
        if self._top <= self.y <= self._bottom:
            count = min(_count(numbers), self._bottom - self.y + 1)
            self._reach(self.y)
            self.rows[self.y : self.y] = [Row() for _ in range(count)]
            del self.rows[self._bottom + 1 : self._bottom + 1 + count]
            self._x, self._at_end = 0, False

    def _delete_lines(self, numbers: list[int]) -> None:
        if self._top <= self.y <= self._bottom:
            count = min(_count(numbers), self._bottom - self.y + 1)
            if len(self.rows) > self._bottom + 1:
                after = self._bottom + 1
                self.rows[after:after] = [Row() for _ in range(count)]
            del self.rows[self.y : self.y + count]
            self._reach(self.y)
            self._x, self._at_end = 0, False

    def _insert_characters(self, numbers: list[int]) -> None:
        x = self._column()
        self.rows[self.y].insert(x, _count(numbers))

    def _delete_characters(self, numbers: list[int]) -> None:
        x = self._column()
        self.rows[self.y].delete(x, _count(numbers))

    def _erase_characters(self, numbers: list[int]) -> None:
        x = self._column()
        self.rows[self.y].erase(x, x + _count(numbers))

    def _margins(self, numbers: list[int]) -> None:
        top = max(1, numbers[0]) - 1
        bottom = min(self.height, numbers[1] if len(numbers) > 1 and numbers[1] else self.height)
        if top < bottom - 1:
            self._top, self._bottom = top, bottom - 1
            self._move(0, 0)

    def _save(self, numbers: list[int]) -> None:
        self._saved = (self.y, self._column(), self.pen)

    def _restored(self, numbers: list[int]) -> None:
        self._restore()


_COVERED = 1 << 30
_IN_LINES = (b"m", b"K")

_FUNCTIONS = {
    b"A": Screen._up,
    b"B": Screen._down,
    b"C": Screen._right,
    b"D": Screen._left,
    b"E": Screen._next_line,
    b"F": Screen._previous_line,
    b"G": Screen._to_column,
    b"H": Screen._to_position,
    b"J": Screen._erase_in_display,
    b"K": Screen._erase_in_line,
    b"L": Screen._insert_lines,
    b"M": Screen._delete_lines,
    b"P": Screen._delete_characters,
    b"X": Screen._erase_characters,
    b"@": Screen._insert_characters,
    b"`": Screen._to_column,
    b"a": Screen._right,
    b"d": Screen._to_row,
    b"e": Screen._down,
    b"f": Screen._to_position,
    b"r": Screen._margins,
    b"s": Screen._save,
    b"u": Screen._restored,
}


def _end_of_lines(data: bytes, at: int) -> int:
    """Where the last of the lines from `at` on ends that are written from left to right; `at` if
    none is."""
    found = NOT_IN_LINES.search(data, at)
    limit = found.start() if found else len(data)
    if limit == at:
        return at
    if found := BARE_RETURN.search(data, at, limit + 1):
        limit = min(limit, found.start())
    for control in (b"\b", b"\x0b", b"\x0c"):
        position = data.find(control, at, limit)
        if position >= 0:
            limit = position
    return max(at, data.rfind(b"\n", at, limit) + 1)


def _tidied(lines: bytes) -> bytes:
    """Lines without returns at their ends, and without modes."""
    if b"\r" in lines:
        lines = lines.replace(b"\r\n", b"\n")
    if b"\x1b[?" in lines:
        lines = MODE.sub(b"", lines)
    return lines


def _number(value: bytes) -> int:
    return min(_NUMBER_LIMIT, int(value[:6])) if value.isdigit() else 0


def _count(numbers: list[int]) -> int:
    return max(1, numbers[0]) if numbers else 1


def _whole(data: bytes) -> bytes:
    """Bytes without an unfinished escape or character at their end."""
    data = UNFINISHED.sub(b"", data)
    return UNFINISHED_CHARACTER.sub(b"", data)
