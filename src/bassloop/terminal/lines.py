"""Settled lines taken apart: runs of text that look the same."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from wcwidth import wcwidth

from bassloop.terminal.grammar import ANY_ESCAPE, CONTROLS, INVISIBLE, LINK, SGR
from bassloop.terminal.style import DEFAULT_PEN, Pen, applied, begin, change

if TYPE_CHECKING:
    from collections.abc import Iterator


_NARROW = (
    "[\x20-\x7e\xa1-\xac\xae-\u02ff\u2010-\u2027\u2190-\u2199\u2500-\u25fc\u2800-\u28ff\ufffd]"
)
"""Characters of one column each, those that progress bars and tables are drawn with included."""

_ALL_NARROW = re.compile(_NARROW + "*+")
_PIECE = re.compile(_NARROW + "++|.", re.DOTALL)
_OTHERS = re.compile("[^" + _NARROW[1:])

TAB = 8

_UNFIT = re.compile("[\x80-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Characters that are shown as U+FFFD: controls, and those that change the direction of what
follows, so that text would read otherwise than it is."""

_CONTROLS_IN_LINES = CONTROLS.replace(b"\n", b"")

_KINDS = 16
_ALIKE_BYTES = 512
_ALIKE_LIMIT = 512
SHAPE = bytes(
    code
    if code < 0x20 or code > 0x7E or chr(code) in "[]\\;:?hlm"
    else ord("0" if chr(code).isdigit() else "-")
    for code in range(256)
)
"""Maps bytes to their class, so that lines with the same classes have the same width, styles and modes."""

_LOOK = re.compile(SGR.pattern + b"|" + LINK.pattern)

_TEXT_OF, _PEN_OF = itemgetter(0), itemgetter(1)

_SAFE_TARGET = re.compile(rb"https?://[!-~]+", re.IGNORECASE)


@lru_cache(maxsize=1 << 14)
def character_width(character: str) -> int:
    """Columns of one character: 0 for a combining one and for controls, 2 for a wide one."""
    return max(0, wcwidth(character))


def pieces(text: str) -> list[str]:
    """Return text in pieces: one character, or several that take one column each."""
    return [text] if _ALL_NARROW.fullmatch(text) else _PIECE.findall(text)


def text_width(text: str) -> int:
    """Columns of text without escapes and tabs."""
    others = _OTHERS.findall(text)
    return len(text) - len(others) + sum(map(character_width, others))


