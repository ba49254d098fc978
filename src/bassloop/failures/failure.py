"""A failure, and the rules that find one: the messages of each tool that fails.

A tool is added by a row in one of the tables of :mod:`rules`. A rule's `start` opens a failure at the line that it
matches. The lines after it belong to the failure until `until` matches, or `lines` of them have passed; on each of
them the first of `within` that matches adds what it names. Named groups say what is found:

    test                the test's name
    message             a line of the message; each match adds one
    path, line, column  a location
    detail              a line of the message, kept only where there is no other

Patterns are RE2's, matched against lines without colours, cut to `MAX_LINE` characters. Each rule is
held to real output in ``tests/failures/corpus``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import re2

PATH = r"(?P<path>(?:file://)?[\pL\pN_.@~+/\\$-][^\s:\"'()<>|,;\[\]]*)"
AT = rf"{PATH}:(?P<line>\d{{1,7}})(?::(?P<column>\d{{1,5}}))?"


MAX_LINE = 1_000
"""Characters of a line that patterns are matched against."""

MAX_MESSAGE_LINES = 6

_LIBRARY = re2.compile(
    r"(?:^|/)(?:site-packages|dist-packages|node_modules|vendor|\.cargo|rustc|gems|lib/python3|go/src)/"
    r"|^/usr/(?:include|lib|local/include)/|^(?:internal/[\w/-]+$|async_hooks|<frozen|<string|\[eval)"
)


class Rank(IntEnum):
    """The rank of a finding: the more it explains, the higher. A higher rank is shown before a lower one."""

    CONSEQUENCE = 1
    """A tool reports that something under it failed: ``make: *** [all] Error 2``."""
    MESSAGE = 2
    """An error without a place: ``fatal: not a git repository``."""
    ERROR = 3
    """An error at a line of a file, or an uncaught exception."""
    TEST = 4
    """A test, by name."""


NOT_IN_LOG = -1
"""The line number of a failure that no log tells of, but a report."""


@dataclass(frozen=True, slots=True)
class Location:
    """A line of a file as a log names it. `column` is None where the log doesn't tell."""

    path: str
    line: int
    column: int | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that went wrong.

    Args:
        tool: the program whose output it is, such as ``pytest``.
        message: the assertion or error, at most `MAX_MESSAGE_LINES` lines.
        test: the test's name; None for what isn't a test.
        locations: the most telling first. A reader of several repositories takes the first
            that exists in the one at hand.
        first: the first line of the log that is about it, counted from 0; NOT_IN_LOG if none is.
        last: the last one.
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
        """The message in one line: its first, or the values where that only says how they were compared."""
        first, *others = self.message.split("\n")
        values = [line for line in others if line.startswith(("Expected", "Received"))]
        return ", ".join(values[:2]) if values and first.startswith("expect(") else first

    @property
    def title(self) -> str:
        """The failure in one line: the test and the headline."""
        said = self.headline
        return f"{self.test}: {said}" if self.test and said else self.test or said


@dataclass(frozen=True, slots=True)
class Rule:
    """The pattern of one kind of failure of a tool.

    Args:
        start: the pattern of the line that opens it.
        within: patterns tried on each line that follows.
        until: the pattern of the first line that doesn't belong to it any more.
        lines: how many lines may follow at most.
        innermost_last: whether the last location is the most telling, as in a Python traceback.
        needs: the group without which it doesn't count, ``message`` or ``line``.
        context: a pattern that an earlier line must have matched, where `start` alone is not telling.
        each: whether each match of `within` is a failure of its own, as in a list below a file's name.
        ends: the group that ends it once it is found.
        generic: whether it gives way to any other rule that knows the same line.
        supplement: whether it only adds to a failure of the same test that is found elsewhere.
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
    """Return a line as the patterns take it: valid Unicode, printable, not too long."""
    cut = line[:MAX_LINE].encode(errors="replace").decode().rstrip()
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() or char == "\t" else " " for char in cut).rstrip()


def is_library(path: str) -> bool:
    """Return whether a file is code that the project didn't write: where it fails is seldom where the mistake is."""
    return _LIBRARY.search(path) is not None
