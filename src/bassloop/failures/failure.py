"""Failures, and the rules that find them in the output of each tool.

To support another tool, add a row to one of the tables in :mod:`rules`. A failure begins at a line that its rule's
`start` matches. The following lines belong to it until `until` matches, but at most `lines` of them. For each line, the
named groups of the first match of `within` are added to the failure:

    test                the test's name
    message             a line of the message; each match adds one
    path, line, column  a location
    detail              a line of the message, kept only where there is no other

Patterns are RE2's. They are matched against lines without colours, truncated to `MAX_LINE` characters. Each rule is
tested with real output, in ``tests/failures/corpus``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import re2

if TYPE_CHECKING:
    from collections.abc import Sequence

PATH = r"(?P<path>(?:file://)?[\pL\pN_.@~+/\\$-][^\s:\"'()<>|,;\[\]]*)"
AT = rf"{PATH}:(?P<line>\d{{1,7}})(?::(?P<column>\d{{1,5}}))?"


MAX_LINE = 1_000
"""The maximum length of a line that patterns are matched against, in characters."""

MAX_MESSAGE_LINES = 6

_LIBRARY = re2.compile(
    r"(?:^|/)(?:site-packages|dist-packages|node_modules|vendor|\.cargo|rustc|gems|lib/python3(?:\.\d+)?|go/src|go/pkg/mod)/"
    r"|^/usr/(?:include|lib|local/include)/|^(?:internal/[\w/-]+$|async_hooks|<frozen|<string|\[eval)"
)

_BREAKS_LINES = frozenset({"cmake"})
_EXPLAINS = frozenset({"terraform"})
"""Tools whose messages begin with a line that only names the kind of error."""

_COMPARISON = re2.compile(r"(?:Error: )?expect\(|Assert\.\w+\(\) Failure")
_COMPARED = re2.compile(r"(?i)(?:expected|received|actual|got)\b")


class Rank(IntEnum):
    """The rank of a failure. The more it explains, the higher its rank, and the earlier it's shown."""

    CONSEQUENCE = 1
    """A tool reports that a program that it called failed: ``make: *** [all] Error 2``."""
    MESSAGE = 2
    """An error without a location: ``fatal: not a git repository``."""
    ERROR = 3
    """An error at a line of a file, or an uncaught exception."""
    TEST = 4
    """A test with a name."""


NOT_IN_LOG = -1
"""The line number of a failure from a report that the log doesn't mention."""


@dataclass(frozen=True, slots=True)
class Location:
    """A line of a file, as in a log. `column` is None if the log doesn't have it."""

    path: str
    line: int
    column: int | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure: an error, a failed test, or a message about one.

    Args:
        tool: the program whose output it is, such as ``pytest``.
        message: the assertion or error, at most `MAX_MESSAGE_LINES` lines.
        test: the test's name; None if it isn't a test.
        locations: the most informative first. To link to a repository, use the first that exists in it.
        first: the number of the first line of the log that is about it, from 0; NOT_IN_LOG if there is none.
        last: the number of the last one.
    """

    tool: str
    rank: Rank
    message: str
    test: str | None
    locations: tuple[Location, ...]
    first: int
    last: int

    @property
    def in_log(self) -> bool:
        """True if lines of the log are about it."""
        return self.first != NOT_IN_LOG

    @property
    def headline(self) -> str:
        """The message in one line.

        That is its first line, and whatever completes it: the next line after a colon, the rest of the sentence if the
        tool breaks lines, the explanation if the first line has none, and both sides of a comparison. If the first line
        is only the comparison, or one of the compared values, it is both values.
        """
        first, *others = lines = self.message.split("\n")
        if self.tool in _BREAKS_LINES:
            return _sentence(lines)
        if self.tool in _EXPLAINS and others:
            return f"{first}: {_sentence(others)}"
        values = [line for line in lines if _COMPARED.match(line)]
        if len(values) > 1 and (first == values[0] or _COMPARISON.match(first)):
            return ", ".join(values[:2])
        sides = [line for line in others if line.startswith(("left: ", "right: "))]
        if len(sides) == 2:
            return f"{first} ({', '.join(sides)})"
        if first.endswith(":") and others and not others[0].startswith(("-", "+")):
            return f"{first} {others[0]}"
        return first

    @property
    def title(self) -> str:
        """The failure in one line: the test and the headline."""
        said = self.headline
        return f"{self.test}: {said}" if self.test and said else self.test or said


def _sentence(lines: Sequence[str]) -> str:
    """Return the first of these lines, or the lines up to the end of a sentence."""
    end = next((at for at, line in enumerate(lines, 1) if line.endswith(".")), 1)
    return " ".join(lines[:end])


@dataclass(frozen=True, slots=True)
class Rule:
    """The pattern of one kind of failure of a tool.

    Args:
        start: the pattern of a failure's first line.
        within: the patterns for each following line.
        until: the pattern of the first line that doesn't belong to it any more.
        lines: the maximum number of following lines.
        innermost_last: whether the last location is the most informative, as in a Python traceback.
        needs: the group that a failure must have, ``message`` or ``line``.
        context: a pattern that an earlier line must have matched, if `start` alone is too general.
        each: whether each match of `within` is a failure of its own, as in a list below a file's name.
        ends: the group that completes a failure.
        generic: whether any other rule that matches the same line takes precedence.
        supplement: whether it only completes a failure of the same test that is found elsewhere.
    """

    tool: str
    rank: Rank
    start: str
    within: tuple[str, ...] = ()
    until: str | None = None
    lines: int = 0
    innermost_last: bool = False
    needs: str | None = None
    context: str | None = None
    each: bool = False
    ends: str | None = None
    generic: bool = False
    supplement: bool = False


def clean_line(line: str) -> str:
    """Return a line for the patterns: valid Unicode, printable, not too long."""
    cut = line[:MAX_LINE].encode(errors="replace").decode().rstrip()
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() or char == "\t" else " " for char in cut).rstrip()


def is_library(path: str) -> bool:
    """Return whether a file isn't the project's own code, so that a location in it seldom shows the mistake."""
    return _LIBRARY.search(path) is not None
