"""The logs of steps: each is written by one task, and read by many while it grows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from bassloop.store.engine import Subject
from bassloop.store.errors import NotStored, StoreConflict, StoreError
from bassloop.store.logs import log_reader
from bassloop.store.logs.appender import LogAppender, repair_log
from bassloop.store.logs.log_files import LogFiles
from bassloop.store.logs.log_writer import LogWriter
from bassloop.store.records import LineGap, LineTime, LogExtent, LogText
from bassloop.store.steps import Steps, close_log, open_log, open_logs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from bassloop.store.engine import Engine
    from bassloop.store.logs.log_writer import LogQueue

TEXT_BYTES = 1024 * 1024
"""The bytes of text that `Logs.text` returns, roughly."""

_CHUNK = 256 * 1024


class Logs(Subject):
    """The logs in the store, each identified by its run's id and its step's row.

    Methods that read raise NotStored for an unknown step.
    """

    def __init__(
        self,
        engine: Engine,
        steps: Steps,
        live: dict[int, LogWriter],
        queue: LogQueue,
        blobs: Path,
        limit: int,
    ) -> None:
        super().__init__(engine)
        self._steps = steps
        self._live = live
        self._queue = queue
        self._blobs = blobs
        self._limit = limit

    async def open(self, run_id: str, row: int) -> LogWriter:
        """Begin the log of a step, which the caller must close.

        A log that isn't closed because the process ended is marked as cut at the next start. Raises
        NotStored for an unknown step, and StoreConflict if it has a log.
        """
        files = LogFiles.of(self._blobs, run_id, row)
        if not await self._engine.write(partial(open_log, run_id=run_id, row=row)):
            raise StoreConflict(f"step {row} of run {run_id} has a log already")

        async def closed(log: LogWriter, cut: bool) -> None:
            close = partial(close_log, row=row, raw_bytes=log.raw_bytes, lines=log.lines, cut=cut)
            await self._engine.write(close, wait=False)
            self._live.pop(row, None)

        log = LogWriter(self._queue, LogAppender(files), self._limit, closed)
        self._live[row] = log
        return log

    async def extent(self, run_id: str, row: int) -> LogExtent:
        """Return how long the log is now."""
        live = self._live.get(row)
        if live is not None:
            await live.flush()
        step = await self._steps.get(run_id, row)
        if step is None:
            raise NotStored(f"run {run_id} has no step {row}")
        return LogExtent(step.raw_bytes, step.lines, row not in self._live, step.log_cut)

    async def lines(self, run_id: str, row: int, start: int, stop: int) -> list[bytes]:
        """Return settled lines `start` to `stop`, numbered from 0, without their newlines.

        Returns fewer where the log ends, or after 4 MiB; then ask again from there. An empty list
        means that there is no line `start` yet. A line of more than 128 KiB is cut and says so.
        """
        extent, files = await self._extent_and_files(run_id, row)
        return await trio.to_thread.run_sync(
            log_reader.read_lines, files, extent.lines, start, stop
        )

    async def text(self, run_id: str, row: int, start: int = 0) -> LogText:
        """Return about 1 MiB of whole settled lines from line `start` on, for search and download.

        Continue at `line + lines` until `lines` is 0. Long lines are cut as in `lines`.
        """
        extent, files = await self._extent_and_files(run_id, row)
        return await trio.to_thread.run_sync(
            log_reader.read_text, files, extent.lines, start, TEXT_BYTES
        )

    async def scan(
        self,
        run_id: str,
        row: int,
        start: int,
        visit: Callable[[LogText], bool],
        threads: trio.CapacityLimiter,
    ) -> None:
        """Call `visit` in a thread with the blocks of `blocks`, until it returns False or they end.

        Takes a thread for about a tenth of a second at a time, so that others have their turns.
        When cancelled, finishes the current block first.
        """
        extent, files = await self._extent_and_files(run_id, row)
        if start >= extent.lines:
            return
        position: log_reader.TextPosition | int | None = start
        while position is not None:
            position = await trio.to_thread.run_sync(
                log_reader.visit_blocks,
                files,
                extent.lines,
                position,
                _CHUNK,
                visit,
                limiter=threads,
            )

    async def blocks(self, run_id: str, row: int, start: int = 0) -> AsyncGenerator[LogText]:
        """Yield the settled text from line `start` to where it ends now, for search.

        Blocks are whole lines of about 256 KiB, with colours and line endings as they are; a longer
        line is cut as in `lines`. Use it under `contextlib.aclosing`.
        """
        extent, files = await self._extent_and_files(run_id, row)
        if start >= extent.lines:
            return
        position = await trio.to_thread.run_sync(
            log_reader.find_position, files, extent.lines, start
        )
        while True:
            text, position = await trio.to_thread.run_sync(
                log_reader.read_block, files, extent.lines, position, _CHUNK
            )
            if not text.lines:
                return
            yield text

    async def times(
        self, run_id: str, row: int, start: int, stop: int, limit: int = 10_000
    ) -> list[LineTime]:
        """Return when lines `start` to `stop` were completed.

        Each time holds until the next. The first may be an earlier line's that still holds at `start`.
        """
        _, files = await self._extent_and_files(run_id, row)
        return await trio.to_thread.run_sync(log_reader.read_times, files, start, stop, limit)

    async def gaps(self, run_id: str, row: int, seconds: float, limit: int = 1000) -> list[LineGap]:
        """Return the longest gaps of at least `seconds` in which nothing came, by their lines."""
        _, files = await self._extent_and_files(run_id, row)
        return await trio.to_thread.run_sync(log_reader.read_gaps, files, seconds, limit)

    async def raw(self, run_id: str, row: int, offset: int = 0) -> AsyncGenerator[bytes]:
        """Yield the bytes as received, from `offset` to where the log ends now, 256 KiB at a time.

        Use it under `contextlib.aclosing`.
        """
        extent, files = await self._extent_and_files(run_id, row)
        while offset < extent.raw_bytes:
            size = min(_CHUNK, extent.raw_bytes - offset)
            chunk = await trio.to_thread.run_sync(log_reader.read_raw, files, offset, size)
            if not chunk:
                return
            offset += len(chunk)
            yield chunk

    async def repair(self) -> None:
        """Repair the logs that the previous daemon left open, and mark them as cut.

        Raises StoreError.
        """
        for run_id, row in await self._engine.read(open_logs):
            files = LogFiles.of(self._blobs, run_id, row)
            try:
                size = await trio.to_thread.run_sync(repair_log, files)
            except OSError as error:
                raise StoreError(f"the log {files.raw} cannot be repaired: {error}") from error
            await self._engine.write(
                partial(close_log, row=row, raw_bytes=size.raw_bytes, lines=size.lines, cut=True)
            )

    async def _extent_and_files(self, run_id: str, row: int) -> tuple[LogExtent, LogFiles]:
        return await self.extent(run_id, row), LogFiles.of(self._blobs, run_id, row)
