"""Apply the rules to a log, in one pass and linear time, with a bounded number of findings.

Lines aren't trusted. They are truncated, the patterns are RE2's (which don't backtrack), and each rule has at most one
incomplete failure at a time.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import re2

from bassloop.failures.failure import (
    MAX_MESSAGE_LINES,
    Failure,
    Location,
    Rank,
    clean_line,
    is_library,
)
from bassloop.failures.json_documents import JSONDocuments
from bassloop.failures.rules import RULES
from bassloop.wire.conventions import WORK_FOLDER, as_in_project

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bassloop.failures.failure import Rule

MAX_FAILURES = 200
MAX_LOCATIONS = 20
MAX_LAST_LINES = 40
"""How many of a log's last lines are searched for the most informative one, if no rule matches any line."""

_TELLING = re2.compile(r"\pL{2}")
"""A line with a word, unlike carets, rulers, counters and percentages."""

_COMPLAINT = re2.compile(
    r"(?i)\b(?:error|errors|failed|fails|failure|fatal|panic|exception|abort|aborted|assert\w*|refused|denied|"
    r"invalid|illegal|missing|mismatch\w*|unable|unexpected|unknown|unsupported|undefined|"
    r"unresolved|expected|can(?:no|')t|could(?: not|n't)|does(?: not|n't)|"
    r"not (?:found|allowed|valid)|no such|timed out|differs?)\b"
)
_NO_COMPLAINT = re2.compile(
    r"(?i)\b(?:0|no) (?:errors?|failures?|failed)\b|\bfail(?:ed|ures?)?[:=] ?0\b"
)


class LogScan(NamedTuple):
    """The failures in a log, the most informative first.

    `has_unread_json` is true if failures may be missing, because the log has more JSON than is read.
    """

    failures: list[Failure]
    has_unread_json: bool = False


def find_failures(lines: Iterable[str], limit: int = MAX_FAILURES) -> list[Failure]:
    """Return the failures in a log, the most informative first. See `scan_log`."""
    return scan_log(lines, limit).failures


def scan_log(lines: Iterable[str], limit: int = MAX_FAILURES) -> LogScan:
    """Find the failures in a log.

    If no rule matches any line, the result is the last line that looks like an error, or otherwise the last line that
    has a word.

    Args:
        lines: without line ends and without colours.
        limit: the maximum number of failures. At most the first `MAX_FAILURES` of each rank are considered.
    """
    found = _Findings()
    documents = JSONDocuments()
    last: deque[tuple[int, str]] = deque(maxlen=MAX_LAST_LINES)
    for number, line in enumerate(lines):
        documents.feed(number, line)
        cleaned = clean_line(line)
        found.feed(number, cleaned)
        if cleaned:
            last.append((number, cleaned))
    found.close_all()
    closed = [
        each for each in found.closed if not documents.covers(each.failure.first, each.failure.last)
    ]
    failures = _without_echoes(_merge(_without_covered(closed)))
    failures += documents.failures_of_others({(each.tool, each.rank) for each in failures})
    if not failures and last:
        number, text = _most_telling(last)
        message = as_in_project(_spaced(text))
        failures = [Failure("log", Rank.CONSEQUENCE, message, None, (), number, number)]
    failures.sort(key=lambda failure: (-failure.rank, failure.first))
    return LogScan(failures[:limit], documents.is_cut)


def _most_telling(last: Sequence[tuple[int, str]]) -> tuple[int, str]:
    """Return the line that most likely says why a command failed, given its last lines with their numbers."""
    telling = [(number, line) for number, line in last if _TELLING.search(line)]
    complaints = [
        (number, line)
        for number, line in telling
        if _COMPLAINT.search(line) and not _NO_COMPLAINT.search(line)
    ]
    return (complaints or telling or last)[-1]


class _Compiled(NamedTuple):
    """A rule with its patterns compiled."""

    rule: Rule
    start: Any
    within: tuple[Any, ...]
    until: Any | None
    context: Any | None


