"""The terminal: bytes in, settled lines out.

As long as there is only text and newlines, the settled text *is* the bytes so far, up to where the screen begins, and
only newlines must be found. The first byte that a terminal would act on ends this for good: from then on, the screen
processes everything, beginning with the lines that are on it.
"""

from __future__ import annotations

from typing import NamedTuple

from bassloop.terminal.control_parser import ControlParser
from bassloop.terminal.grammar import BARE_RETURN
from bassloop.terminal.row import CUT, ROW_LIMIT

ROWS = 32
"""The lines of the screen, within which a program can change what it has written."""


class Settled(NamedTuple):
    """The lines that some bytes have settled.

    Args:
        text: lines that can't change any more, each with a newline at its end. (In plain text, a line of more than
            64 KiB comes in parts.)
        plain: whether all text so far is, byte for byte, the beginning of all bytes so far. Once False, it stays so.
        line: the number of the line that the cursor was on before the bytes.
    """

    text: bytes
    plain: bool
    line: int


class Terminal:
    """A terminal with unlimited scrollback: lines that scroll out at its top are settled, and numbered from 0.

        terminal = Terminal()
        settled = terminal.settle(b"...")    # again and again
        terminal.screen()                    # lines that may still change
        settled = terminal.settle_rest()     # at the end of the bytes

    The result doesn't depend on how the bytes are split into pieces. Settled lines are self-contained: each begins with
    the sequences for the style in effect. Memory is bounded: `rows` lines of at most 64 KiB (4,096 columns if they are
    overwritten). A longer line is cut, and says so. No bytes raise an exception. It isn't thread-safe.
    """

    def __init__(self, rows: int = ROWS) -> None:
        if rows < 2:
            raise ValueError(f"a terminal has at least 2 rows, not {rows}")
        self._screen = ControlParser(rows)
        self._rows = rows
        self._plain = True
        self._tail = b""
        self._newlines = 0
        self._held = b""
        self._long = False
        self._part = b""

    @property
    def plain(self) -> bool:
        """Whether all settled text so far is the beginning of the bytes so far."""
        return self._plain

    @property
    def first_line(self) -> int:
        """The number of the first line on the screen, which is how many lines have settled."""
        return self._screen.settled

    @property
    def line(self) -> int:
        """The number of the line that the cursor is on."""
        if self._plain:
            return self._screen.settled + self._newlines
        return self._screen.settled + self._screen.y

    def settle(self, data: bytes) -> Settled:
        """Process bytes, and return what they have settled."""
        line = self.line
        if not self._plain:
            return Settled(self._on_screen(data), False, line)
        if self._held:
            data = self._held + data
            self._held = b""
        if data.endswith(b"\r"):
            self._held = b"\r"
            data = data[:-1]
        acted_on = _first_acted_on(data)
        if acted_on < 0:
            return Settled(self._in_plain(data), True, line)
        text = self._in_plain(data[:acted_on])
        self._to_screen()
        rest, self._held = data[acted_on:] + self._held, b""
        return Settled(text + self._on_screen(rest), False, line)

    def settle_rest(self) -> Settled:
        """Settle the lines on the screen, after the last bytes.

        In plain text, the last line has a newline only if its bytes had one.
        """
        line = self.line
        if self._plain:
            text = self._tail + self._held
            self._screen.settled += self._newlines
            self._tail = self._held = b""
            self._newlines = 0
            return Settled(text, True, line)
        self._screen.finish()
        return Settled(_text(self._screen.take()), False, line)

    def feed(self, data: bytes) -> list[bytes]:
        """Process bytes, and return the lines that they have settled, without newlines."""
        return self._lines(self.settle(data).text)

    def finish(self) -> list[bytes]:
        """Do the same as `settle_rest`, but return lines without newlines."""
        lines = self._lines(self.settle_rest().text)
        if self._part:
            lines.append(self._part)
            self._part = b""
        return lines

    def screen(self) -> list[bytes]:
        """Return the lines that may still change, each self-contained, without blank ones at the end.

        The first one has the number `first_line`.
        """
        if not self._plain:
            return self._screen.texts()
        lines = [line.removesuffix(b"\r") for line in self._tail.split(b"\n")]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def _lines(self, text: bytes) -> list[bytes]:
        if not text:
            return []
        lines = text.split(b"\n")
        lines[0] = self._part + lines[0]
        self._part = lines.pop()
        if len(self._part) > ROW_LIMIT:
            self._part = self._part[:ROW_LIMIT]
        return [
            line.removesuffix(b"\r") if len(line) <= ROW_LIMIT else line[:ROW_LIMIT] + CUT.encode()
            for line in lines
        ]

    def _on_screen(self, data: bytes) -> bytes:
        self._screen.feed(data)
        return _text(self._screen.take())

    def _to_screen(self) -> None:
        self._plain = False
        if self._long:
            self._screen.skip_line()
        else:
            self._screen.load(self._tail)
        self._tail = b""

    def _in_plain(self, data: bytes) -> bytes:
        """Process text without any controls, and return as much of it as settles."""
        if self._long:
            newline = data.find(b"\n")
            if newline < 0:
                return data
            self._long = False
            self._screen.settled += 1
            return data[: newline + 1] + self._in_plain(data[newline + 1 :])
        added = data.count(b"\n")
        over = self._newlines + added - self._rows + 1
        if over <= 0:
            self._tail += data
            self._newlines += added
            settled = b""
        elif added >= self._rows:
            cut = len(data)
            for _ in range(self._rows):
                cut = data.rindex(b"\n", 0, cut)
            settled, self._tail = self._tail + data[: cut + 1], data[cut + 1 :]
            self._newlines = self._rows - 1
            self._screen.settled += over
        else:
            tail = self._tail + data
            cut = -1
            for _ in range(over):
                cut = tail.index(b"\n", cut + 1)
            settled, self._tail = tail[: cut + 1], tail[cut + 1 :]
            self._newlines = self._rows - 1
            self._screen.settled += over
        if len(self._tail) > ROW_LIMIT:
            settled += self._settle_long()
        return settled

    def _settle_long(self) -> bytes:
        """Settle the last line that is longer than `ROW_LIMIT`, and all lines before it."""
        end = len(self._tail)
        while end >= 0:
            begin = self._tail.rfind(b"\n", 0, end) + 1
            if end - begin > ROW_LIMIT:
                break
            end = begin - 1
        else:
            return b""
        self._long = end == len(self._tail)
        settled, self._tail = self._tail[: end + 1], self._tail[end + 1 :]
        newlines = settled.count(b"\n")
        self._newlines -= newlines
        self._screen.settled += newlines
        return settled


def _text(lines: list[bytes]) -> bytes:
    return b"\n".join(lines) + b"\n" if lines else b""


def _first_acted_on(data: bytes) -> int:
    """Return the position of the first byte that a terminal would act on; -1 if there is none.

    Newlines, tabs, and returns before newlines don't count.
    """
    limit = -1
    for control in (b"\x1b", b"\b", b"\x0b", b"\x0c"):
        found = data.find(control) if limit < 0 else data.find(control, 0, limit)
        if found >= 0:
            limit = found
    if b"\r" in data:
        end = len(data) if limit < 0 else limit
        if found_return := BARE_RETURN.search(data, 0, end):
            limit = found_return.start()
    return limit
