"""Bytes in, settled lines out: the whole of it.

As long as nothing but text and newlines comes, the settled text *is* the bytes that came, cut where
the screen begins; finding newlines is all the work there is. The first byte that a terminal would
act on ends that for good, and the screen takes over with the lines that are on it.
"""

from __future__ import annotations

from typing import NamedTuple

from bassloop.terminal.control_parser import ControlParser
from bassloop.terminal.grammar import BARE_RETURN
from bassloop.terminal.row import CUT, ROW_LIMIT

ROWS = 32
"""Lines of the screen: how far up a program may go to change what it wrote."""


class Settled(NamedTuple):
    """The lines that some bytes settled.

    `text`: lines that nothing can change any more, each ended by a newline (only a line that has
    become longer than 64 KiB in plain text comes in parts). `plain`: all text so far is, byte for
    byte, the beginning of all bytes so far; once False, it stays so. `line`: number of the line
    that the cursor was on when the bytes came.
    """

    text: bytes
    plain: bool
    line: int


class Terminal:
    """A terminal without an end: what scrolls out at its top is settled, numbered from 0.

        terminal = Terminal()
        settled = terminal.settle(b"...")    # again and again
        terminal.screen()                    # lines that may still change
        settled = terminal.settle_rest()     # at the end of the bytes

    How the bytes are split into pieces makes no difference. Settled lines are self-contained: the
    colours in effect are restated at the beginning of each. Memory is bounded whatever comes:
    `rows` lines of at most 64 KiB (4,096 columns where they are written over); a longer line is cut
    and says so. Never raises for any bytes. Not for use from two threads at once.
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
        """All settled text so far is the beginning of the bytes so far."""
        return self._plain

    @property
    def first_line(self) -> int:
        """Number of the first line on the screen, which is how many have settled."""
        return self._screen.settled

    @property
    def line(self) -> int:
        """Number of the line that the cursor is on."""
        if self._plain:
            return self._screen.settled + self._newlines
        return self._screen.settled + self._screen.y

    def settle(self, data: bytes) -> Settled:
        """Work on bytes; returns what they settled."""
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
        """Settle what is on the screen: no more bytes will come. In plain text the last line has a
        newline only if it came with one."""
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
        """Work on bytes; returns the lines that they settled, without newlines."""
        return self._lines(self.settle(data).text)

    def finish(self) -> list[bytes]:
        """`settle_rest` as lines."""
        lines = self._lines(self.settle_rest().text)
        if self._part:
            lines.append(self._part)
            self._part = b""
        return lines

    def screen(self) -> list[bytes]:
        """The lines that may still change, each self-contained, the first being number
        `line` of the next settled one; blank ones at the end left out."""
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
        """Text without anything to act on: returns as much of it as settles."""
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
        """Settle the last line that is too long to be kept, and all before it."""
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
    """Position of the first byte that a terminal would act on, other than newlines, tabs, and
    returns before newlines; -1 if there is none."""
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