@cache
def _compiled() -> tuple[Any, tuple[_Compiled, ...]]:
    """Return the set of all `start` patterns, for a single search, and the rules in the same order."""
    options = re2.Options()
    options.log_errors = False
    starts = re2.Set.SearchSet(options)
    rules = []
    for rule in RULES:
        starts.Add(rule.start)
        rules.append(
            _Compiled(
                rule,
                re2.compile(rule.start, options),
                tuple(re2.compile(pattern, options) for pattern in rule.within),
                re2.compile(rule.until, options) if rule.until else None,
                re2.compile(rule.context, options) if rule.context else None,
            )
        )
    starts.Compile()
    return starts, tuple(rules)


@dataclass(eq=False)
class _Open:
    """An incomplete failure, to which later lines may belong."""

    order: int
    rule: Rule
    first: int
    last: int
    tests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    locations: list[Location] = field(default_factory=list)
    path: str | None = None
    opened: int = field(default=-1)

    def __post_init__(self) -> None:
        if self.opened < 0:
            self.opened = self.first

    def add(self, number: int, groups: dict[str, str | None]) -> None:
        """Add the parts of a failure in a line."""
        self.last = number
        if test := groups.get("test"):
            self.tests.append(_spaced(test))
        if (message := groups.get("message")) and len(self.messages) < MAX_MESSAGE_LINES:
            self.messages.append(_spaced(message))
        if (detail := groups.get("detail")) and len(self.details) < MAX_MESSAGE_LINES:
            self.details.append(_spaced(detail))
        path, line = groups.get("path") or self.path, groups.get("line")
        if path and line:
            column = groups.get("column")
            where = Location(_plain(path), int(line), int(column) if column else None)
            if all(
                (where.path, where.line) != (other.path, other.line) for other in self.locations
            ):
                self.locations.append(where)
                # The first few and the last ones, because the ends of a long traceback are the most informative.
                if len(self.locations) > MAX_LOCATIONS:
                    del self.locations[MAX_LOCATIONS // 2]
        elif groups.get("path"):
            self.path = groups["path"]

    def failure(self) -> Failure | None:
        """Return the failure so far, or None if it lacks the part that its rule needs."""
        rule, messages = self.rule, self.messages or self.details
        if (rule.needs == "message" and not messages) or (
            rule.needs == "line" and not self.locations
        ):
            return None
        if rule.each and not messages:
            return None
        locations = list(self.locations)
        if rule.innermost_last:
            locations.reverse()
        locations.sort(key=lambda where: is_library(where.path))
        message = as_in_project("\n".join(messages))
        if not locations and self.path and not rule.each:
            message = f"{message}: {_plain(self.path)}" if message else _plain(self.path)
        test = " > ".join(self.tests) or None
        return Failure(rule.tool, rule.rank, message, test, tuple(locations), self.first, self.last)


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _plain(path: str) -> str:
    # Webpack's names of files begin with webpack://PACKAGE/./
    path = path.rpartition("/./")[2] if path.startswith("//") else path
    return path.removeprefix("file://").removeprefix(f"{WORK_FOLDER}/").removeprefix("./")


class _Closed(NamedTuple):
    failure: Failure
    order: int
    generic: bool
    supplement: bool


class _Findings:
    """The findings so far."""

    def __init__(self) -> None:
        self.closed: list[_Closed] = []
        self._found: Counter[Rank] = Counter()
        self._starts, self._rules = _compiled()
        self._open: dict[int, _Open] = {}
        self._contexts = {
            order: compiled.context
            for order, compiled in enumerate(self._rules)
            if compiled.context is not None
        }

    def feed(self, number: int, line: str) -> None:
        """Process the next line, cleaned."""
        for order in list(self._open):
            self._continue(order, number, line)
        for order, context in list(self._contexts.items()):
            if context.search(line):
                del self._contexts[order]
        for order in (self._starts.Match(line) or ()) if line else ():
            if order not in self._contexts:
                self._begin(order, number, line)

    def close_all(self) -> None:
        """Complete all failures at the end of the log."""
        for order in list(self._open):
            self._close(order)

    def _begin(self, order: int, number: int, line: str) -> None:
        compiled = self._rules[order]
        if order in self._open:
            self._close(order)
        found = self._open[order] = _Open(order, compiled.rule, number, number)
        found.add(number, compiled.start.search(line).groupdict())
        if not compiled.rule.lines:
            self._close(order)

    def _continue(self, order: int, number: int, line: str) -> None:
        compiled, found = self._rules[order], self._open[order]
        rule = compiled.rule
        if number - found.opened > rule.lines or (compiled.until and compiled.until.search(line)):
            self._close(order)
            return
        for pattern in compiled.within:
            if match := pattern.search(line):
                groups = match.groupdict()
                found.add(number, groups)
                if rule.each:
                    found.first = number
                    self._emit(found)
                    self._open[order] = _Open(
                        order, rule, number, number, opened=found.opened, path=found.path
                    )
                elif rule.ends and groups.get(rule.ends):
                    self._close(order)
                return

    def _close(self, order: int) -> None:
        self._emit(self._open.pop(order))

    def _emit(self, found: _Open) -> None:
        failure = found.failure()
        # Counted by rank, so that many messages don't keep the test that failed after them from being found.
        if failure is not None and self._found[failure.rank] < MAX_FAILURES:
            self._found[failure.rank] += 1
            rule = found.rule
            self.closed.append(_Closed(failure, found.order, rule.generic, rule.supplement))


def _without_covered(found: list[_Closed]) -> list[_Closed]:
    """Leave out failures within one that explains more, since a line belongs to only one of them."""

    def weight(closed: _Closed) -> tuple[int, int, int]:
        failure = closed.failure
        return -failure.rank, failure.first - failure.last, closed.order

    known = {closed.failure.first for closed in found if not closed.generic}
    kept: list[_Closed] = []
    for closed in sorted(found, key=weight):
        if closed.generic and closed.failure.first in known:
            continue
        failure = closed.failure
        if not any(
            other.failure.first <= failure.last <= other.failure.last
            and other.failure.first <= failure.first
            and other.order != closed.order
            and not other.supplement
            for other in kept
        ):
            kept.append(closed)
    return kept


def _merge(found: list[_Closed]) -> list[Failure]:
    """Merge failures of the same test, so that each is listed once."""
    merged: dict[object, Failure] = {}
    supplements: dict[object, Failure] = {}
    for failure, *_, supplement in sorted(found, key=lambda closed: closed.failure.first):
        key: object = (
            _test_key(failure.test) if failure.test else (failure.message, failure.locations)
        )
        if supplement:
            supplements.setdefault(key, failure)
        elif (before := merged.get(key)) is None:
            merged[key] = failure
        else:
            merged[key] = _joined(before, failure)
    for key, failure in supplements.items():
        if key in merged:
            merged[key] = _joined(merged[key], failure)
    return _placed(list(_without_parents(merged.values())))


def _placed(failures: list[Failure]) -> list[Failure]:
    """Give each test without a location that of an error with the same message, and leave out that error."""
    errors = {
        (failure.tool, failure.message): failure
        for failure in failures
        if failure.rank == Rank.ERROR and failure.locations
    }
    used: set[Failure] = set()
    placed = []
    for failure in failures:
        error = errors.get((failure.tool, failure.headline)) if failure.test else None
        if error is not None:
            used.add(error)
        if error is None or failure.locations:
            placed.append(failure)
        else:
            placed.append(replace(failure, locations=error.locations))
    return [failure for failure in placed if failure not in used]


def _without_echoes(failures: list[Failure]) -> list[Failure]:
    """Leave out messages without a location that repeat a part of a failure that has one."""
    placed = [failure.message for failure in failures if failure.rank > Rank.MESSAGE]
    return [
        failure
        for failure in failures
        if failure.rank != Rank.MESSAGE or not any(failure.message in other for other in placed)
    ]


def _test_key(test: str) -> str:
    """Return a test's name in a form that is the same in all output of a tool."""
    return test.replace("::", ".").replace(" ", "")


def _joined(one: Failure, other: Failure) -> Failure:
    more, less = (one, other) if one.message else (other, one)
    return Failure(
        more.tool,
        max(one.rank, other.rank),
        more.message,
        more.test,
        more.locations or less.locations,
        more.first,
        more.last,
    )


def _without_parents(failures: Iterable[Failure]) -> Iterator[Failure]:
    """Leave out tests that failed only because a test within them did."""
    failures = list(failures)
    told = {failure.test for failure in failures if failure.test and failure.message}
    for failure in failures:
        inner = f"{failure.test}/"
        if failure.message or not failure.test or not any(test.startswith(inner) for test in told):
            yield failure
