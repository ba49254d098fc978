"""The logs of steps. Each is written by one task, and may be read by many at the same time."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.store.engine import Subject
from bassloop.store.errors import NotStored, StoreConflict, StoreError
from bassloop.store.logs import log_reader
from bassloop.store.logs.appender import LogAppender, repair_log
from bassloop.store.logs.log_files import LogFiles
from bassloop.store.logs.log_objects import GrowingSizes, find_log
from bassloop.store.logs.log_writer import LogWriter
from bassloop.store.logs.shipment import (
    Completion,
    list_local_logs,
    log_states,
    read_completion,
    remove_files,
    remove_leftovers,
)
from bassloop.store.records import LineGap, LineTime, LogExtent, LogPiece, LogText, Step
from bassloop.store.steps import LiveLog, Steps, close_log, open_log, open_logs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Mapping

    from bassloop.store.blobs import Blobs
    from bassloop.store.engine import Engine
    from bassloop.store.logs.log_files import LogParts
    from bassloop.store.logs.log_writer import LogQueue
    from bassloop.store.logs.shipment import Shipment
    from bassloop.store.logs.shipper import Shipper

_CHUNK = 256 * 1024


class Logs(Subject):
    """The logs in the store, each identified by its run's id and its step's row.

    Methods that read raise NotStored for an unknown step.
    """

    def __init__(
        self,
        engine: Engine,
        steps: Steps,
        live: dict[int, LiveLog],
        queue: LogQueue,
        blobs: Blobs,
        limit: int,
        shipper: Shipper | None,
        note_closed: Callable[[], None],
        may_write: Callable[[], bool],
    ) -> None:
        super().__init__(engine)
        self._steps = steps
        self._live = live
        self._queue = queue
        self._blobs = blobs
        self._limit = limit
        self._shipper = shipper
        self._note_closed = note_closed
        self._may_write = may_write

    async def open(self, run_id: str, row: int) -> LogWriter:
        """Begin the log of a step. The caller must close it.

        If the process ends before that, the log is marked as cut at the next start. Raises NotStored for an
        unknown step, and StoreConflict if it has a log.
        """
        files = LogFiles.of(self._blobs.folder, run_id, row)
        if not await self._engine.write(partial(open_log, run_id=run_id, row=row)):
            raise StoreConflict(f"step {row} of run {run_id} has a log already")
        appender = LogAppender(files, self._may_write)
        if self._shipper is None:
            log = LogWriter(self._queue, appender, self._limit, partial(self._close_row, row))
        else:
            log = self._open_shipped(self._shipper, run_id, row, files, appender)
        self._live[row] = log
        return log

    async def _close_row(self, row: int, log: LogWriter, cut: bool, patient: bool) -> None:
        close = partial(close_log, row=row, raw_bytes=log.raw_bytes, lines=log.lines, cut=cut)
        await self._engine.write(close, wait=patient)
        self._live.pop(row, None)
        self._note_closed()

    def _open_shipped(
        self, shipper: Shipper, run_id: str, row: int, files: LogFiles, appender: LogAppender
    ) -> LogWriter:
        shipment = shipper.begin(run_id, row, files)

        def written() -> None:
            sizes = GrowingSizes(
                appender.raw_bytes, appender.text_file_bytes, appender.pieces_file_bytes
            )
            shipper.note_written(shipment, sizes)

        async def closed(log: LogWriter, cut: bool, _: bool) -> None:
            await shipper.note_complete(shipment, Completion(log.raw_bytes, log.lines, cut))

        return LogWriter(self._queue, appender, self._limit, closed, written)

    def open_rows(self, steps: Mapping[int, object]) -> list[int]:
        """Return the rows of those of the steps whose logs are being written."""
        return [row for row in self._live if row in steps]

    def is_cut(self, step: Step) -> bool:
        """Return whether the end of a step's log is known to be lost, also if its row doesn't say so yet."""
        live = self._live.get(step.row)
        return live.complete and live.cut if isinstance(live, LogWriter) else step.log_cut

    async def extent(self, run_id: str, row: int) -> LogExtent:
        """Return the current size of a log."""
        live = self._live.get(row)
        if live is not None and not live.complete:
            await live.flush()
        step = await self._steps.get(run_id, row)
        if step is None:
            raise NotStored(f"run {run_id} has no step {row}")
        closed, cut = (True, step.log_cut) if live is None else (live.complete, live.cut)
        return LogExtent(step.raw_bytes, step.lines, closed, cut)

    async def lines(self, run_id: str, row: int, start: int, stop: int) -> list[bytes]:
        """Return the settled lines from `start` up to (not including) `stop`, from 0, without their newlines.

        Returns fewer at the end of the log, or after 4 MiB; then continue from there. An empty list means that
        line `start` doesn't exist yet. A line longer than 128 KiB is cut, and says so.
        """
        extent, log = await self._extent_and_log(run_id, row)
        return await trio.to_thread.run_sync(log_reader.read_lines, log, extent.lines, start, stop)

    async def scan(
        self,
        run_id: str,
        row: int,
        start: int,
        visit: Callable[[LogText], bool],
        threads: trio.CapacityLimiter,
        *,
        block_bytes: int = _CHUNK,
    ) -> None:
        """Call `visit` in a thread with the blocks of `blocks`, until it returns False or they end.

        Uses a thread for about 0.1 s at a time, so that others get a turn. A cancellation takes effect only
        between two turns.
        """
        extent, log = await self._extent_and_log(run_id, row)
        if start >= extent.lines:
            return
        position: log_reader.TextPosition | int | None = start
        while position is not None:
            position = await trio.to_thread.run_sync(
                log_reader.visit_blocks,
                log,
                extent.lines,
                position,
                block_bytes,
                visit,
                limiter=threads,
            )

    async def blocks(self, run_id: str, row: int, start: int = 0) -> AsyncGenerator[LogText]:
        """Yield the settled text from line `start` to its current end, for searching.

        Blocks are about 256 KiB of whole lines, with their escape sequences and line endings. A longer line is
        cut as in `lines`. Use it with `contextlib.aclosing`.
        """
        extent, log = await self._extent_and_log(run_id, row)
        if start >= extent.lines:
            return
        position = await trio.to_thread.run_sync(log_reader.find_position, log, extent.lines, start)
        while True:
            text, position = await trio.to_thread.run_sync(
                log_reader.read_block, log, extent.lines, position, _CHUNK
            )
            if not text.lines:
                return
            yield text

    async def times(
        self, run_id: str, row: int, start: int, stop: int, limit: int = 10_000
    ) -> list[LineTime]:
        """Return when lines `start` to `stop` were completed.

        Each entry applies to all lines before the next one. The first may be that of an earlier line.
        """
        _, log = await self._extent_and_log(run_id, row)
        return await trio.to_thread.run_sync(log_reader.read_times, log, start, stop, limit)

    async def gaps(self, run_id: str, row: int, seconds: float, limit: int = 1000) -> list[LineGap]:
        """Return the `limit` longest pauses of at least `seconds` in the output, in the order of lines."""
        _, log = await self._extent_and_log(run_id, row)
        return await trio.to_thread.run_sync(log_reader.read_gaps, log, seconds, limit)

    async def raw(self, run_id: str, row: int, offset: int = 0) -> AsyncGenerator[bytes]:
        """Yield the bytes as received, from `offset` to the current end of the log, 256 KiB at a time.

        Use it with `contextlib.aclosing`.
        """
        extent, log = await self._extent_and_log(run_id, row)
        while offset < extent.raw_bytes:
            size = min(_CHUNK, extent.raw_bytes - offset)
            chunk = await trio.to_thread.run_sync(log_reader.read_raw, log, offset, size)
            if not chunk:
                return
            offset += len(chunk)
            yield chunk

    async def pieces(self, run_id: str, row: int) -> AsyncGenerator[LogPiece]:
        """Yield the pieces of a log as received, with their times. Yields a long piece in parts.

        Use it with `contextlib.aclosing`.
        """
        _, log = await self._extent_and_log(run_id, row)
        position = log_reader.PiecePosition()
        while True:
            found, position = await trio.to_thread.run_sync(
                log_reader.read_pieces, log, position, _CHUNK
            )
            if not found:
                return
            for piece in found:
                yield piece

    async def repair(self, runs: Collection[str] | None = None) -> None:
        """Repair the logs that the previous daemon, or a lost node, left open, and mark them as cut.

        With a bucket, a log that was closed but not shipped isn't marked as cut, and a row is updated once the
        log is in the bucket. Raises StoreError.

        Args:
            runs: only the logs of these runs; None for all logs of this node, when it starts.
        """
        found = await self._engine.read(open_logs)
        if self._shipper is not None and runs is None:
            still_open = {(each.run_id, each.row) for each in found}
            await trio.to_thread.run_sync(_remove_shipped, self._blobs.folder, still_open)
        own = [each for each in found if each.node == self._engine.node]
        for run_id, row, _ in own:
            if row in self._live or not (runs is None or run_id in runs):
                continue
            files = LogFiles.of(self._blobs.folder, run_id, row)
            completion = await trio.to_thread.run_sync(_repair, files)
            if self._shipper is None:
                await self._engine.write(partial(close_log, row=row, **asdict(completion)))
            else:
                shipment = self._shipper.resume(run_id, row, files, completion)
                self._live[row] = WaitingLog(shipment)

    async def remove_leftovers(self, now: float) -> int:
        """Remove the files of logs that a lost node has left on this disk, and return how many logs they were of.

        Without a bucket, the files are the logs, and pruning removes them. Raises StoreError, and OSError if the
        bucket can't be read.

        Args:
            now: in seconds since the epoch.
        """
        if (bucket := self._blobs.bucket) is None:
            return 0
        found = await trio.to_thread.run_sync(list_local_logs, self._blobs.folder)
        states = await self._engine.read(partial(log_states, run_ids={log.run_id for log in found}))
        return await trio.to_thread.run_sync(remove_leftovers, bucket, found, states, now)

    async def note_shipped(self, shipment: Shipment, completion: Completion | None) -> None:
        """For the shipper: record that a log is complete in the bucket. Raises StoreError."""
        if completion is not None:
            await self._engine.write(partial(close_log, row=shipment.row, **asdict(completion)))
            self._note_closed()
        live = self._live.pop(shipment.row, None)
        if isinstance(live, WaitingLog):
            live.settled.set()

    async def wait_for_repaired(self, run_id: str) -> None:
        """Wait until the rows of a run's repaired logs say what is left of them.

        With a bucket, that takes as long as it can't be reached.
        """
        live = [each for each in self._live.values() if isinstance(each, WaitingLog)]
        for each in live:
            if each.shipment.run_id == run_id:
                await each.settled.wait()

    async def _extent_and_log(self, run_id: str, row: int) -> tuple[LogExtent, LogParts]:
        return await self.extent(run_id, row), find_log(self._blobs, run_id, row)


@dataclass(frozen=True)
class WaitingLog:
    """A log that an earlier daemon has written, and that isn't in the bucket yet.

    Args:
        settled: set once its row says what is left of it, or it can't be shipped.
    """

    shipment: Shipment
    complete: bool = True
    settled: trio.Event = field(default_factory=trio.Event)

    @property
    def raw_bytes(self) -> int:
        return self.shipment.completion.raw_bytes if self.shipment.completion else 0

    @property
    def lines(self) -> int:
        return self.shipment.completion.lines if self.shipment.completion else 0

    @property
    def cut(self) -> bool:
        return self.shipment.completion is None or self.shipment.completion.cut

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()


def _repair(files: LogFiles) -> Completion:
    """Repair a log, unless it was closed, and return its final size. Raises StoreError."""
    if (completion := read_completion(files)) is not None:
        return completion
    try:
        size = repair_log(files)
    except OSError as error:
        raise StoreError(f"the log {files.raw} cannot be repaired: {error}") from error
    return Completion(size.raw_bytes, size.lines, cut=True)


def _remove_shipped(folder: Path, still_open: set[tuple[str, int]]) -> None:
    """Remove the files of logs that were shipped and recorded just before the daemon ended.

    Other nodes that share the folder may do the same at the same time.
    """
    for parent, _, names in os.walk(folder / "logs"):
        for name in names:
            run_id, row = Path(parent).name, name.partition(".")[0]
            is_closed = name.endswith(".closed") and row.isdecimal()
            if is_closed and (run_id, int(row)) not in still_open:
                with suppress(OSError):
                    remove_files(LogFiles.of(folder, run_id, int(row)))
