"""One line of the screen.

Most lines are only ever appended to, so a row stores bytes as they came until something is written into its middle.
Then it becomes cells: a list of characters and a list of pens, into which text is written a run at a time. A row that
was overwritten is `touched`: it settles in canonical form, so the text doesn't depend on how its bytes were split into
pieces.
"""

from __future__ import annotations

from itertools import groupby

from bassloop.terminal.grammar import UNFINISHED_CHARACTER
from bassloop.terminal.lines import character_width, columns, joined, next_stop, pieces, runs, texts
from bassloop.terminal.style import DEFAULT_PEN, Pen, begin, change, pen_after

ROW_LIMIT = 64 * 1024
"""The maximum length of a line, in bytes. The rest is dropped, and the line ends in a note (`CUT`)."""

COLUMN_LIMIT = 4096
"""The maximum width of a line that is overwritten, in columns."""

CUT = " \u2026 [line cut here: the raw log has all of it]"

REPLACEMENT = "\ufffd".encode()
"""Written instead of a byte that would complete a character if an escape weren't in between."""

_SPACES = [" "] * COLUMN_LIMIT
_PLAIN = [DEFAULT_PEN] * COLUMN_LIMIT
_COMBINING_LIMIT = 16


class Row:
    """A line that may still change."""

    __slots__ = ("cells", "cut", "data", "end", "pens", "touched", "width")

    def __init__(self, data: bytes = b"", end: Pen | None = DEFAULT_PEN) -> None:
        self.data = data
        self.end = end
        """The pen after the data; None if it hasn't been computed."""
        self.width = -1
        self.cells: list[str] | None = None
        """Characters with the combining ones after them; an empty cell follows a wide character."""
        self.pens: list[Pen] = []
        """The pen of each cell."""
        self.touched = False
        self.cut = False

    @property
    def blank(self) -> bool:
        return not self.data and self.cells is None

    def columns(self) -> int:
        """Return the row's width, in columns."""
        if self.cells is not None:
            return len(self.cells)
        if self.width < 0:
            self.width = columns(self.data)
        return self.width

    def append(self, content: bytes, pen: Pen, after: Pen) -> None:
        """Append content to a row of bytes, with the pens before and after it."""
        if self.end is None:
            self.end = pen_after(DEFAULT_PEN, self.data)
        if self.end is not pen and self.end != pen:
            content = change(self.end, pen) + content
        if self.width >= 0:
            self.width += columns(content, self.width)
        if 0x80 <= content[0] < 0xC0 and UNFINISHED_CHARACTER.search(self.data[-3:]):
            # An escape came between these bytes, so they aren't a character.
            content = REPLACEMENT + content[1:]
        self.data += content
        self.end = after

    def replace(self, content: bytes, pen: Pen, after: Pen, width: int) -> None:
        """Replace the whole row."""
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

    def to_cells(self) -> list[str]:
        """Turn the row into cells if it isn't already, and return them, to be changed in place."""
        if self.cells is None:
            rest = self.data.lstrip(b" ")
            blank = len(self.data) - len(rest)
            if blank > COLUMN_LIMIT:
                blank, rest = 0, self.data
            self.cells = _SPACES[:blank]
            self.pens = _PLAIN[:blank]
            self.touched = True
            self.write(blank, rest, DEFAULT_PEN)
            self.data = b""
        return self.cells

    def write(self, column: int, content: bytes, pen: Pen) -> int:
        """Write over cells from `column` on, and return the column after them. Drop columns above the limit."""
        cells = self.to_cells()
        if self.write_plain(column, content, pen):
            return column + len(content)
        for text, own in texts(begin(pen) + content if pen is not DEFAULT_PEN else content):
            for piece in pieces(text):
                if piece == "\t":
                    stop = next_stop(column)
                    self._pad(min(stop, COLUMN_LIMIT))
                    self.cut = self.cut or stop > COLUMN_LIMIT
                    column = stop
                    continue
                width = len(piece) if len(piece) > 1 else character_width(piece)
                if width == 0:
                    _combine(cells, column, piece)
                elif len(piece) == width:
                    room = max(0, COLUMN_LIMIT - column)
                    self.cut = self.cut or width > room
                    if fitting := piece[:room]:
                        self._put(column, fitting, own)
                elif column + width > COLUMN_LIMIT:
                    self.cut = True
                else:
                    self._put(column, (piece, ""), own)
                column += width
        return column

    def write_plain(self, column: int, content: bytes, pen: Pen) -> bool:
        """Write over a row's cells if it has any and the content is only ASCII text. Return whether that was so."""
        if self.cells is None or not content.isascii():
            return False
        text = content.decode("ascii")
        if not text.isprintable() or column + len(text) > COLUMN_LIMIT:
            return False
        self._put(column, text, pen)
        return True

    def erase(self, begin_: int, end: int) -> None:
        """Blank the existing columns from `begin_` up to `end`, exclusive."""
        size = len(self.to_cells())
        end = min(end, size)
        if begin_ >= end:
            return
        self._halve(begin_)
        self._halve(end)
        count = 0 if end == size else end - begin_
        self._replace(begin_, end, count)

    def insert(self, column: int, count: int) -> None:
        """Insert blank columns, shifting those from `column` on to the right."""
        cells = self.to_cells()
        if column < len(cells):
            self._halve(column)
            self._replace(column, column, min(count, COLUMN_LIMIT))
            if len(cells) > COLUMN_LIMIT:
                self._halve(COLUMN_LIMIT)
                self._replace(COLUMN_LIMIT, len(cells), 0)
                self.cut = True

    def delete(self, column: int, count: int) -> None:
        """Delete columns, shifting those after them to the left."""
        size = len(self.to_cells())
        if column < size:
            end = min(size, column + count)
            self._halve(column)
            self._halve(end)
            self._replace(column, end, 0)

    def text(self) -> bytes:
        """Return the line's bytes, self-contained."""
        if not self.touched:
            return self.data
        row = self
        if self.cells is None:
            if self.data.isascii() and b"\t" not in self.data and len(self.data) <= COLUMN_LIMIT:
                if self.data.decode("ascii").isprintable():
                    return self.data.rstrip(b" ")
                return joined([(text.decode("ascii"), pen) for text, pen in runs(self.data)])
            row = Row(self.data)
        cells, pens, cut = row.to_cells(), row.pens, self.cut or row.cut
        if not cut and pens.count(DEFAULT_PEN) == len(pens):
            return "".join(cells).rstrip(" ").encode()
        blank = row._leading_blanks()
        parts = []
        begin_ = blank
        for pen, group in groupby(pens[blank:]):
            end = begin_ + len(list(group))
            parts.append(("".join(cells[begin_:end]), pen))
            begin_ = end
        if cut:
            parts.append((CUT, DEFAULT_PEN))
        rest = joined(parts)
        return b" " * blank + rest if rest else b""

    def _leading_blanks(self) -> int:
        """Return how many cells at the beginning are blank: a cursor that moves far leaves many of them.

        Comparing slices is many times as fast as looking at each cell.
        """
        cells, pens = self.to_cells(), self.pens
        low, high = 0, len(cells)
        while low < high:
            middle = (low + high + 1) // 2
            size = middle - low
            if cells[low:middle] == _SPACES[:size] and pens[low:middle] == _PLAIN[:size]:
                low = middle
            else:
                high = middle - 1
        return low

    def _put(self, column: int, characters: str | tuple[str, str], pen: Pen) -> None:
        """Write characters that are one column wide each, or a wide character and its empty second half."""
        cells, pens = self.to_cells(), self.pens
        end = column + len(characters)
        size = len(cells)
        if column > size:
            self._pad(column)
        elif column < size:
            if not cells[column]:
                self._halve(column)
            if end < size and not cells[end]:
                self._halve(end)
        cells[column:end] = characters
        pens[column:end] = [pen] * len(characters)

    def _replace(self, begin_: int, end: int, count: int) -> None:
        """Replace the cells from `begin_` up to `end` by `count` blank ones."""
        self.to_cells()[begin_:end] = _SPACES[:count]
        self.pens[begin_:end] = _PLAIN[:count]

    def _pad(self, column: int) -> None:
        size = len(self.to_cells())
        if size < column:
            self._replace(size, size, column - size)

    def _halve(self, column: int) -> None:
        """Blank a wide character whose halves would be separated at `column`."""
        cells = self.to_cells()
        if 0 < column < len(cells) and not cells[column]:
            self._replace(column - 1, column + 1, 2)


def _combine(cells: list[str], column: int, character: str) -> None:
    at = min(column, len(cells)) - 1
    while at >= 0 and not cells[at]:
        at -= 1
    if at >= 0 and character > "\x9f" and len(cells[at]) <= _COMBINING_LIMIT:
        cells[at] += character
