"""One line of the screen.

Most lines are only ever appended to, so a row is bytes as they came until something writes into its
middle; then it becomes cells. A row that was written over is `touched`: it settles in canonical
form, so that how its bytes were split into pieces leaves no trace in the text.
"""

from __future__ import annotations

from bassloop.terminal.lines import character_width, columns, is_narrow, joined, next_stop, runs
from bassloop.terminal.sequences import UNFINISHED_CHARACTER
from bassloop.terminal.style import DEFAULT_PEN, Pen, begin, change, pen_after

ROW_LIMIT = 64 * 1024
"""Bytes of one line; what comes after them is not kept, and the line says so."""

COLUMN_LIMIT = 4096
"""Columns of a line that is written over."""

CUT = " \u2026 [line cut here: the raw log has all of it]"

_REPLACEMENT = "\ufffd".encode()
_BLANK = (" ", DEFAULT_PEN)
_BLANKS = [_BLANK] * COLUMN_LIMIT
_COMBINING_LIMIT = 16

Cell = tuple[str, Pen]
"""A character with those that combine with it; a wide one is followed by an empty cell."""


class Row:
    """A line that may still change."""

    __slots__ = ("cells", "cut", "data", "end", "touched", "width")

    def __init__(self, data: bytes = b"", end: Pen | None = DEFAULT_PEN) -> None:
        self.data = data
        self.end = end
        """The pen in effect behind the data; None if it hasn't been worked out."""
        self.width = -1
        self.cells: list[Cell] | None = None
        self.touched = False
        self.cut = False

    @property
    def blank(self) -> bool:
        return not self.data and self.cells is None

    def columns(self) -> int:
        """Return how many columns are written."""
        if self.cells is not None:
            return len(self.cells)
        if self.width < 0:
            self.width = columns(self.data)
        return self.width

    def append(self, content: bytes, pen: Pen, after: Pen) -> None:
        """Write at the end of a row of bytes, with `pen` in effect before and `after` behind it."""
        if self.end is None:
            self.end = pen_after(DEFAULT_PEN, self.data)
        if self.end is not pen and self.end != pen:
            content = change(self.end, pen) + content
        if self.width >= 0:
            self.width += columns(content, self.width)
        if 0x80 <= content[0] < 0xC0 and UNFINISHED_CHARACTER.search(self.data[-3:]):
            # An escape was between them: they are no character.
            content = _REPLACEMENT + content[1:]
        self.data += content
        self.end = after

    def replace(self, content: bytes, pen: Pen, after: Pen, width: int) -> None:
        """Make the row this and nothing else."""
        self.data = begin(pen) + content
        self.end = after
        self.width = width
        self.cells = None
        self.cut = False

    def clear(self) -> None:
        """Erase the whole line."""
        if not self.blank or self.cut:
            self.touched = True
            self.data = b""
            self.end = DEFAULT_PEN
            self.cells = None
            self.cut = False
        self.width = 0

    def to_cells(self) -> list[Cell]:
        """Its cells, to be changed in place; from here on the row is made of them."""
        if self.cells is None:
            rest = self.data.lstrip(b" ")
            blank = len(self.data) - len(rest)
            if blank > COLUMN_LIMIT:
                blank, rest = 0, self.data
            self.cells = _BLANKS[:blank]
            self.touched = True
            self.write(blank, rest, DEFAULT_PEN)
            self.data = b""
        return self.cells

    def write(self, column: int, content: bytes, pen: Pen) -> int:
        """Write over cells from `column` on; returns the column behind. Columns beyond the limit
        are not kept."""
        cells = self.to_cells()
        if self.write_plain(column, content, pen):
            return column + len(content)
        for text, own in runs(begin(pen) + content if pen is not DEFAULT_PEN else content):
            shown = text.decode("utf-8", "replace")
            if is_narrow(shown):
                room = max(0, COLUMN_LIMIT - column)
                self.cut = self.cut or len(shown) > room
                if fitting := shown[:room]:
                    _put_narrow(cells, column, fitting, own)
                column += len(shown)
                continue
            for character in shown:
                if character == "\t":
                    stop = next_stop(column)
                    self._pad(cells, min(stop, COLUMN_LIMIT))
                    self.cut = self.cut or stop > COLUMN_LIMIT
                    column = stop
                    continue
                width = character_width(character)
                if width == 0:
                    _combine(cells, column, character)
                    continue
                if column + width > COLUMN_LIMIT:
                    self.cut = True
                elif column == len(cells):
                    cells.append((character, own))
                    if width == 2:
                        cells.append(("", own))
                else:
                    _put(cells, column, character, width, own)
                column += width
        return column

    def write_plain(self, column: int, content: bytes, pen: Pen) -> bool:
        """Write over the cells of a row if the content is nothing but ASCII text; return whether it is."""
        if self.cells is None or not content.isascii():
            return False
        text = content.decode("ascii")
        if not text.isprintable() or column + len(text) > COLUMN_LIMIT:
            return False
        _put_narrow(self.cells, column, text, pen)
        return True

    def erase(self, begin_: int, end: int) -> None:
        """Blank the columns from one to before the other, those that there are."""
        cells = self.to_cells()
        end = min(end, len(cells))
        if begin_ >= end:
            return
        _halve(cells, begin_)
        _halve(cells, end)
        if end == len(cells):
            del cells[begin_:]
        else:
            cells[begin_:end] = [_BLANK] * (end - begin_)

    def insert(self, column: int, count: int) -> None:
        """Shift what is from `column` on to the right."""
        cells = self.to_cells()
        if column < len(cells):
            _halve(cells, column)
            cells[column:column] = [_BLANK] * min(count, COLUMN_LIMIT)
            if len(cells) > COLUMN_LIMIT:
                _halve(cells, COLUMN_LIMIT)
                del cells[COLUMN_LIMIT:]
                self.cut = True

    def delete(self, column: int, count: int) -> None:
        """Take columns out; what is behind them moves to the left."""
        cells = self.to_cells()
        if column < len(cells):
            _halve(cells, column)
            _halve(cells, min(len(cells), column + count))
            del cells[column : column + count]

    def text(self) -> bytes:
        """The line, self-contained."""
        if not self.touched:
            return self.data
        cells = self.cells
        cut = self.cut
        if cells is None:
            if self.data.isascii() and b"\t" not in self.data and len(self.data) <= COLUMN_LIMIT:
                if self.data.decode("ascii").isprintable():
                    return self.data.rstrip(b" ")
                return joined([(text.decode("ascii"), pen) for text, pen in runs(self.data)])
            other = Row(self.data)
            cells = other.to_cells()
            cut = cut or other.cut
        if not cut and not any(pen is not DEFAULT_PEN for _, pen in cells):
            return "".join([text for text, _ in cells]).rstrip(" ").encode()
        blank = _leading_blanks(cells)
        rest = joined([*cells[blank:], (CUT, DEFAULT_PEN)] if cut else cells[blank:])
        return b" " * blank + rest if rest else b""

    def _pad(self, cells: list[Cell], column: int) -> None:
        if len(cells) < column:
            cells.extend([_BLANK] * (column - len(cells)))


