"""The terminal agrees with pyte, a terminal emulator, on all that both support.

Left out: what pyte does not know (hyperlinks, dim, hidden and overlined text, lines without an end)
and where the two mean different things on purpose (what a wide character leaves when half of it is
overwritten, the colour of erased cells).
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import pyte
import pyte.graphics
from hypothesis import example, given
from hypothesis import strategies as st

from bassloop.terminal import Terminal
from bassloop.terminal.lines import character_width, runs

from .streams import ERASURES, LOOKS, MOVES, TEXT, frames, streams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.terminal.style import Colour, Style

ROWS = 4
COLUMNS = 1000

Cell = tuple[str, tuple[str, str, bool, bool, bool, bool, bool]]


class Emulator(pyte.HistoryScreen):
    """pyte forgets to move lines that nothing was written on: so all of them are made first."""

    def insert_lines(self, count: int | None = None) -> None:
        self.touch_all()
        super().insert_lines(count)

    def delete_lines(self, count: int | None = None) -> None:
        self.touch_all()
        super().delete_lines(count)

    def touch_all(self) -> None:
        for y in range(self.lines):
            self.buffer[y]


def colour(value: Colour, ansi: dict[int, str], bright: dict[int, str], base: int) -> str:
    if value is None:
        return "default"
    if isinstance(value, tuple):
        return "{:02x}{:02x}{:02x}".format(*value)
    if value < 8:
        return ansi[base + value]
    if value < 16:
        return bright[base + 52 + value]
    return str(pyte.graphics.FG_BG_256[value])


def looks(style: Style) -> tuple[str, str, bool, bool, bool, bool, bool]:
    return (
        colour(style.foreground, pyte.graphics.FG_ANSI, pyte.graphics.FG_AIXTERM, 30),
        colour(style.background, pyte.graphics.BG_ANSI, pyte.graphics.BG_AIXTERM, 40),
        "bold" in style.flags,
        "italic" in style.flags,
        "underline" in style.flags,
        "strike" in style.flags,
        "reverse" in style.flags,
    )


def our_cells(line: bytes) -> list[Cell]:
    cells: list[Cell] = []
    for text, pen in runs(line):
        for character in text.decode("utf-8", "replace"):
            width = character_width(character)
            if character == "\t":
                cells += [(" ", looks(pen.style))] * (8 - len(cells) % 8)
            elif width:
                cells += [(character, looks(pen.style))] + [("", looks(pen.style))] * (width - 1)
            elif cells:
                at = len(cells) - 1 if cells[-1][0] else len(cells) - 2
                cells[at] = (unicodedata.normalize("NFC", cells[at][0] + character), cells[at][1])
    return trimmed(cells)


def their_cells(line: Mapping[int, pyte.screens.Char]) -> list[Cell]:
    cells: list[Cell] = []
    for column in range(max(line, default=-1) + 1):
        char = line[column]
        style = (
            char.fg,
            char.bg,
            char.bold,
            char.italics,
            char.underscore,
            char.strikethrough,
            char.reverse,
        )
        cells.append((char.data, style))
    return trimmed(cells)


def trimmed(cells: list[Cell]) -> list[Cell]:
    """Without the looks of blanks, which tell the two apart only in the colour of what was erased,
    and without blanks at the end."""
    plain = ("default", "default", False, False, False, False, False)
    cells = [(text, plain) if text in (" ", "") else (text, style) for text, style in cells]
    while cells and cells[-1][0] in (" ", ""):
        cells.pop()
    return cells


def agree(data: bytes) -> None:
    screen = Emulator(COLUMNS, ROWS, history=10_000)
    screen.set_mode(pyte.modes.LNM)
    pyte.ByteStream(screen).feed(data)
    theirs = [their_cells(line) for line in screen.history.top]
    theirs += [their_cells(screen.buffer[y]) for y in range(ROWS)]
    terminal = Terminal(ROWS)
    lines = terminal.feed(data)
    ours = [our_cells(line) for line in lines + terminal.finish()]
    while theirs and not theirs[-1]:
        theirs.pop()
    while ours and not ours[-1]:
        ours.pop()
    assert ours == theirs


@given(streams(TEXT, LOOKS, MOVES))
def test_moves_of_the_cursor_and_styles_match_pyte(data: bytes) -> None:
    agree(data)


@given(streams(TEXT, LOOKS, MOVES, ERASURES))
@example(b"\n\n\nabc\x1b[2J\nxy")
def test_erasing_inserting_and_deleting_match_pyte(data: bytes) -> None:
    agree(data)


@given(
    streams(
        TEXT,
        LOOKS,
        (b"\n", b"\r\n", b"\xe4\xb8\xad", "é".encode(), b"e\xcc\x81", "\u2503".encode(), b"\t"),
    )
)
def test_wide_and_combining_characters_and_tabs_match_pyte(data: bytes) -> None:
    agree(data)


@given(streams(TEXT, MOVES, (b"\x1b[1;3r", b"\x1b[1;4r")))
def test_scrolling_within_margins_matches_pyte(data: bytes) -> None:
    agree(data)


@given(streams(TEXT, LOOKS, MOVES), streams(TEXT, LOOKS, MOVES), streams(TEXT, ERASURES))
def test_saving_and_restoring_the_cursor_matches_pyte(
    before: bytes, within: bytes, after: bytes
) -> None:
    agree(before + b"\x1b7" + within + b"\x1b8" + after)


@given(st.lists(st.integers(0, 110), max_size=6))
def test_every_parameter_of_styles_matches_pyte(parameters: list[int]) -> None:
    codes = [code for code in parameters if code not in (2, 6, 8, 21, 28, 38, 48, 53, 55, 58)]
    agree(b"\x1b[" + b";".join(b"%d" % code for code in codes) + b"mtext")


@given(frames().map(lambda data: data.replace(b"\xe4\xb8\xad", b"wide").replace(b"\xcc\x81", b"")))
def test_frames_drawn_over_each_other_match_pyte(data: bytes) -> None:
    agree(data)
