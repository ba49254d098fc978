"""The reason why a run did not succeed: the step that failed, and the findings in its log."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import trio

from bassloop.concurrency import TTLCache
from bassloop.failures import NOT_IN_LOG, Failure, Location, Rank, scan_log
from bassloop.lifecycle import RunState
from bassloop.terminal import one_line, plain, strip
from bassloop.wire.conventions import as_in_project

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bassloop.store import ReportedTest, Run, Step, Store


MAX_NAMED = 5
"""How many failures are named where there is little room."""

SEARCHED_LINES = 2000
"""How many lines at the end of a log are searched for failures."""

EXCERPT_LINES = 40
"""The maximum number of lines that show a failure."""

MIN_EXCERPT_LINES = 10
"""The minimum number of lines that show a failure: its own, then lines after it, then lines before it."""

LINES_AROUND = 2
"""The number of lines of context before and after a failure."""

SIGNALS = {
    124: "a time limit was over, such as that of timeout",
    126: "the command can't be executed",
    127: "the command was not found",
    132: "illegal instruction, SIGILL",
    134: "aborted, SIGABRT",
    135: "bus error, SIGBUS",
    136: "arithmetic error, SIGFPE",
    137: "killed, SIGKILL: out of memory, perhaps",
    139: "segmentation fault, SIGSEGV",
    143: "ended by somebody, SIGTERM",
}
"""The meanings of a shell's exit statuses."""

MAX_EXCERPT_LINE = 2_000
MAX_TESTS = 200
"""How many failed tests of reports are listed."""

MAX_CACHED = 256


def failing_step(steps: Sequence[Step]) -> Step | None:
    """Return the step that made a run fail: the first one with an error, all of whose inputs succeeded."""
    failed = {step.digest: step for step in steps if step.error}
    for step in failed.values():
        if not any(name in failed for name in step.inputs if name != step.digest):
            return step
    return next(iter(failed.values()), None)


def unfinished_step(steps: Sequence[Step]) -> Step | None:
    """Return the step at which a run was stopped: the last one that started and hasn't completed."""
    for step in reversed(steps):
        if step.started_at is not None and (step.completed_at is None or step.cancelled):
            return step
    return None


@dataclass(frozen=True, slots=True)
class LogFailures:
    """The failures found in a step's log, with line numbers.

    Args:
        failures: the most informative first; none if the log has no text.
        key_lines: the lines of the first failure that hold its message or location.
        has_unread_json: whether failures may be missing, because the log has more JSON than is read.
    """

    failures: tuple[Failure, ...] = ()
    key_lines: frozenset[int] = frozenset()
    has_unread_json: bool = False


LogFailureCache = TTLCache[tuple[int, int], LogFailures]
"""A cache of failures, by the step's row and the log's number of lines."""


def log_failure_cache() -> LogFailureCache:
    """Return an empty cache."""
    return TTLCache(MAX_CACHED)


@dataclass(frozen=True, slots=True)
class RunFailure:
    """The reason why a run did not succeed.

    Args:
        reason: the run's message, or the step's error.
        step: the step that failed or was stopped, if any.
        failures: the most informative first.
        key_lines: the log's lines that hold the first failure's message or location.
        has_unread_json: whether failures may be missing, because the log has more JSON than is read.
    """

    reason: str
    step: Step | None
    failures: tuple[Failure, ...] = ()
    key_lines: frozenset[int] = frozenset()
    has_unread_json: bool = False

    @property
    def title(self) -> str:
        """The failure in one line: from the log, or else the reason."""
        first = self.failures[0] if self.failures else None
        reason = self.reason.partition("\n")[0]
        if first is not None and (first.rank > Rank.CONSEQUENCE or not reason):
            return plain(first.title)
        return reason

    @property
    def note(self) -> str:
        """Why failures may be missing; "" if all of the log was read."""
        why = "There may be more failures: the log has more JSON than is read."
        return why if self.has_unread_json else ""

    @property
    def shown(self) -> Failure | None:
        """The first failure in the log, whose lines are shown."""
        return next((each for each in self.failures if each.in_log), None)

    @property
    def lines(self) -> tuple[int, int] | None:
        """The range of the log's lines to show: those of the first failure, or a stopped step's last ones."""
        if self.step is None or not self.step.lines:
            return None
        if self.shown is not None:
            return excerpt_range(self.shown, self.step.lines, self.key_lines)
        return max(0, self.step.lines - MIN_EXCERPT_LINES), self.step.lines

    def json(self, links: Mapping[Location, str] | None = None) -> dict[str, Any]:
        """Return the first failures as JSON, with lines numbered from 0.

        Args:
            links: addresses of source lines.
        """
        links = links or {}
        named = self.failures[:MAX_NAMED]
        return {
            "reason": self.reason,
            "vertex": self.step.row if self.step else None,
            "failures": [_failure_json(failure, links) for failure in named],
            "more": len(self.failures) - len(named),
            "note": self.note or None,
        }