def _leading_blanks(cells: list[Cell]) -> int:
    """Return how many cells at the beginning are blank: a cursor that moves far leaves many of them.

    Slices are compared by the interpreter, which is many times as fast as looking at each cell.
    """
    low, high = 0, len(cells)
    while low < high:
        middle = (low + high + 1) // 2
        if cells[low:middle] == _BLANKS[: middle - low]:
            low = middle
        else:
            high = middle - 1
    return low


def _combine(cells: list[Cell], column: int, character: str) -> None:
    at = min(column, len(cells)) - 1
    while at >= 0 and not cells[at][0]:
        at -= 1
    if at >= 0 and character > "\x9f" and len(cells[at][0]) <= _COMBINING_LIMIT:
        cells[at] = (cells[at][0] + character, cells[at][1])


def _put(cells: list[Cell], column: int, character: str, width: int, pen: Pen) -> None:
    if column > len(cells):
        cells.extend([_BLANK] * (column - len(cells)))
    new = [(character, pen)] if width == 1 else [(character, pen), ("", pen)]
    if column == len(cells):
        cells.extend(new)
        return
    _halve(cells, column)
    _halve(cells, min(len(cells), column + width))
    cells[column : column + width] = new


def _put_narrow(cells: list[Cell], column: int, text: str, pen: Pen) -> None:
    """The same for text of characters that take one column each."""
    end = column + len(text)
    if column > len(cells):
        cells.extend([_BLANK] * (column - len(cells)))
    _halve(cells, column)
    _halve(cells, end)
    cells[column:end] = [(character, pen) for character in text]


def _halve(cells: list[Cell], column: int) -> None:
    """Blank a wide character whose halves would be parted at `column`."""
    if 0 < column < len(cells) and not cells[column][0]:
        cells[column - 1] = cells[column] = _BLANK
