"""A log's outline, so that nobody has to read all of it: groups that it was folded in, and the lines
that say what went wrong. Pure, and linear in what it goes through: patterns are RE2's.

    ::group::title … ::endgroup::            GitHub's words for a fold, as its runners take them
    ##[group]title … ##[endgroup]            the same, as its logs have them
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import re2

from bassloop.terminal import strip, strip_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TITLE = 200
"""Bytes of a group's title."""

MAX_GROUPS = 5_000
MAX_ERRORS = 2_500
"""Lines with errors that are told from the beginning of the log, and as many from its end."""

_GROUP = re2.compile(rb"(?m)^(?:::|##\[)(end)?group(?:::|\])(.*)$")

_ERROR = re2.compile(
    rb"(?m)^(?:::error|##\[error\]|E {3}|FAIL(?:ED|URE)?\b|--- FAIL|not ok\b|panic: |npm ERR!"
    rb"|npm error|Traceback \(most recent call last\)|make(?:\[\d+\])?: \*\*\*|thread '.*' panicked)"
    rb"|(?:^|[ \t:\[(])(?:error|Error|ERROR|fatal|Fatal|FATAL|fatal error|CRITICAL)(?:\[\w+\])?[\]:]"
    rb"|\b\w+(?:Error|Exception):|\b(?:ERROR|FATAL|CRITICAL|FAILED) "
    rb"|\b(?:exit(?:ed with)?|exit status|exit code|status code)[ :]+[1-9]\d{0,2}\b"
)
"""What compilers, test runners, package managers and loggers begin their bad news with."""


@dataclass(slots=True)
class Group:
    """Lines that belong together: `line` has the title, `end` is the line that closes it (None:
    nothing has yet)."""

    line: int
    title: str
    end: int | None = None


@dataclass(slots=True, eq=False)
class Outline:
    """What was found in the lines before `lines`. `errors` says how many lines have one, of which
    the first and the last are known by number."""

    lines: int = 0
    groups: list[Group] = field(default_factory=list)
    more_groups: bool = False
    errors: int = 0
    _first: list[int] = field(default_factory=list)
    _last: deque[int] = field(default_factory=lambda: deque(maxlen=MAX_ERRORS))

    def error_lines(self) -> list[int]:
        """The lines with errors that are known, in order."""
        return [*self._first, *self._last]

    def scan(self, block: bytes, lines: int) -> None:
        """Go through the next lines, whole ones as a log has them, `lines` in number."""
        text = strip_lines(block)
        if b"group" in text:
            for number, found in _numbered(_GROUP, text, self.lines):
                self._group(number, found)
        for number, _ in _numbered(_ERROR, text, self.lines):
            self.errors += 1
            if len(self._first) < MAX_ERRORS:
                self._first.append(number)
            else:
                self._last.append(number)
        self.lines += lines

    def _group(self, line: int, found: re2.Match) -> None:
        # There is one level of them: a group ends where the next one begins.
        if self.groups and self.groups[-1].end is None:
            self.groups[-1].end = line if found[1] else line - 1
        if found[1]:
            return
        if len(self.groups) == MAX_GROUPS:
            self.more_groups = True
            return
        self.groups.append(Group(line, found[2][:TITLE].decode("utf-8", "replace").strip()))


def _numbered(pattern: re2.Pattern, text: bytes, line: int) -> Iterator[tuple[int, re2.Match]]:
    """The first match in each line that has one, with the line's number."""
    at = counted = 0
    while at < len(text) and (found := pattern.search(text, at)):
        line += text.count(b"\n", counted, found.start())
        counted = found.start()
        yield line, found
        at = text.find(b"\n", found.start()) + 1 or len(text)


LOOK_BACK = 2000
"""Lines at the end of a log among which it is looked for."""

NEAR = 2
"""Lines with errors that are no further from each other are one place."""

AT_ONCE = 16
"""Lines that are gone through in one call, which other threads wait for."""

SAID = 200
"""Characters of a log's last words."""

_FRAME = re.compile(r"^[\s=_#*-]+|[\s=_#*-]+$")


@dataclass(frozen=True, slots=True)
class Failing:
    """A place in a vertex's log: lines `first` to `last`, from 0, and the log's last words."""

    row: int
    first: int
    last: int
    said: str


def failing(row: int, start: int, lines: Sequence[bytes]) -> Failing | None:
    """The first place that has an error among the last lines of a log, of which the first is number
    `start`; the last line that says something if none has. None for a log without a word.

    Lines may be long, and a stranger's: it is for a thread.
    """
    texts = [strip(line).strip() for line in lines[-50:]]
    spoken = [index for index, text in enumerate(texts) if text]
    if not spoken:
        return None
    last_word = len(lines) - len(texts) + spoken[-1]
    said = _FRAME.sub("", texts[spoken[-1]])[:SAID]
    outline = Outline()
    for at in range(0, len(lines), AT_ONCE):
        some = lines[at : at + AT_ONCE]
        outline.scan(b"".join(line + b"\n" for line in some), len(some))
    errors = outline.error_lines()
    if not errors:
        return Failing(row, start + last_word, start + last_word, said)
    first = last = errors[0]
    for line in errors[1:]:
        if line - last > NEAR:
            break
        last = line
    return Failing(row, start + first, start + last, said)
