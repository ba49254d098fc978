"""The recorder: stores a runner's progress as steps, edges and logs, and notifies followers.

Runners aren't trusted. Ids and names are plain data, truncated to a length, and a log belongs to the row that the
store gave its step. Anything beyond the run's quota is dropped or slowed down, and the run says so.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import trio

from bassloop.checks.check_output import HOOK
from bassloop.checks.file_collectors import (
    ENTRIES_AT_ONCE,
    NOT_KEPT,
    ArtifactCollector,
    ReportCollector,
    is_artifact,
    is_report,
)
from bassloop.checks.quotas import Quotas, RunQuota
from bassloop.concurrency import shielded
from bassloop.store import LogWriter, Step, StepUpdate, Store, text_size
from bassloop.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator

    from google.protobuf.timestamp_pb2 import Timestamp

    from bassloop.checks.live_runs import LiveRuns
    from bassloop.wire import progrock_pb2

T = TypeVar("T")

PIECE_BYTES = 16 << 10
"""The maximum size, in bytes, of the pieces of a log that go through the terminal between checkpoints."""
LEAST_PIECE_BYTES = 1 << 10
"""The minimum size. Pieces become smaller if one takes longer than `PIECE_SECONDS`."""
PIECE_SECONDS = 0.005
YEAR = 366 * 86_400.0
MAX_NAME = 4_096
MAX_INPUTS = 1_000
STEP_TEXT = 8 << 20
"""The limit on the ids, names, errors and inputs of a run's steps, in characters, since they are kept in memory."""
CUT_ERROR = 200
"""How many characters of a step's error are kept even beyond that limit."""
MAX_NOTED = 3
"""How many artifacts that aren't kept a run's message names."""
RESERVED = (HOOK, "loop:", "[hook]", "[loop]")
"""The prefix for ids and names of the loop's own steps."""
CLOSE_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class _OpenLog:
    """The log of one step while it is being written."""

    writer: LogWriter
    terminal: Terminal
    row: int
    piece: int = LEAST_PIECE_BYTES
    is_cut: bool = False


