"""A run's test reports: collected as its runner sends them, parsed, and stored as test results.

Reports aren't trusted. Their size is limited, and XML is parsed without entities, in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.failures import NOT_IN_LOG, Failure, Location, Rank, ReportError, read_report
from bassloop.store import ReportedTest
from bassloop.wire.conventions import MAX_REPORT, MAX_REPORTS, MAX_REPORTS_SIZE, REPORT_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.failures import Case
    from bassloop.store import Store
    from bassloop.wire import progrock_pb2


@dataclass(eq=False)
class ReportCollector:
    """Collects the reports of one run.

    Args:
        reading: limits the threads that parse reports, since they compete with the event loop.
        problems: the reasons why reports can't be read, by their paths; at "?", why there are none.
    """

    store: Store
    run_id: str
    reading: trio.CapacityLimiter
    problems: dict[str, str] = field(default_factory=dict)
    _open: dict[str, bytearray] = field(default_factory=dict)
    _read: int = 0
    _size: int = 0
    _has_any: bool = False

    def told_problems(self) -> dict[str, str]:
        """Return the problems to report. Each command looks for reports, so one that finds none may just be early."""
        return {
            path: why for path, why in self.problems.items() if path != "?" or not self._has_any
        }

    def take(self, update: progrock_pb2.StatusUpdate) -> list[str]:
        """Collect the parts of reports in an update, and return the ids of complete reports, each once."""
        for vertex in update.vertexes:
            if not is_report(vertex.id):
                continue
            self._has_any = self._has_any or report_path(vertex.id) != "?"
            if vertex.HasField("error"):
                self._drop(vertex.id, vertex.error)
        for log in update.logs:
            if is_report(log.vertex):
                self._append(log.vertex, log.data)
        complete = (
            each.id
            for each in update.vertexes
            if is_report(each.id) and each.HasField("completed") and each.id in self._open
        )
        return list(dict.fromkeys(complete))

    def _append(self, report: str, data: bytes) -> None:
        path = report_path(report)
        if path in self.problems:
            return
        if report not in self._open and len(self._open) + self._read >= MAX_REPORTS:
            self._drop(report, f"a run may have {MAX_REPORTS} reports")
            return
        content = self._open.setdefault(report, bytearray())
        self._size += len(data)
        if len(content) + len(data) > MAX_REPORT or self._size > MAX_REPORTS_SIZE:
            self._drop(report, f"it is too large: {MAX_REPORT:,} bytes are read at most")
            return
        content += data

    def _drop(self, report: str, why: str) -> None:
        self._open.pop(report, None)
        if len(self.problems) < MAX_REPORTS:
            self.problems.setdefault(report_path(report), why)

    async def read(self, report: str) -> None:
        """Parse a complete report and store its results, or note the problem."""
        content = bytes(self._open.pop(report))
        self._read += 1
        self._size -= len(content)
        try:
            tests = await trio.to_thread.run_sync(_read, content, limiter=self.reading)
        except ReportError as error:
            self._drop(report, str(error))
            return
        await self.store.tests.put(self.run_id, tests)


def is_report(vertex: str) -> bool:
    """Return whether a runner's step represents a report."""
    return vertex.startswith(REPORT_PREFIX)


def report_path(vertex: str) -> str:
    """Return the path of the report that a step represents."""
    return vertex.removeprefix(REPORT_PREFIX)[:200]


def _read(report: bytes) -> list[ReportedTest]:
    return [_reported(case) for case in read_report(report)]


def _reported(case: Case) -> ReportedTest:
    failure = case.failure
    place = failure.locations[0] if failure is not None and failure.locations else None
    return ReportedTest(
        name=case.name,
        outcome=case.outcome,
        seconds=case.seconds,
        message=failure.message if failure is not None else None,
        path=place.path if place is not None else None,
        line=place.line if place is not None else None,
    )


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