def next_stop(column: int) -> int:
    """The column that a tab leads to."""
    return (column // TAB + 1) * TAB


def runs(line: bytes) -> Iterator[tuple[bytes, Pen]]:
    """The pieces of a line with what each is written with; escapes and controls are gone."""
    if not INVISIBLE.search(line):
        if line:
            yield line, DEFAULT_PEN
        return
    pen = DEFAULT_PEN
    at = 0
    for found in INVISIBLE.finditer(line):
        begin_, end = found.span()
        if begin_ > at:
            yield line[at:begin_], pen
        at = end
        if sgr := SGR.fullmatch(line, begin_, end):
            pen = Pen(applied(pen.style, sgr[1]), pen.link)
        elif link := LINK.fullmatch(line, begin_, end):
            pen = Pen(pen.style, link[1])
    if at < len(line):
        yield line[at:], pen


def texts(line: bytes) -> Iterator[tuple[str, Pen]]:
    """Yield the pieces of a line as text, like `runs`, but not split at control characters."""
    pen = DEFAULT_PEN
    at = 0
    for look in _LOOK.finditer(line) if b"\x1b" in line else ():
        if look.start() > at:
            yield _visible(line[at : look.start()]), pen
        at = look.end()
        pen = (
            Pen(pen.style, look[2])
            if look[1] is None
            else Pen(applied(pen.style, look[1]), pen.link)
        )
    if at < len(line):
        yield _visible(line[at:]), pen


def _visible(text: bytes) -> str:
    """Return the visible text of bytes: U+FFFD for what isn't UTF-8, and no escapes or controls."""
    if not text.isascii() or not text.decode("ascii").isprintable():
        text = INVISIBLE.sub(b"\0", text)
    return text.decode("utf-8", "replace").replace("\0", "")


def readable(text: bytes) -> str:
    """Text of a run as it may be shown: what is not UTF-8, or not fit to be seen, is U+FFFD."""
    decoded = text.decode("utf-8", "replace")
    return decoded if decoded.isascii() else _UNFIT.sub("\ufffd", decoded)


def strip(line: bytes) -> str:
    """A line's text alone: no escapes, no controls but tabs. For search and annotations.

    It has the same characters in the same order as what `render_html` shows.
    """
    return "".join(readable(text) for text, _ in runs(line))


def plain(text: str) -> str:
    """Return a stranger's text without escape sequences and control characters."""
    return strip(text.encode(errors="replace"))


def plain_lines(text: str) -> str:
    """Return untrusted text with each of its lines made plain; see `plain`."""
    return "\n".join(map(plain, text.splitlines()))


def one_line(text: str) -> str:
    """Return a stranger's command, or an error that names it, as `plain` does, with its line breaks as signs."""
    if "\n" not in text:
        return plain(text)
    lines = (plain(line).strip() for line in text.split("\n"))
    line = " ⏎ ".join(line for line in lines if line)
    # A quoted script often ends with a line break.
    return line.removesuffix(" ⏎ '") + "'" if line.endswith(" ⏎ '") else line


def strip_lines(text: bytes) -> bytes:
    """`strip` of many lines at once, much faster: each ended by a newline, and so is what comes of
    it, in UTF-8."""
    try:
        decoded = "" if text.isascii() else text.decode()
    except UnicodeDecodeError:
        # An escape may stand within what is no character: only line by line is it what is shown.
        return "\n".join(strip(line) for line in text.split(b"\n")).encode()
    if decoded and _UNFIT.search(decoded):
        text = _UNFIT.sub("\ufffd", decoded).encode()
    return _without_escapes(text).translate(None, _CONTROLS_IN_LINES)


def _without_escapes(text: bytes) -> bytes:
    """Return text whose escapes are gone, or have become controls. The few looks that a log uses are taken
    out one after the other, all of a kind at once."""
    rest = text
    for _ in range(_KINDS):
        at = rest.find(b"\x1b")
        if at < 0:
            return rest
        found = SGR.match(rest, at)
        if found is None:
            break
        rest = rest.replace(found[0], b"\0")
    return ANY_ESCAPE.sub(b"", text)


def safe_link(target: bytes) -> str | None:
    """The target of a hyperlink if it may be followed: plain http or https."""
    return target.decode("ascii") if _SAFE_TARGET.fullmatch(target) else None


def restyle(line: bytes, columns: int | None = None) -> str:
    """A line for a terminal: colours, attributes and safe links only, all closed at its end. With
    `columns`, no more than so many, and spaces for tabs: it takes one row of the terminal."""
    out: list[str] = []
    before = DEFAULT_PEN
    column = 0
    for text, pen in runs(line):
        wanted = pen if safe_link(pen.link) else Pen(pen.style)
        out.append(change(before, wanted).decode("ascii"))
        before = wanted
        shown = readable(text)
        if columns is not None:
            shown, column = _fitted(shown, column, columns)
        out.append(shown)
    out.append(change(before, DEFAULT_PEN).decode("ascii"))
    return "".join(out)


def _fitted(text: str, column: int, columns: int) -> tuple[str, int]:
    """Return as much of the text, from a column on, as there is room for, and the column behind it; beyond
    the last one when there was no room."""
    out: list[str] = []
    for character in text:
        shown = character
        width = character_width(character)
        if character == "\t":
            width = next_stop(column) - column
            shown = " " * width
        if column + width > columns:
            return "".join(out), columns + 1
        column += width
        out.append(shown)
    return "".join(out), column


class Measure:
    """Columns of text and looks, for lines that are alike: frames of a progress bar differ in
    their digits and in how far they are, and so in nothing that makes them wider."""

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def columns(self, content: bytes) -> int:
        """As the function of this name, for content without tabs and of no other escapes than
        those for looks."""
        if len(content) > _ALIKE_BYTES:
            return columns(content)
        shape = content.translate(SHAPE)
        width = self._known.get(shape)
        if width is None:
            if len(self._known) >= _ALIKE_LIMIT:
                self._known.clear()
            width = self._known[shape] = columns(content)
        return width


def columns(line: bytes, start: int = 0) -> int:
    """Columns that a line takes which begins at column `start`."""
    if b"\t" not in line:
        return _columns(line)
    column = start
    for index, piece in enumerate(line.split(b"\t")):
        if index:
            column = (column // TAB + 1) * TAB
        column += _columns(piece)
    return column - start


def _columns(line: bytes) -> int:
    if line.isascii() and line.decode("ascii").isprintable():
        return len(line)
    shown = ANY_ESCAPE.sub(b"", line).translate(None, CONTROLS)
    if shown.isascii():
        return len(shown)
    try:
        line.decode()  # bytes that an escape parts are no character
        return text_width(shown.decode())
    except UnicodeDecodeError:
        return text_width(_visible(line))


def joined(pieces: list[tuple[str, Pen]]) -> bytes:
    """A line made of runs, in its one canonical form; blanks at its end that show nothing are left
    out."""
    merged = [
        (text, pen)
        for pen, group in groupby(pieces, key=_PEN_OF)
        if (text := "".join(map(_TEXT_OF, group)))
    ]
    if merged and merged[-1][1] == DEFAULT_PEN:
        text = merged.pop()[0].rstrip(" ")
        if text:
            merged.append((text, DEFAULT_PEN))
    out: list[bytes] = []
    before = DEFAULT_PEN
    for text, pen in merged:
        out.append(begin(pen) if before == DEFAULT_PEN else change(before, pen))
        out.append(text.encode())
        before = pen
    return b"".join(out)
