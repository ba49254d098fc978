"""A search query compiled to a pattern, and the lines of a block that match it.

Linear in the text: patterns are RE2's. But each byte may cost as much as the pattern is large, so a pattern's size
is bounded, and a large one is looked for in small blocks. Called in a thread, where RE2 releases the GIL; Python runs
only for lines that match. A text is looked for in the block as it is first, where colours may stand between its
characters: most blocks don't have it, and needn't be stripped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import re2

from bassloop.terminal import strip_lines
from bassloop.terminal.sequences import INVISIBLE

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_QUERY = 500
"""Characters of a query."""

MAX_EXCERPT = 500
"""Characters of a line that are returned with its match."""

MAX_SPANS = 50
"""Spans of one line that are returned."""

PATTERN_MEMORY = 256 << 10
"""Bytes that a pattern may take. RE2's own default lets one compile for a third of a second."""

LARGEST_BLOCK, SMALLEST_BLOCK = 256 << 10, 4 << 10
"""Bytes of text to look through at once."""

_BLOCK_STEPS = 16 << 20
"""Bytes times instructions of a block: about a tenth of a second where RE2 follows all of them at once."""

_CONTEXT_BEFORE = 80

_MAX_COLOURED = 64
"""Characters of a text that are looked for in blocks that aren't stripped."""

_GAP = b"(?:%b)*" % INVISIBLE.pattern.replace(b"*+", b"*").replace(b"?+", b"?")
"""What stripping may take out between two characters, or more: RE2 has no possessive quantifiers."""


class BadQuery(ValueError):
    """A query that can't be searched for; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class LogMatch:
    """A line that matches.

    Args:
        text: an excerpt of the line.
        start: where the excerpt starts in the line.
        spans: start and end of each match in the line.

    Offsets are in UTF-16 code units, as in a browser.
    """

    line: int
    text: str
    start: int
    spans: tuple[tuple[int, int], ...]

    def pieces(self) -> list[tuple[str, bool]]:
        """Return the excerpt in pieces, each with whether it matches."""
        units = self.text.encode("utf-16-le", "surrogatepass")
        found, at = [], 0
        for begin, end in self.spans:
            first, last = (min(max(each - self.start, 0) * 2, len(units)) for each in (begin, end))
            found += [(units[at:first], False), (units[first:last], True)]
            at = last
        found.append((units[at:], False))
        return [(piece.decode("utf-16-le", "replace"), hit) for piece, hit in found if piece]


class LogQuery:
    """A text to search for, or with `regex` a regular expression in RE2's syntax. Raises BadQuery.

    Args:
        case: whether to match case.
    """

    def __init__(self, text: str, *, regex: bool = False, case: bool = False) -> None:
        if not 1 <= len(text) <= MAX_QUERY:
            raise BadQuery(f"q is a text of 1 to {MAX_QUERY} characters")
        source = f"(?m:{text})" if regex else re2.escape(text)
        options = re2.Options()
        options.case_sensitive = case
        options.never_nl = True
        options.never_capture = True
        options.log_errors = False
        if regex:
            options.max_mem = PATTERN_MEMORY
        try:
            if regex:
                re2.compile(text.encode(errors="replace"), options=options)
            self._pattern = re2.compile(source.encode(errors="replace"), options=options)
        except re2.error as error:
            reason = error.args[0] if error.args else error
            reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
            raise BadQuery(f"q is no regular expression: {reason}") from error
        self._coloured = None
        if not regex and "\ufffd" not in text:
            characters = (re2.escape(each) for each in text[:_MAX_COLOURED])
            options.never_nl = False
            coloured = _GAP.join(each.encode(errors="replace") for each in characters)
            self._coloured = re2.compile(coloured, options=options)

    @property
    def block_bytes(self) -> int:
        """The bytes of a block to scan: about a tenth of a second at most, if its lines are short."""
        size: int = self._pattern.programsize
        return max(SMALLEST_BLOCK, min(LARGEST_BLOCK, _BLOCK_STEPS // size))

    def scan(self, block: bytes, line: int, limit: int) -> tuple[list[LogMatch], int]:
        """Scan whole lines as a log stores them, the first of which is number `line`.

        Returns the first `limit` lines that match, and the number of all that do.
        """
        if not self._may_match(block):
            return [], 0
        text = strip_lines(block)
        matches: list[LogMatch] = []
        count = counted = 0
        for begin, end in self._matching_lines(text):
            count += 1
            if len(matches) < limit:
                line += text.count(b"\n", counted, begin)
                counted = begin
                matches.append(self._match(text[begin:end], line))
        return matches, count

    def _may_match(self, block: bytes) -> bool:
        """Return False if no line of a block matches, before it is stripped."""
        if self._coloured is None or not (block.isascii() or _is_utf8(block)):
            return True
        return self._coloured.search(block) is not None

    def _matching_lines(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield where each line that matches begins and ends."""
        at = 0
        while at < len(text) and (found := self._pattern.search(text, at)):
            begin = text.rfind(b"\n", at, found.start()) + 1 or at
            end = text.find(b"\n", found.start())
            if end < 0:
                return
            yield begin, end
            at = end + 1

    def _match(self, line: bytes, number: int) -> LogMatch:
        byte_spans = []
        for found in self._pattern.finditer(line):
            byte_spans.append(found.span())
            if len(byte_spans) == MAX_SPANS:
                break
        text = line.decode("utf-8", "replace")
        spans: list[tuple[int, int]] = []
        at = units = 0
        for begin, end in byte_spans:
            first = units + _utf16_length(line[at:begin])
            units, at = first + _utf16_length(line[begin:end]), end
            spans.append((first, units))
        start = 0
        if len(text) > MAX_EXCERPT:
            first = len(line[: byte_spans[0][0]].decode("utf-8", "replace")) if byte_spans else 0
            start = max(0, min(first - _CONTEXT_BEFORE, len(text) - MAX_EXCERPT))
        excerpt = text[start : start + MAX_EXCERPT]
        return LogMatch(number, excerpt, _utf16_length(text[:start].encode()), tuple(spans))


def _is_utf8(text: bytes) -> bool:
    """Return whether all of a text is UTF-8: RE2 passes over what is not."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _utf16_length(text: bytes) -> int:
    """Return the UTF-16 code units of some UTF-8."""
    if text.isascii():
        return len(text)
    return len(text.decode("utf-8", "replace").encode("utf-16-le")) // 2


def format_cursor(row: int, line: int) -> str:
    """Return the position after a line of a step, as addresses have it."""
    return f"{row}-{line}"


def parse_cursor(text: str) -> tuple[int, int]:
    """Return a cursor's row and line. Raises BadQuery."""
    found = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})", text, re.ASCII)
    if found is None:
        raise BadQuery("after must be the next of an earlier answer")
    return int(found[1]), int(found[2])