def _failure_json(failure: Failure, links: Mapping[Location, str]) -> dict[str, Any]:
    return {
        "tool": failure.tool,
        "test": failure.test,
        "message": failure.message,
        "locations": [
            {
                "path": each.path,
                "line": each.line,
                "column": each.column,
                "url": links.get(each),
            }
            for each in failure.locations
        ],
        "first": failure.first if failure.in_log else None,
        "last": failure.last if failure.in_log else None,
    }


async def find_run_failure(
    store: Store, run: Run, steps: Sequence[Step], cache: LogFailureCache | None = None
) -> RunFailure | None:
    """Return the failure of a run that ended without success, or of one of its steps; otherwise None."""
    culprit = failing_step(steps)
    reason = failure_reason(run, culprit)
    if culprit is None or run.state == RunState.SUCCEEDED:
        return RunFailure(reason, unfinished_step(steps) if run.ended else None) if reason else None
    found = await _log_failures(store, run.id, culprit, cache)
    telling = tuple(failure for failure in found.failures if failure.rank > Rank.CONSEQUENCE)
    failed = await store.tests.of_run(run.id, "failed", MAX_TESTS)
    failures = with_reported(telling, failed) or found.failures[:1]
    return RunFailure(reason, culprit, failures, found.key_lines, found.has_unread_json)


def failure_reason(run: Run, culprit: Step | None) -> str:
    """Return why a run failed: its message, or the error of the step that failed; "" if nothing has failed."""
    if run.state == RunState.SUCCEEDED:
        return ""
    message = None if run.state in (RunState.QUEUED, RunState.RUNNING) else run.message
    return one_line(message or (culprit.error if culprit else None) or "")


def analyze_log(start: int, lines: Sequence[bytes]) -> LogFailures:
    """Find the failures in a log's last lines, which begin at line `start`. Slow: use a thread."""
    texts = [strip(line) for line in lines]
    failures, has_unread_json = scan_log(texts)
    if not failures:
        return LogFailures()
    first = failures[0]
    needles = {" ".join(text.split()) for text in first.message.split("\n") if text.strip()}
    needles |= {str(location) for location in first.locations[:1]}
    key_lines = frozenset(
        start + number
        for number in range(first.first, first.last + 1)
        if any(needle in " ".join(as_in_project(texts[number]).split()) for needle in needles)
    )
    moved = tuple(
        replace(failure, first=start + failure.first, last=start + failure.last)
        for failure in failures
    )
    return LogFailures(moved, key_lines or frozenset({moved[0].first}), has_unread_json)