@dataclass(eq=False)
class Recorder:
    """Records one run. Made by :func:`recording`, which closes its logs.

    Args:
        overflowed: whether steps were dropped because there were too many.
        text_overflowed: whether steps or their errors were dropped because they had too much text.
    """

    store: Store
    live_runs: LiveRuns
    run_id: str
    quota: RunQuota
    artifacts: ArtifactCollector | None = None
    overflowed: bool = False
    text_overflowed: bool = False
    _steps: dict[str, Step] = field(default_factory=dict)
    _logs: dict[str, _OpenLog] = field(default_factory=dict)
    _stuck_before: float = field(init=False)
    _text_left: int = field(init=False)
    _reports: ReportCollector = field(init=False)

    def __post_init__(self) -> None:
        self._reports = ReportCollector(self.store, self.run_id, self.quota.quotas.reading)
        self._text_left = STEP_TEXT
        self._stuck_before = self.store.statistics().stuck_seconds

    def steps(self) -> list[Step]:
        """Return the steps recorded so far, in order of appearance."""
        return sorted(self._steps.values(), key=lambda step: step.position)

    async def record(self, update: progrock_pb2.StatusUpdate) -> None:
        """Store one update, then wake followers.

        Returns when it is stored, so that a slow disk slows down the runner, and when the run may send another one.
        If cancelled, a prefix of the update is stored.
        """
        for report in self._reports.take(update):
            await self._reports.read(report)
        if self.artifacts is not None:
            await self.artifacts.take(update)
        for vertexes in _batched(update.vertexes, ENTRIES_AT_ONCE):
            await self._put([_step_update(each) for each in vertexes if _is_shown(each.id)])
            await trio.lowlevel.checkpoint()
        for logs in _batched(update.logs, ENTRIES_AT_ONCE):
            for log in logs:
                if _is_shown(log.vertex):
                    await self._append_update(log)
            await trio.lowlevel.checkpoint()
        self.live_runs.publish(self.run_id)
        await self.quota.pace()

    def notes(self) -> list[str]:
        """Return sentences that say what isn't kept of the run, and why."""
        notes = []
        if self.overflowed:
            notes.append(f"more than {self.quota.steps:,} steps (RUN_STEPS); the rest is not kept")
        if self.text_overflowed:
            notes.append(
                f"the steps have more than {STEP_TEXT:,} characters of names, errors and inputs; the rest is not kept"
            )
        if self.quota.exceeded is not None:
            notes.append(f"{self.quota.exceeded}; the rest of the logs is not kept")
        if full := sum(log.writer.full for log in self._logs.values()):
            notes.append(f"{full} of the logs reached LOG_LIMIT; the rest is not kept")
        lost = [(path, why) for path, why in self._unkept() if path != "?"]
        notes += (_not_kept(path, why) for path, why in lost[:MAX_NOTED])
        if len(lost) > MAX_NOTED:
            notes.append(f"nor are {len(lost) - MAX_NOTED} other artifacts")
        return notes

    def _unkept(self) -> Iterable[tuple[str, str]]:
        """Return which artifacts aren't kept, by path, and why. Problems of no particular file have the path ``?``."""
        return self.artifacts.problems.items() if self.artifacts is not None else ()

    async def add_step(
        self, digest: str, name: str, text: str, *, error: str | None = None
    ) -> None:
        """Add a completed step of the loop's own, with a log. It doesn't count towards the run's limits.

        Otherwise, a run with too many steps couldn't say what isn't kept of it.
        """
        now = time.time()
        digest, name = _text(digest), _text(name)
        update = StepUpdate(digest=digest, name=name, started_at=now, completed_at=now, error=error)
        self._steps.update(await self.store.steps.put(self.run_id, [update]))
        if text:
            await self._append(digest, text.encode(errors="replace"), 2, now)
        self.live_runs.publish(self.run_id)

    async def settle(self) -> None:
        """Write all buffered logs, and close them, waiting for as long as the store can't be written.

        If cancelled, `_close` closes the others.
        """
        for path, why in self._reports.problems_to_report().items():
            what = (
                "test reports are missing"
                if path == "?"
                else f"the test report {path} can't be read"
            )
            name = f"[loop] {what}: {why}"
            await self.add_step(f"loop:report:{path}", name, "")
        for path, why in self._unkept():
            await self.add_step(f"{NOT_KEPT}{path}", f"[loop] {_not_kept(path, why)}", "")
        await self._settle_screens()
        for log in self._logs.values():
            await log.writer.flush(patient=True)
        if seconds := round(self.store.statistics().stuck_seconds - self._stuck_before):
            name = (
                f"[loop] the disk was full for {seconds} s: the commands waited, and no log is lost"
            )
            await self.add_step("loop:full", name, "")
        if (slowed := self.quota.slowed) is not None:
            await self.add_step("loop:slowed", f"[loop] {slowed}", "")
        for log in self._logs.values():
            await log.writer.close(patient=True)

    async def _settle_screens(self) -> None:
        for log in self._logs.values():
            await log.writer.append(b"", log.terminal.settle_rest(), 1, time.time())

    async def _put(self, updates: list[StepUpdate]) -> None:
        kept: dict[str, StepUpdate] = {}
        for update in updates:
            known = self._steps.get(update.digest)
            if known is None and len(self._steps) + len(kept) >= self.quota.steps:
                self.overflowed = True
            elif (within := self._within_text(update, known)) is not None:
                kept[update.digest] = _merged(kept.get(update.digest), within)
        if kept:
            self._steps.update(await self.store.steps.put(self.run_id, list(kept.values())))

    def _within_text(self, update: StepUpdate, known: Step | None) -> StepUpdate | None:
        """Return the part of an update that is kept if the run's steps have too much text, or None."""
        size = text_size(update)
        if known is not None:
            inputs = () if update.inputs else known.inputs  # the store keeps them
            size += sum(map(len, inputs)) - text_size(known)
        if size <= self._text_left:
            self._text_left -= size
            return update
        self.text_overflowed = True
        if known is None:
            return None
        error = update.error[:CUT_ERROR] if update.error is not None else None
        return replace(update, name=known.name, error=error, inputs=())

    async def _append_update(self, log: progrock_pb2.VertexLog) -> None:
        digest = _runners_text(log.vertex)
        if digest not in self._steps:
            await self._put([StepUpdate(digest=digest, name=digest)])
        at = _plausible(log.timestamp) if log.HasField("timestamp") else time.time()
        await self._append(digest, log.data, int(log.stream), at)

    async def _append(self, digest: str, data: bytes, stream: int, at: float) -> None:
        log = await self._open_log(digest)
        if log is None:
            return
        at_byte = 0
        while at_byte < len(data) and not log.writer.full and not log.is_cut:
            piece = data[at_byte : at_byte + log.piece]
            at_byte += len(piece)
            piece = piece[: await self.quota.take(len(piece))]
            if self.quota.exceeded is not None:
                log.is_cut = True
                piece += _notice(self.quota.exceeded)
            with self.quota.budget.charged(len(piece)) as cost:
                # No more than the quota allows, so that no complete line is lost at the limit.
                settled = log.terminal.settle(piece[: log.writer.room])
            await self.quota.wait_for_budget()
            log.piece = next_piece(log.piece, cost.seconds)
            await log.writer.append(piece, settled, stream, at)

    async def _open_log(self, digest: str) -> _OpenLog | None:
        log = self._logs.get(digest)
        if log is None and (step := self._steps.get(digest)) is not None:
            writer = await self.store.logs.open(self.run_id, step.row)
            log = self._logs[digest] = _OpenLog(writer, Terminal(), step.row)
            self.live_runs.lend_screen(step.row, log.terminal)
        return log

    async def _close(self) -> None:
        """Write what is still on the screens, and close the logs."""
        async with AsyncExitStack() as stack:
            if self.artifacts is not None:
                stack.push_async_callback(self.artifacts.close)
            stack.callback(self.live_runs.publish, self.run_id)
            for log in self._logs.values():
                stack.callback(self.live_runs.lend_screen, log.row, None)
                stack.push_async_callback(log.writer.close)
            for log in self._logs.values():
                log.writer.append_rest(log.terminal.settle_rest(), time.time())


