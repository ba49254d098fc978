"""Logs of steps: written by one, read by many while they grow."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import trio

from bassloop.store import steps
from bassloop.store.errors import NotStored, StoreConflict, StoreError
from bassloop.store.logs import gaps, source
from bassloop.store.logs.formats import LogFiles
from bassloop.store.logs.sink import LogSink, repair
from bassloop.store.logs.writer import LogWriter
from bassloop.store.model import LineGap, LineTime, LogExtent, LogText
from bassloop.store.operations.steps import StepOperations

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

TEXT_SIZE = 1024 * 1024
"""Bytes of text that `Store.log_text` aims at."""

_RAW_CHUNK = 256 * 1024
_BLOCK = 256 * 1024


class LogOperations(StepOperations):
    async def open_log(self, run_id: str, step_row: int) -> LogWriter:
        """Begin the log of a step. Close it; one that is not, because the process ended, is
        marked as cut at the next start. NotStored for an unknown step, StoreConflict if it has a
        log."""
        files = LogFiles.of(self._blobs, run_id, step_row)
        if not await self._writer.write(lambda db: steps.open_log(db, run_id, step_row)):
            raise StoreConflict(f"step {step_row} of run {run_id} has a log already")

        async def closed(log: LogWriter, cut: bool) -> None:
            await self._writer.write(
                lambda db: steps.close_log(db, step_row, log.raw_bytes, log.lines, cut),
                wait=False,
            )
            self._live.pop(step_row, None)

        log = LogWriter(self._logs, LogSink(files), self._log_limit, closed)
        self._live[step_row] = log
        return log

    async def log_extent(self, run_id: str, step_row: int) -> LogExtent:
        """How long the log is now. NotStored for an unknown step."""
        live = self._live.get(step_row)
        if live is not None:
            await live.flush()
        found = await self.step(run_id, step_row)
        if found is None:
            raise NotStored(f"run {run_id} has no step {step_row}")
        return LogExtent(found.raw_bytes, found.lines, step_row not in self._live, found.log_cut)

    async def log_lines(self, run_id: str, step_row: int, start: int, stop: int) -> list[bytes]:
        """Settled lines `start` to `stop`, numbered from 0, without their newlines.

        Fewer where the log ends, or when the answer has become long (4 MiB; then ask again from
        there): an empty answer means that there is no line `start` yet. A line of more than 128 KiB
        is cut and says so. NotStored for an unknown step.
        """
        extent = await self.log_extent(run_id, step_row)
        files = LogFiles.of(self._blobs, run_id, step_row)
        return await trio.to_thread.run_sync(source.read_lines, files, extent.lines, start, stop)

    async def log_text(self, run_id: str, step_row: int, start: int = 0) -> LogText:
        """About 1 MiB of whole settled lines from line `start` on, for search and download: go on
        at `line + lines` until `lines` is 0. Long lines are cut as in `log_lines`."""
        extent = await self.log_extent(run_id, step_row)
        files = LogFiles.of(self._blobs, run_id, step_row)
        return await trio.to_thread.run_sync(
            source.read_text, files, extent.lines, start, TEXT_SIZE
        )

    async def scan_log(
        self,
        run_id: str,
        step_row: int,
        start: int,
        visit: Callable[[LogText], bool],
        threads: trio.CapacityLimiter,
    ) -> None:
        """Call `visit` in a thread with the settled text from line `start` on, in blocks as those of
        `log_blocks`, until it returns False or there is no more.

        A thread is taken for about a tenth of a second at a time, so that others have their turns.
        When cancelled, a block that was begun is gone through; then this ends.
        """
        extent = await self.log_extent(run_id, step_row)
        if start >= extent.lines:
            return
        files = LogFiles.of(self._blobs, run_id, step_row)
        place: source.TextPlace | int | None = start
        while place is not None:
            place = await trio.to_thread.run_sync(
                source.visit_blocks, files, extent.lines, place, _BLOCK, visit, limiter=threads
            )

    async def log_blocks(
        self, run_id: str, step_row: int, start: int = 0
    ) -> AsyncGenerator[LogText]:
        """The settled text from line `start` to where it ends now, in pieces of whole lines of
        about 256 KiB, with colours and line endings as they stand: for search. A line of more than
        that is cut as in `log_lines`. Use it under `contextlib.aclosing`."""
        extent = await self.log_extent(run_id, step_row)
        if start >= extent.lines:
            return
        files = LogFiles.of(self._blobs, run_id, step_row)
        place = await trio.to_thread.run_sync(source.find_place, files, extent.lines, start)
        while True:
            text, place = await trio.to_thread.run_sync(
                source.read_block, files, extent.lines, place, _BLOCK
            )
            if not text.lines:
                return
            yield text

    async def log_times(
        self, run_id: str, step_row: int, start: int, stop: int, limit: int = 10_000
    ) -> list[LineTime]:
        """When lines `start` to `stop` were completed. The first may be of an earlier line, whose
        time still holds at `start`; each holds until the next."""
        await self.log_extent(run_id, step_row)
        files = LogFiles.of(self._blobs, run_id, step_row)
        return await trio.to_thread.run_sync(source.read_times, files, start, stop, limit)

    async def log_gaps(
        self, run_id: str, step_row: int, seconds: float, limit: int = 1000
    ) -> list[LineGap]:
        """Where nothing came for at least so many `seconds`, in the order of the lines; the longest
        ones if they are more than `limit`."""
        await self.log_extent(run_id, step_row)
        files = LogFiles.of(self._blobs, run_id, step_row)
        return await trio.to_thread.run_sync(gaps.read_gaps, files, seconds, limit)

    async def log_raw(self, run_id: str, step_row: int, offset: int = 0) -> AsyncGenerator[bytes]:
        """The bytes as received, from `offset` to where the log ends now, in chunks of 256 KiB. Use
        it under `contextlib.aclosing`."""
        extent = await self.log_extent(run_id, step_row)
        files = LogFiles.of(self._blobs, run_id, step_row)
        while offset < extent.raw_bytes:
            size = min(_RAW_CHUNK, extent.raw_bytes - offset)
            chunk = await trio.to_thread.run_sync(source.read_raw, files, offset, size)
            if not chunk:
                return
            offset += len(chunk)
            yield chunk

    async def _repair_logs(self) -> None:
        """Make the logs whole that a predecessor left open. Raises StoreError."""
        for run_id, row in await self._readers.read(steps.open_logs):
            files = LogFiles.of(self._blobs, run_id, row)
            try:
                found = await trio.to_thread.run_sync(repair, files)
            except OSError as error:
                raise StoreError(f"the log {files.raw} cannot be repaired: {error}") from error
            await self._writer.write(
                functools.partial(
                    steps.close_log,
                    row=row,
                    raw_bytes=found.raw_bytes,
                    lines=found.lines,
                    cut=True,
                )
            )