def excerpt_range(failure: Failure, total: int, key_lines: Collection[int] = ()) -> tuple[int, int]:
    """Return the range of lines that show a failure, in a log with so many lines.

    Of a long failure, these are the lines around its last key lines. If it has none, they are its end,
    where most tools say what is wrong.
    """
    stop = min(total, failure.last + 1 + LINES_AROUND)
    start = max(0, failure.first - LINES_AROUND)
    if stop - start > EXCERPT_LINES:
        within = sorted(line for line in key_lines if failure.first <= line <= failure.last)
        shown = [line for line in within if line > within[-1] - EXCERPT_LINES + LINES_AROUND]
        if shown:
            spare = EXCERPT_LINES - (shown[-1] + 1 - shown[0])
            stop = min(stop, shown[-1] + 1 + max(LINES_AROUND, spare // 2))
        start = max(start, stop - EXCERPT_LINES)
        stop = min(total, start + EXCERPT_LINES)
    stop = max(stop, min(total, start + MIN_EXCERPT_LINES))
    return max(0, min(start, stop - MIN_EXCERPT_LINES)), stop


def signal_meaning(reason: str) -> str:
    """Return the meaning of the exit status at the end of a reason, or "" if there is none."""
    status = re.search(r"\bexit status (\d+)$", reason)
    return SIGNALS.get(int(status[1]), "") if status is not None else ""


async def failure_json(
    store: Store, run_id: str, found: RunFailure, links: Mapping[Location, str] | None = None
) -> dict[str, Any]:
    """Return failures as JSON, with the lines that show the first one, as plain text."""
    result = found.json(links)
    if found.step is not None and found.lines is not None:
        start, stop = found.lines
        lines = await store.logs.lines(run_id, found.step.row, start, stop)
        texts = [as_in_project(strip(line))[:MAX_EXCERPT_LINE] for line in lines]
        result["excerpt"] = {"start": start, "lines": texts}
    return result


async def _log_failures(
    store: Store, run_id: str, step: Step, cache: LogFailureCache | None
) -> LogFailures:
    """Find the failures at the end of a step's log. They are cached until the log grows."""
    key = step.row, step.lines
    cached = cache.get(key) if cache is not None else None
    if cached is not None:
        return cached
    start, lines = await read_log_end(store, run_id, step, SEARCHED_LINES)
    found = await trio.to_thread.run_sync(analyze_log, start, lines)
    if cache is not None:
        cache.store(key, found)
    return found


async def read_log_end(
    store: Store, run_id: str, step: Step, count: int
) -> tuple[int, Sequence[bytes]]:
    """Return the number of the first of a log's last `count` lines, and these lines.

    If lines are very long, the store returns fewer than asked for. Then the search moves to later ones.
    """
    start = max(0, step.lines - count)
    lines = await store.logs.lines(run_id, step.row, start, step.lines)
    while lines and start + len(lines) < step.lines:
        start = (start + step.lines + 1) // 2
        lines = await store.logs.lines(run_id, step.row, start, step.lines)
    return start, lines


def with_reported(
    failures: Sequence[Failure], tests: Sequence[ReportedTest]
) -> tuple[Failure, ...]:
    """Merge a log's failures with those of reports. A test in both is listed once, with its lines in the log."""
    rest = {test.name: test for test in tests}
    merged = []
    for failure in failures:
        known = next((test for test in rest.values() if _is_same(failure.test, test.name)), None)
        if known is not None:
            del rest[known.name]
            failure = _completed(failure, known)
        merged.append(failure)
    merged += [_failure(test) for test in rest.values()]
    # Sorting is stable, so the log's failures come first, in their order.
    return tuple(sorted(merged, key=lambda failure: -failure.rank))


def _is_same(in_log: str | None, reported: str) -> bool:
    if in_log is None:
        return False
    one, other = _key(in_log), _key(reported)
    return one == other or other.endswith(f".{one}") or one.endswith(f".{other}")


def _key(test: str) -> str:
    return test.replace("::", ".").replace(" > ", ".").replace("/", ".").replace(" ", "")


def _completed(failure: Failure, test: ReportedTest) -> Failure:
    return Failure(
        failure.tool,
        failure.rank,
        failure.message or test.message or "",
        failure.test,
        failure.locations or _places(test),
        failure.first,
        failure.last,
    )


def _failure(test: ReportedTest) -> Failure:
    return Failure(
        "report", Rank.TEST, test.message or "", test.name, _places(test), NOT_IN_LOG, NOT_IN_LOG
    )


def _places(test: ReportedTest) -> tuple[Location, ...]:
    return (Location(test.path, test.line),) if test.path and test.line else ()