@asynccontextmanager
async def recording(
    store: Store,
    live_runs: LiveRuns,
    run_id: str,
    quota: RunQuota | None = None,
    artifacts: ArtifactCollector | None = None,
) -> AsyncGenerator[Recorder]:
    """Record a run. On exit, even if cancelled, its logs have all that was recorded, and are closed.

    The exit waits while the disk is full, or the database is locked or out of reach. Cancelled, it doesn't, and takes
    as long as `LogWriter.close` for each log. A log that can't be closed then is marked as cut at the next start.

    Args:
        quota: the run's limits; None for those of a run alone.
        artifacts: stores artifacts; None to drop them.
    """
    recorder = Recorder(store, live_runs, run_id, quota or RunQuota(Quotas()), artifacts)
    try:
        yield recorder
        await recorder.settle()
    finally:
        with shielded(CLOSE_SECONDS):
            await recorder._close()


def _not_kept(path: str, why: str) -> str:
    what = "artifacts are missing" if path == "?" else f"the artifact {path} is not kept"
    return f"{what}: {why}"


def _is_shown(vertex: str) -> bool:
    """Return whether a runner's step is a real one, and not a file that is sent as one."""
    return not is_report(vertex) and not is_artifact(vertex)


def _batched(entries: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the entries in lists of limited length."""
    entries = iter(entries)
    while batch := list(islice(entries, size)):
        yield batch


def next_piece(size: int, seconds: float) -> int:
    """Return the size of a log's next piece, given how long one of this size took."""
    if seconds > PIECE_SECONDS:
        return max(size // 2, LEAST_PIECE_BYTES)
    return min(size * 2, PIECE_BYTES) if seconds < PIECE_SECONDS / 4 else size


def _notice(why: str) -> bytes:
    return f"\n[bassloop: {why}; what came after is not kept, the command runs on]\n".encode()


def _step_update(vertex: progrock_pb2.Vertex) -> StepUpdate:
    return StepUpdate(
        digest=_runners_text(vertex.id),
        name=_runners_text(vertex.name),
        started_at=_plausible(vertex.started) if vertex.HasField("started") else None,
        completed_at=_plausible(vertex.completed) if vertex.HasField("completed") else None,
        cached=vertex.cached,
        error=_runners_text(vertex.error) if vertex.HasField("error") else None,
        cancelled=vertex.canceled,
        internal=vertex.internal,
        inputs=tuple(_runners_text(name) for name in vertex.inputs[:MAX_INPUTS]),
    )


def _merged(before: StepUpdate | None, update: StepUpdate) -> StepUpdate:
    """Return one update for two of the same step in a message, as the store would merge them."""
    if before is None:
        return update
    return replace(
        update,
        started_at=before.started_at if update.started_at is None else update.started_at,
        completed_at=before.completed_at if update.completed_at is None else update.completed_at,
        inputs=update.inputs or before.inputs,
    )


def _runners_text(text: str) -> str:
    """Return an id or a name from a runner: truncated, without NUL, and unlike those of the loop's own steps."""
    text = _text(text)
    return f"runner's {text}"[:MAX_NAME] if text.startswith(RESERVED) else text


def _text(text: str) -> str:
    """Return an id or a name, truncated and without NUL, which PostgreSQL can't store."""
    return text[:MAX_NAME].replace("\0", "\ufffd")


def _plausible(at: Timestamp) -> float:
    """Return a runner's time in seconds since the epoch; the current time if its clock is off by more than a year."""
    seconds, now = at.seconds + at.nanos / 1e9, time.time()
    return seconds if abs(seconds - now) < YEAR else now
