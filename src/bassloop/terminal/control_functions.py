"""Control functions: moving the cursor, erasing, inserting and deleting, margins.

All other functions, and private ones, which set modes, have no effect. Numbers are bounded, so a few bytes can't cause
a lot of work.
"""

from __future__ import annotations

from functools import lru_cache

from bassloop.terminal.lines import TAB, next_stop
from bassloop.terminal.row import Row
from bassloop.terminal.screen import Screen
from bassloop.terminal.style import DEFAULT_PEN, Pen

MOVE_LIMIT = 512
"""The maximum column that cursor movements reach."""

_NUMBER_LIMIT = 9999


class ControlFunctions(Screen):
    """A screen with the control functions of a terminal."""

    def __init__(self, height: int) -> None:
        super().__init__(height)
        self._saved: tuple[int, int, Pen] = (0, 0, DEFAULT_PEN)

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

    def _plain_escape(self, final: bytes) -> None:
        if final == b"7":
            self._save()
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

    def _move(self, y: int, x: int) -> None:
        self.y = max(0, min(y, self.height - 1))
        self._x = max(0, min(x, MOVE_LIMIT))
        self._at_end = False
        self._reach(self.y)

    def _csi(self, parameters: bytes, final: bytes) -> None:
        function = _FUNCTIONS.get(final)
        if function is None or parameters[:1] in (b"<", b"=", b">", b"?"):
            return
        function(self, _numbers(parameters))

    def _up(self, numbers: tuple[int, ...]) -> None:
        top = self._top if self.y >= self._top else 0
        self._move(max(top, self.y - _count(numbers)), self._column())

    def _down(self, numbers: tuple[int, ...]) -> None:
        bottom = self._bottom if self.y <= self._bottom else self.height - 1
        self._move(min(bottom, self.y + _count(numbers)), self._column())

    def _right(self, numbers: tuple[int, ...]) -> None:
        self._sideways(self._column() + _count(numbers))

    def _left(self, numbers: tuple[int, ...]) -> None:
        self._sideways(self._column() - _count(numbers))

    def _to_column(self, numbers: tuple[int, ...]) -> None:
        if numbers[0] <= 1:
            self._x, self._at_end = 0, False
        else:
            self._sideways(numbers[0] - 1)

    def _sideways(self, x: int) -> None:
        here = self._column()
        self._x = max(0, min(x, max(here, MOVE_LIMIT)))

    def _next_line(self, numbers: tuple[int, ...]) -> None:
        self._down(numbers)
        self._x = 0

    def _previous_line(self, numbers: tuple[int, ...]) -> None:
        self._up(numbers)
        self._x = 0

    def _to_row(self, numbers: tuple[int, ...]) -> None:
        self._move(_count(numbers) - 1, self._column())

    def _to_position(self, numbers: tuple[int, ...]) -> None:
        self._move(_count(numbers) - 1, _count(numbers[1:]) - 1)

    def _erase_in_line(self, numbers: tuple[int, ...]) -> None:
        self._erase_line(numbers[0])

    def _erase_in_display(self, numbers: tuple[int, ...]) -> None:
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

    def _insert_lines(self, numbers: tuple[int, ...]) -> None:
        if self._top <= self.y <= self._bottom:
            count = min(_count(numbers), self._bottom - self.y + 1)
            self._reach(self.y)
            self.rows[self.y : self.y] = [Row() for _ in range(count)]
            del self.rows[self._bottom + 1 : self._bottom + 1 + count]
            self._x, self._at_end = 0, False

    def _delete_lines(self, numbers: tuple[int, ...]) -> None:
        if self._top <= self.y <= self._bottom:
            count = min(_count(numbers), self._bottom - self.y + 1)
            if len(self.rows) > self._bottom + 1:
                after = self._bottom + 1
                self.rows[after:after] = [Row() for _ in range(count)]
            del self.rows[self.y : self.y + count]
            self._reach(self.y)
            self._x, self._at_end = 0, False

    def _insert_characters(self, numbers: tuple[int, ...]) -> None:
        x = self._column()
        self.rows[self.y].insert(x, _count(numbers))

    def _delete_characters(self, numbers: tuple[int, ...]) -> None:
        x = self._column()
        self.rows[self.y].delete(x, _count(numbers))

    def _erase_characters(self, numbers: tuple[int, ...]) -> None:
        x = self._column()
        self.rows[self.y].erase(x, x + _count(numbers))

    def _margins(self, numbers: tuple[int, ...]) -> None:
        top = max(1, numbers[0]) - 1
        bottom = min(self.height, numbers[1] if len(numbers) > 1 and numbers[1] else self.height)
        if top < bottom - 1:
            self._top, self._bottom = top, bottom - 1
            self._move(0, 0)

    def _save(self, numbers: tuple[int, ...] = ()) -> None:
        self._saved = (self.y, self._column(), self.pen)

    def _restore(self, numbers: tuple[int, ...] = ()) -> None:
        y, x, self.pen = self._saved
        self._move(y, x)


_FUNCTIONS = {
    b"A": ControlFunctions._up,
    b"B": ControlFunctions._down,
    b"C": ControlFunctions._right,
    b"D": ControlFunctions._left,
    b"E": ControlFunctions._next_line,
    b"F": ControlFunctions._previous_line,
    b"G": ControlFunctions._to_column,
    b"H": ControlFunctions._to_position,
    b"J": ControlFunctions._erase_in_display,
    b"K": ControlFunctions._erase_in_line,
    b"L": ControlFunctions._insert_lines,
    b"M": ControlFunctions._delete_lines,
    b"P": ControlFunctions._delete_characters,
    b"X": ControlFunctions._erase_characters,
    b"@": ControlFunctions._insert_characters,
    b"`": ControlFunctions._to_column,
    b"a": ControlFunctions._right,
    b"d": ControlFunctions._to_row,
    b"e": ControlFunctions._down,
    b"f": ControlFunctions._to_position,
    b"r": ControlFunctions._margins,
    b"s": ControlFunctions._save,
    b"u": ControlFunctions._restore,
}


@lru_cache(maxsize=1024)
def _numbers(parameters: bytes) -> tuple[int, ...]:
    """Return the first four parameters; a missing one is 0."""
    return tuple(map(_number, parameters.replace(b":", b";").split(b";")[:4]))


def _number(value: bytes) -> int:
    return min(_NUMBER_LIMIT, int(value[:6])) if value.isdigit() else 0


def _count(numbers: tuple[int, ...]) -> int:
    return max(1, numbers[0]) if numbers else 1
