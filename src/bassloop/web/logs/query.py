"""Finding in a log's text: a query made into a pattern, and a block of lines gone through.

Pure, and linear in what it goes through: patterns are RE2's. It is called from a thread, and RE2
works there beside the rest; what is Python's part of it is done only for lines that match.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import re2

from bassloop.terminal import strip_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERY_LIMIT = 500
"""Characters of a query."""

EXCERPT = 500
"""Characters of a line that come with its match."""

SPANS = 50
"""Places in one line that are told."""

_BEFORE = 80


class BadQuery(ValueError):
    """A query that can't be searched for; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Match:
    """A line that matches. `spans` are places in the whole line, begin and end, and `start` is where
    the excerpt `text` begins in it: all counted in UTF-16 code units, as a browser does."""

    line: int
    text: str
    start: int
    spans: tuple[tuple[int, int], ...]


class Query:
    """What to look for: a text as it is, or with `regex` a regular expression in RE2's syntax.

    Letters' case counts if `case` is True. Raises BadQuery.
    """

    def __init__(self, text: str, *, regex: bool = False, case: bool = False) -> None:
        if not 1 <= len(text) <= QUERY_LIMIT:
            raise BadQuery(f"q is a text of 1 to {QUERY_LIMIT} characters")
        source = f"(?m:{text})" if regex else re2.escape(text)
        options = re2.Options()
        options.case_sensitive = case
        options.never_nl = True
        options.never_capture = True
        options.log_errors = False
        try:
            if regex:
                re2.compile(text.encode(errors="replace"), options=options)
            self._pattern = re2.compile(source.encode(errors="replace"), options=options)
        except re2.error as error:
            reason = error.args[0] if error.args else error
            reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
            raise BadQuery(f"q is no regular expression: {reason}") from error

    def scan(self, block: bytes, line: int, keep: int) -> tuple[list[Match], int]:
        """Go through whole lines as a log has them, the first of which is number `line`. Returns the
        first `keep` lines that match, and how many do."""
        text = strip_lines(block)
        kept: list[Match] = []
        count = counted = 0
        for begin, end in self._lines(text):
            count += 1
            if len(kept) < keep:
                line += text.count(b"\n", counted, begin)
                counted = begin
                kept.append(self._match(text[begin:end], line))
        return kept, count

    def _lines(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Where each line that matches begins and ends."""
        at = 0
        while at < len(text) and (found := self._pattern.search(text, at)):
            begin = text.rfind(b"\n", at, found.start()) + 1 or at
            end = text.find(b"\n", found.start())
            if end < 0:
                return
            yield begin, end
            at = end + 1

    def _match(self, line: bytes, number: int) -> Match:
        places = []
        for found in self._pattern.finditer(line):
            places.append(found.span())
            if len(places) == SPANS:
                break
        shown = line.decode("utf-8", "replace")
        spans: list[tuple[int, int]] = []
        at = units = 0
        for begin, end in places:
            first = units + _units(line[at:begin])
            units, at = first + _units(line[begin:end]), end
            spans.append((first, units))
        start = 0
        if len(shown) > EXCERPT:
            first_place = len(line[: places[0][0]].decode("utf-8", "replace")) if places else 0
            start = max(0, min(first_place - _BEFORE, len(shown) - EXCERPT))
        excerpt = shown[start : start + EXCERPT]
        return Match(number, excerpt, _units(shown[:start].encode()), tuple(spans))


def _units(text: bytes) -> int:
    """UTF-16 code units of some UTF-8."""
    if text.isascii():
        return len(text)
    return len(text.decode("utf-8", "replace").encode("utf-16-le")) // 2


def cursor(vertex: int, line: int) -> str:
    """The place behind a line, as an address has it."""
    return f"{vertex}-{line}"


def place_of(text: str) -> tuple[int, int]:
    """The vertex and line of a cursor. Raises BadQuery."""
    found = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})", text, re.ASCII)
    if found is None:
        raise BadQuery("after is what an earlier answer had as its next")
    return int(found[1]), int(found[2])
