"""A log's outline: foldable groups, and lines with errors. Takes linear time, since all patterns are RE2's.

Supports GitHub's markers of groups, as workflows print them and as its logs show them, and Buildkite's::

    ::group::title … ::endgroup::
    ##[group]title … ##[endgroup]
    --- title        a section up to the next one
    +++ title        one that is initially open; ~~~ is like ---
    ^^^ +++          makes the current section initially open

GitHub's groups may be nested. A line with ``---`` directly before one with ``+++`` belongs to a diff.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import re2

from bassloop.terminal import strip_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_TITLE = 200
"""The maximum size of a group's title, in bytes."""

MAX_GROUPS = 5_000

MAX_ERRORS = 2_500
"""How many lines with errors are listed from the start of the log, and how many from its end."""

_MARKER = re2.compile(
    rb"(?m)^(?:(?:::|##\[)(end)?group(?:::|\])(.*)|(---|\+\+\+|~~~) ([^\s+~=-].*)|\^\^\^ (\+\+\+))$"
)
_MARKERS = (b"group", b"--- ", b"+++ ", b"~~~ ", b"^^^ +++")
_GO_RESULT = re2.compile(rb"(?:FAIL|PASS|SKIP|BENCH): ")

_ERROR = re2.compile(
    rb"(?m)^(?:::error|##\[error\]|E {3}|FAIL(?:ED|URE)?\b|--- FAIL|not ok\b|panic: |npm ERR!"
    rb"|npm error|Traceback \(most recent call last\)|make(?:\[\d+\])?: \*\*\*|thread '.*' panicked)"
    rb"|(?:^|[ \t:\[(])(?:error|Error|ERROR|fatal|Fatal|FATAL|fatal error|CRITICAL)(?:\[\w+\])?[\]:]"
    rb"|\b\w+(?:Error|Exception):|\b(?:ERROR|FATAL|CRITICAL|FAILED) "
    rb"|\b(?:exit(?:ed with)?|exit status|exit code|status code)[ :]+[1-9]\d{0,2}\b"
)
"""How compilers, test runners, package managers and loggers report errors."""


@dataclass(slots=True)
class LogGroup:
    """A foldable group of lines: from the one with the title to `end`, which is None until it is known.

    Args:
        open: whether it is initially unfolded.
    """

    line: int
    title: str
    end: int | None = None
    open: bool = False


@dataclass(slots=True, eq=False)
class LogOutline:
    """The outline of the first `lines` lines of a log. `errors` is the number of lines with an error."""

    lines: int = 0
    groups: list[LogGroup] = field(default_factory=list)
    more_groups: bool = False
    errors: int = 0
    _nested: list[LogGroup] = field(default_factory=list)
    _sections: list[LogGroup] = field(default_factory=list)
    _first_errors: list[int] = field(default_factory=list)
    _last_errors: deque[int] = field(default_factory=lambda: deque(maxlen=MAX_ERRORS))

    def error_lines(self) -> list[int]:
        """Return the numbers of the first and the last lines with errors, in order."""
        return [*self._first_errors, *self._last_errors]

    def scan(self, block: bytes, lines: int) -> None:
        """Scan the next block, which consists of `lines` whole lines as stored."""
        text = strip_lines(block)
        if any(marker in text for marker in _MARKERS):
            for number, match in _matching_lines(_MARKER, text, self.lines):
                self._add_marker(number, match)
        for number, _ in _matching_lines(_ERROR, text, self.lines):
            self.errors += 1
            if len(self._first_errors) < MAX_ERRORS:
                self._first_errors.append(number)
            else:
                self._last_errors.append(number)
        self.lines += lines

    def end(self) -> None:
        """End the last section. Call this once the whole log has been scanned and won't grow."""
        if self._sections:
            self._sections[-1].end = self.lines - 1

    def _add_marker(self, line: int, match: re2.Match) -> None:
        if match[3]:
            self._add_section(line, match[3], match[4])
        elif match[5]:
            if self._sections:
                self._sections[-1].open = True
        elif match[1]:
            if self._nested:
                self._nested.pop().end = line
        elif group := self._add_group(line, match[2]):
            self._nested.append(group)

    def _add_section(self, line: int, marker: bytes, title: bytes) -> None:
        if _GO_RESULT.match(title):
            return
        before = self._sections[-1] if self._sections else None
        if marker == b"+++" and before is not None and before.line == line - 1 and not before.open:
            # The previous line was the start of a diff, not a section: restore the section before it.
            self._sections.pop()
            self.groups.pop()
            if self._sections:
                self._sections[-1].end = None
            return
        if before is not None:
            before.end = line - 1
        if section := self._add_group(line, title):
            section.open = marker == b"+++"
            self._sections.append(section)

    def _add_group(self, line: int, title: bytes) -> LogGroup | None:
        if len(self.groups) == MAX_GROUPS:
            self.more_groups = True
            return None
        group = LogGroup(line, title[:MAX_TITLE].decode("utf-8", "replace").strip())
        self.groups.append(group)
        return group


def _matching_lines(
    pattern: re2.Pattern, text: bytes, line: int
) -> Iterator[tuple[int, re2.Match]]:
    """Yield the number and the first match of each line that matches."""
    at = counted = 0
    while at < len(text) and (match := pattern.search(text, at)):
        line += text.count(b"\n", counted, match.start())
        counted = match.start()
        yield line, match
        at = text.find(b"\n", match.start()) + 1 or len(text)
