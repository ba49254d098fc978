"""A failure: what broke, where, and on which lines of the log it says so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


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
