"""Appends to logs from Trio: pieces are queued in memory, and a thread writes the queue.

While the disk is full, nothing is dropped: writing is retried until there is room. The same applies to a node that was
paused for longer than its lease, until it has renewed the lease or ends. The queue is bounded, so tasks that append
wait, and with them the commands that produce the output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from bassloop.concurrency import shielded
from bassloop.store.errors import StoreError, StoreFull, is_disk_full
from bassloop.store.logs.appender import LogAppender, MayBeTakenOver, Piece

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from bassloop.store.logs.shipper import Shipper

MAX_WAITING_BYTES = 4 * 1024 * 1024
"""The default limit on the total size of the queue."""

RETRY_SECONDS = 1.0
"""The delay before writing is retried after a temporary error."""

CLOSE_SECONDS = 30.0
"""How long closing a log, or the queue, may take under a cancellation."""

_OVERHEAD = 256

log = structlog.get_logger(__name__)


class SettledText(Protocol):
    """The text that a piece of raw bytes settled, as `bassloop.terminal` returns it.

    Args:
        text: lines that became final, each ended by a newline.
        plain: all settled text so far equals the beginning of the raw bytes, so that no copy of it is
            needed. Once False, it stays False.
        line: the number of the line on which the piece was written, for the times of lines.
    """

    @property
    def text(self) -> bytes: ...
    @property
    def plain(self) -> bool: ...
    @property
    def line(self) -> int: ...


class LogQueue:
    """The queue of all logs that are being written. Run `serve` in a nursery; `close` ends it.

    Attributes:
        most: how many bytes may be queued before tasks that append have to wait.
        pending: how many bytes are queued.
        received: how many raw bytes were appended since the store was opened.
        found_full: set once a write has found the disk full.
    """

    def __init__(
        self, path: Path, most: int = MAX_WAITING_BYTES, shipper: Shipper | None = None
    ) -> None:
        self._path = path
        self.most = most
        self._shipper = shipper
        self._dirty: dict[LogWriter, None] = {}
        self._wake = trio.Event()
        self._written = trio.Event()
        self._closed = False
        self._scope = trio.CancelScope(shield=True)
        self._full_since: float | None = None
        self.full_seconds = 0.0
        self.found_full = trio.Event()
        self.pending = 0
        self.received = 0

    @property
    def full(self) -> bool:
        """True if the last write found the disk full."""
        return self._full_since is not None

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write queued pieces until `close`.

        Shielded until CLOSE_SECONDS after `close`, so that logs can still be closed under a cancellation. The
        caller must call `close`.
        """
        with self._scope:
            task_status.started()
            await self._write()

    async def _write(self) -> None:
        limiter = trio.CapacityLimiter(1)
        while self._dirty or not self._closed:
            await self._wake.wait()
            self._wake = trio.Event()
            dirty, self._dirty = self._dirty, {}
            jobs = [(log.appender, log.take()) for log in dirty]
            failures = await trio.to_thread.run_sync(_write_all, jobs, limiter=limiter)
            full = again = False
            for each, (_, pieces), failure in zip(dirty, jobs, failures, strict=True):
                must_wait = is_disk_full(failure) or isinstance(failure, MayBeTakenOver)
                if must_wait and not each.closing and not self._closed:
                    again, full = True, full or is_disk_full(failure)
                    each.put_back(pieces)
                    self._dirty[each] = None
                    continue
                self.pending -= sum(map(_size, pieces))
                each.wrote(len(pieces), self._translated(failure))
            self._note_full(full)
            written, self._written = self._written, trio.Event()
            written.set()
            if again:
                self._wake.set()
                await trio.sleep(RETRY_SECONDS)

    def _note_full(self, full: bool) -> None:
        if full and self._full_since is None:
            self._full_since = trio.current_time()
            self.found_full.set()
            log.error("the disk is full: logs wait to be written", path=str(self._path))
        elif not full and self._full_since is not None:
            seconds, self._full_since = trio.current_time() - self._full_since, None
            self.full_seconds += seconds
            log.warning("logs are written again", seconds=round(seconds, 1))

    def close(self) -> None:
        """Refuse further pieces, and let `serve` return once the queued ones are written."""
        self._closed = True
        self._scope.deadline = trio.current_time() + CLOSE_SECONDS
        self._wake.set()

    def put(self, log: LogWriter, piece: Piece) -> None:
        if self._closed:
            raise StoreError(f"logs in {self._path}: the store is closed")
        self.pending += _size(piece)
        self.received += len(piece.raw)
        self._dirty[log] = None
        self._wake.set()

    async def wait_for_room(self) -> None:
        """Wait until there is room to append. A checkpoint."""
        await trio.lowlevel.checkpoint()
        if self._shipper is not None:
            await self._shipper.wait_for_room()
        while self.pending >= self.most:
            await self._written.wait()

    async def wait_for_write(self) -> None:
        """Wait until the next pieces are written, or fail."""
        await self._written.wait()

    def _translated(self, failure: OSError | ValueError | None) -> StoreError | None:
        if failure is None:
            return None
        kind = StoreFull if is_disk_full(failure) else StoreError
        error = kind(f"logs in {self._path} cannot be written: {failure}")
        error.__cause__ = failure
        return error


