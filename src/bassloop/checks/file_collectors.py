"""Collectors of the files that a runner sends with a run: artifacts, which are stored, and test reports.

Neither is trusted. Artifacts' paths are checked, and what is too large isn't kept. The run says what isn't kept, and
why. Reports have a limited size, too, and XML is parsed without entities, in a thread. Their test results are stored.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.failures import ReportError, read_report
from bassloop.store import Artifact, ReportedTest, StoreError, StoreFull
from bassloop.units import format_size, write_size
from bassloop.wire.conventions import (
    LIMITS_METADATA,
    MAX_ARTIFACT_PATH,
    MAX_ARTIFACTS,
    MAX_REPORT,
    MAX_REPORTS,
    MAX_REPORTS_SIZE,
    REPORT_PREFIX,
    artifact_path,
    problem_of_path,
)

if TYPE_CHECKING:
    from bassloop.checks.quotas import Quotas
    from bassloop.failures import Case
    from bassloop.store import ArtifactWriter, Run, Store
    from bassloop.wire import progrock_pb2


log = structlog.get_logger(__name__)

NOT_KEPT = "loop:artifact:"
"""The prefix of the digest of the loop's own step that says why an artifact isn't kept; the path follows."""

ENTRIES_AT_ONCE = 500
"""The number of steps or logs of one message that are processed between checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactQuotas:
    """The limits in bytes, and the retention in seconds."""

    one: int = 256 << 20
    run: int = 1 << 30
    repository: int = 10 << 30
    seconds: float = 30 * 86_400.0

    def metadata(self) -> dict[str, str]:
        """Return the limits for the runner, so that it sends no more."""
        return {LIMITS_METADATA: f"{self.one} {self.run}"}


@dataclass(eq=False)
class ArtifactCollector:
    """Stores the artifacts of one run.

    Args:
        problems: artifacts that aren't kept, by their paths, with the reasons.
    """

    store: Store
    run: Run
    limits: ArtifactQuotas
    quotas: Quotas
    problems: dict[str, str] = field(default_factory=dict)
    _open: dict[str, ArtifactWriter] = field(default_factory=dict)
    _kept: set[str] = field(default_factory=set)
    _size: int = 0

    async def take(self, update: progrock_pb2.StatusUpdate) -> None:
        """Store an update's parts of artifacts. Its logs are handled before the ends of its steps."""
        for number, log in enumerate(update.logs):
            if number % ENTRIES_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            if (path := artifact_path(log.vertex)) is not None:
                await self._append(path, log.data)
        for number, vertex in enumerate(update.vertexes):
            if number % ENTRIES_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            if (path := artifact_path(vertex.id)) is None:
                continue
            if vertex.HasField("error"):
                await self._drop(path, vertex.error)
            elif vertex.HasField("completed"):
                await self._finish(path)

    async def close(self) -> None:
        """Remove incomplete artifacts."""
        while self._open:
            _, writer = self._open.popitem()
            await writer.discard()

    async def _writer(self, path: str) -> ArtifactWriter | None:
        if path in self.problems or path in self._kept:
            return None
        if path not in self._open:
            if (why := problem_of_path(path)) is not None:
                await self._drop(path, why)
                return None
            if len(self._open) + len(self._kept) + len(self.problems) >= MAX_ARTIFACTS:
                await self._drop(path, f"a run may have {MAX_ARTIFACTS} artifacts")
                return None
            self._open[path] = self.store.artifacts.open(self.run.id)
        return self._open[path]

    async def _append(self, path: str, data: bytes) -> None:
        writer = await self._writer(path)
        if writer is None:
            return
        self._size += len(data)
        if writer.size + len(data) > self.limits.one:
            why = f"an artifact may have {write_size(self.limits.one)} (ARTIFACT_LIMIT)"
        elif self._size > self.limits.run:
            why = f"the artifacts of one run may have {write_size(self.limits.run)} (RUN_ARTIFACTS)"
        elif await self.quotas.disk_room(len(data)) < len(data):
            why = "the disk is full but for FREE_SPACE"
        else:
            try:
                await writer.write(data)
            except StoreError as error:
                why = _not_stored(path, error)
            else:
                return
        await self._drop(path, why)

    async def _finish(self, path: str) -> None:
        writer = await self._writer(path)
        if writer is None:
            return
        try:
            sha256 = await writer.finish()
            now = time.time()
            artifact = Artifact(
                self.run.id, path, writer.size, sha256, now, now + self.limits.seconds
            )
            used = await self.store.artifacts.put(artifact, self.limits.repository)
        except StoreError as error:
            await self._drop(path, _not_stored(path, error))
            return
        del self._open[path]
        if used is None:
            self._kept.add(path)
            return
        await self.store.artifacts.remove_file(self.run.id, sha256)
        await self._drop(
            path,
            f"the artifacts of {self.run.repository} have {format_size(used)}, and may have "
            f"{write_size(self.limits.repository)} (REPOSITORY_ARTIFACTS)",
        )

    async def _drop(self, path: str, why: str) -> None:
        writer = self._open.pop(path, None)
        if writer is not None:
            await writer.discard()
        if path not in self._kept and len(self.problems) < MAX_ARTIFACTS:
            self.problems.setdefault(path[:MAX_ARTIFACT_PATH], why)


def _not_stored(path: str, error: StoreError) -> str:
    """Return why an artifact couldn't be stored, for everybody. The operator's log has the details."""
    log.warning("artifact not stored", artifact=path, error=str(error))
    if isinstance(error, StoreFull):
        return "the loop's disk is full"
    return "the loop can't store it now"


def is_artifact(vertex: str) -> bool:
    """Return whether a runner's step represents an artifact."""
    return artifact_path(vertex) is not None


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

    def problems_to_report(self) -> dict[str, str]:
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
        if len(content) + len(data) > MAX_REPORT or self._size + len(data) > MAX_REPORTS_SIZE:
            self._drop(report, f"it is too large: {MAX_REPORT:,} bytes are read at most")
            return
        content += data
        self._size += len(data)

    def _drop(self, report: str, why: str) -> None:
        self._size -= len(self._open.pop(report, b""))
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
