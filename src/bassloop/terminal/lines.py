"""Settled lines: their runs of text with the same style, their plain text, and their widths."""

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
"""Characters that are one column wide, including those that progress bars and tables are drawn with."""

_ALL_NARROW = re.compile(_NARROW + "*+")
_PIECE = re.compile(_NARROW + "++|.", re.DOTALL)
_OTHERS = re.compile("[^" + _NARROW[1:])

TAB = 8

_UNFIT = re.compile("[\x80-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Characters that are replaced by U+FFFD: controls, and those that change the direction of the text after them, and so
could disguise it."""

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
"""Maps bytes to classes, so that lines with the same classes have the same width, styles and modes."""

_LOOK = re.compile(SGR.pattern + b"|" + LINK.pattern)

_TEXT_OF, _PEN_OF = itemgetter(0), itemgetter(1)

_SAFE_TARGET = re.compile(rb"https?://[!-~]+", re.IGNORECASE)


@lru_cache(maxsize=1 << 14)
def character_width(character: str) -> int:
    """Return the width of a character in columns: 0 for combining ones and controls, 2 for wide ones."""
    return max(0, wcwidth(character))


def pieces(text: str) -> list[str]:
    """Split text into pieces: a single character, or several that are one column wide each."""
    return [text] if _ALL_NARROW.fullmatch(text) else _PIECE.findall(text)


def text_width(text: str) -> int:
    """Return the width of text without escapes and tabs, in columns."""
    others = _OTHERS.findall(text)
    return len(text) - len(others) + sum(map(character_width, others))


def next_stop(column: int) -> int:
    """Return the column that a tab moves to."""
    return (column // TAB + 1) * TAB


def runs(line: bytes) -> Iterator[tuple[bytes, Pen]]:
    """Yield the runs of a line with their pens, without escapes and control characters."""
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
    """Yield the runs of a line as text, like `runs`, but not split at control characters."""
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
    """Decode bytes, with U+FFFD for those that aren't UTF-8, and without escapes and control characters."""
    if not text.isascii() or not text.decode("ascii").isprintable():
        text = INVISIBLE.sub(b"\0", text)
    return text.decode("utf-8", "replace").replace("\0", "")


def readable(text: bytes) -> str:
    """Decode a run's text, with U+FFFD for bytes that aren't UTF-8 and for unsafe characters."""
    decoded = text.decode("utf-8", "replace")
    return decoded if decoded.isascii() else _UNFIT.sub("\ufffd", decoded)


def strip(line: bytes) -> str:
    """Return a line's text, for search and annotations, without escapes and control characters (except tabs).

    It has the same characters in the same order as the text in `render_html`.
    """
    return "".join(readable(text) for text, _ in runs(line))


def plain(text: str) -> str:
    """Return untrusted text without escape sequences and control characters."""
    return strip(text.encode(errors="replace"))


def plain_lines(text: str) -> str:
    """Return untrusted text with several lines without escape sequences and control characters."""
    return "\n".join(map(plain, text.splitlines()))


def one_line(text: str) -> str:
    """Return an untrusted command, or an error that names it, as `plain` does, with ⏎ in place of line breaks."""
    if "\n" not in text:
        return plain(text)
    lines = (plain(line).strip() for line in text.split("\n"))
    line = " ⏎ ".join(line for line in lines if line)
    # A quoted script often ends with a line break.
    return line.removesuffix(" ⏎ '") + "'" if line.endswith(" ⏎ '") else line


def strip_lines(text: bytes) -> bytes:
    """Return the same as `strip` for many lines, in UTF-8, but much faster. Each line ends in a newline."""
    try:
        decoded = "" if text.isascii() else text.decode()
    except UnicodeDecodeError:
        # There may be an escape within an invalid character, which only `strip` handles like the HTML.
        return "\n".join(strip(line) for line in text.split(b"\n")).encode()
    if decoded and _UNFIT.search(decoded):
        text = _UNFIT.sub("\ufffd", decoded).encode()
    return _without_escapes(text).translate(None, _CONTROLS_IN_LINES)


def _without_escapes(text: bytes) -> bytes:
    """Return text with its escapes removed or replaced by control characters.

    A log mostly uses a few styles, so all occurrences of one sequence are replaced at once, up to `_KINDS` sequences.
    """
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
    """Return the target of a hyperlink if it's safe (http or https), otherwise None."""
    return target.decode("ascii") if _SAFE_TARGET.fullmatch(target) else None


def restyle(line: bytes, columns: int | None = None) -> str:
    """Return a line for a terminal, with only colours, attributes and safe links, all of which end with the line.

    With `columns`, the line is truncated to that width, and tabs become spaces, so it fits in one row.
    """
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
    """Return as much of the text as fits, beginning at a column, and the column after it.

    If the text was truncated, the column returned is `columns + 1`.
    """
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
    """Measures the width of text with styles, caching it by shape.

    The frames of a progress bar differ only in characters that don't change their width.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def columns(self, content: bytes) -> int:
        """Return the same as the function `columns`, for content without tabs and escapes other than styles."""
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
    """Return the width of a line that begins at column `start`."""
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
        line.decode()  # bytes that an escape separates aren't a character
        return text_width(shown.decode())
    except UnicodeDecodeError:
        return text_width(_visible(line))


def joined(pieces: list[tuple[str, Pen]]) -> bytes:
    """Return a line made of runs, in canonical form, without invisible blanks at its end."""
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