class LogWriter:
    """Appends to one step's log, for one task (the recorder).

    Readers of the same store see appended bytes at once, since they wait for queued pieces. The bytes
    survive the end of the process once they are written, moments later, and a power failure once `close`
    has returned.

    Attributes:
        raw_bytes: how many raw bytes are in the files.
        lines: how many settled lines are in the files.
        full: True once the limit is reached, as the log itself says. Further bytes are dropped.
        closing: True once `close` was called: then the log doesn't wait for a full disk.
        complete: True once the log is closed.
    """

    def __init__(
        self,
        queue: LogQueue,
        appender: LogAppender,
        limit: int,
        closed: Callable[[LogWriter, bool, bool], Awaitable[None]],
        on_written: Callable[[], None] | None = None,
    ) -> None:
        self.appender = appender
        self._on_written = on_written
        self._queue = queue
        self._limit = limit
        self._on_closed = closed
        self._pieces: list[Piece] = []
        self._appended = 0
        self._written = 0
        self._bytes = 0
        self._copied = 0
        self._plain = True
        self._line = 0
        self._error: StoreError | None = None
        self.full = False
        self.closing = False
        self.complete = False
        self.raw_bytes = 0
        self.lines = 0

    @property
    def room(self) -> int:
        """The number of raw bytes that may still be appended before the log is full.

        A recorder must feed its terminal no more than this, and append the rest of the screen together with
        the last bytes, because later bytes are dropped.
        """
        return max(0, self._limit - self._bytes)

    async def append(self, raw: bytes, settled: SettledText | None, stream: int, at: float) -> None:
        """Append `raw`, received at time `at` on `stream` (1 stdout, 2 stderr), and what it settled:

            await log.append(raw, terminal.settle(raw), stream, at)      # for each piece
            await log.append(b"", terminal.settle_rest(), stream, at)    # at the end
            await log.close()

        Without a terminal, `settled` is None, and the raw bytes are the text.

        Returns once the piece is queued, and waits while the queue is full. If cancelled, nothing was
        appended. Bytes beyond the log's limit are dropped, and the log says so once. Raises StoreError, and
        appends nothing, if an earlier piece could not be written.
        """
        await self._queue.wait_for_room()
        if self._error is not None:
            raise self._error
        if self.closing:
            raise StoreError("the log is closed")
        self._append(raw, settled, stream, at)

    def append_rest(self, settled: SettledText, at: float) -> None:
        """Append the rest of the screen before closing the log, without waiting for room in the queue.

        So cancellation can't cut it. `close` raises the error if an earlier piece could not be written.
        """
        if self._error is None and not self.closing:
            self._append(b"", settled, 1, at)

    def _append(self, raw: bytes, settled: SettledText | None, stream: int, at: float) -> None:
        if self.full:
            return
        text, plain, line = self._settled(raw, settled)
        self._plain = plain
        self._copied += 0 if plain else len(text)
        if len(raw) > self.room or self._copied > self._limit:
            self.full = True
            notice = _notice(self._limit)
            if plain:
                fitting = raw[: self.room]
                text = text[: max(0, len(text) - (len(raw) - len(fitting)))]
                self._put(Piece(fitting, text, True, line, stream, at))
                self._put(Piece(notice, b"", True, line, stream, at))
            else:
                self._put(Piece(raw[: self.room] + notice, text, False, line, stream, at))
                self._put(Piece(b"", notice, False, line, stream, at))
        elif raw or text:
            self._put(Piece(raw, text, plain, line, stream, at))

    async def flush(self, *, patient: bool = False) -> None:
        """Wait until everything appended so far is in the files.

        Stops waiting if the disk is full, unless `patient`. Raises StoreError if something couldn't be written.
        """
        mark = self._appended
        await trio.lowlevel.checkpoint()
        while self._written < mark and self._error is None and (patient or not self._queue.full):
            await self._queue.wait_for_write()
        if self._error is not None:
            raise self._error

    async def close(self, *, patient: bool = False) -> None:
        """Settle the rest, sync it, and store the size in the step's row. Idempotent.

        Raises StoreError if something couldn't be written; the log is closed then as well, and marked as
        cut. Doesn't wait for room on a full disk; to do so, call `flush(patient=True)` first.

        Shielded for at most CLOSE_SECONDS. Raises StoreFull, StoreLocked or StoreUnreachable if the row can't be
        stored now; then the log stays open until the next start.

        Args:
            patient: wait for as long as the row can't be stored. Not shielded: if cancelled, call this again
                without `patient`.
        """
        if self.complete:
            return
        self.closing = True
        if patient:
            await self._close(patient=True)
        else:
            with shielded(CLOSE_SECONDS) as closing:
                await self._close(patient=False)
            if closing.cancelled_caught and self._error is None:
                self._error = StoreError(f"a log was not closed within {CLOSE_SECONDS:.0f} seconds")
        if self._error is not None:
            raise self._error

    async def _close(self, *, patient: bool) -> None:
        while self._written < self._appended:
            await self._queue.wait_for_write()
        if self._error is None:
            try:
                await trio.to_thread.run_sync(self.appender.close)
            except OSError as error:
                self._error = StoreError(f"a log cannot be written: {error}")
        self.raw_bytes, self.lines = self.appender.raw_bytes, self.appender.lines
        await self._on_closed(self, self._error is not None, patient)
        self.complete = True

    @property
    def cut(self) -> bool:
        """True if some of the appended data could not be written."""
        return self._error is not None

    def put_back(self, pieces: list[Piece]) -> None:
        """For the queue: return pieces that could not be written yet."""
        self._pieces[:0] = pieces

    def take(self) -> list[Piece]:
        """For the queue: take the pieces to write."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def wrote(self, count: int, failure: StoreError | None) -> None:
        """For the queue: note that `count` pieces are in the files, or have failed."""
        self._written += count
        self._error = self._error or failure
        self.raw_bytes, self.lines = self.appender.raw_bytes, self.appender.lines
        if self._on_written is not None:
            self._on_written()

    def _settled(self, raw: bytes, settled: SettledText | None) -> tuple[bytes, bool, int]:
        if settled is not None:
            return settled.text, self._plain and settled.plain, settled.line
        line = self._line
        self._line += raw.count(b"\n")
        return raw, self._plain, line

    def _put(self, piece: Piece) -> None:
        self._queue.put(self, piece)
        self._pieces.append(piece)
        self._appended += 1
        self._bytes += len(piece.raw)


def _size(piece: Piece) -> int:
    return len(piece.raw) + len(piece.text) + _OVERHEAD


def _notice(limit: int) -> bytes:
    return (
        f"\n[bassloop: this log reached its limit of {limit:,} bytes; what came after is not kept,"
        " the command runs on]\n"
    ).encode()


def _write_all(
    jobs: Iterable[tuple[LogAppender, list[Piece]]],
) -> list[OSError | ValueError | None]:
    failures: list[OSError | ValueError | None] = []
    for appender, pieces in jobs:
        try:
            appender.write(pieces)
        except (OSError, ValueError) as error:
            failures.append(error)
        else:
            failures.append(None)
    return failures
