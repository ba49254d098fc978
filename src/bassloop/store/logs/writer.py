"""Appending to logs from Trio: pieces queue in memory, a thread writes what queued meanwhile.

While the disk is full nothing is dropped: what is queued is tried again until there is room. The queue
is bounded, so who appends waits, and with them the command whose output it is.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from bassloop.store.errors import StoreError, StoreFull
from bassloop.store.logs.sink import LogSink, Piece

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

WAITING = 4 * 1024 * 1024
"""Bytes of all logs together that may wait to be written, unless told otherwise."""

RETRY_SECONDS = 1.0
"""How long what found no room waits before it is tried again."""

_OVERHEAD = 256

log = structlog.get_logger(__name__)


class Settled(Protocol):
    """What a piece of raw bytes settled (`bassloop.terminal` says it in this shape).

    `text`: lines that became final, each ended by a newline. `plain`: all settled text so far is,
    byte for byte, the beginning of the raw bytes, so that no copy of it is needed; once False, it
    stays so. `line`: number of the line that the piece was written on, for the lines' times.
    """

    @property
    def text(self) -> bytes: ...
    @property
    def plain(self) -> bool: ...
    @property
    def line(self) -> int: ...


class LogQueue:
    """All logs that are being written. Run `serve` in a nursery; `close` ends it.

    `pending` bytes wait to be written, and who would append more than `most` has to wait; `received`
    counts the raw ones since the store opened."""

    def __init__(self, path: Path, most: int = WAITING) -> None:
        self._path = path
        self.most = most
        self._dirty: dict[LogWriter, None] = {}
        self._wake = trio.Event()
        self._written = trio.Event()
        self._closed = False
        self._full_since: float | None = None
        self.full_seconds = 0.0
        self.pending = 0
        self.received = 0

    @property
    def full(self) -> bool:
        """Whether what was written last found no room."""
        return self._full_since is not None

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what is queued until `close`. Shielded, so that whoever ends a log under a
        cancellation can still write: who starts it, closes it."""
        with trio.CancelScope(shield=True):
            task_status.started()
            await self._write()

    async def _write(self) -> None:
        limiter = trio.CapacityLimiter(1)
        while self._dirty or not self._closed:
            await self._wake.wait()
            self._wake = trio.Event()
            dirty, self._dirty = self._dirty, {}
            jobs = [(log.sink, log.take()) for log in dirty]
            failures = await trio.to_thread.run_sync(_write_all, jobs, limiter=limiter)
            full = False
            for each, (_, pieces), failure in zip(dirty, jobs, failures, strict=True):
                if _no_room(failure) and not each.closing and not self._closed:
                    full = True
                    each.put_back(pieces)
                    self._dirty[each] = None
                    continue
                self.pending -= sum(map(_size, pieces))
                each.wrote(len(pieces), self._translated(failure))
            self._note(full)
            written, self._written = self._written, trio.Event()
            written.set()
            if full:
                self._wake.set()
                await trio.sleep(RETRY_SECONDS)

    def _note(self, full: bool) -> None:
        if full and self._full_since is None:
            self._full_since = trio.current_time()
            log.error("the disk is full: logs wait to be written", path=str(self._path))
        elif not full and self._full_since is not None:
            seconds, self._full_since = trio.current_time() - self._full_since, None
            self.full_seconds += seconds
            log.warning("logs are written again", seconds=round(seconds, 1))

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    def put(self, log: LogWriter, piece: Piece) -> None:
        if self._closed:
            raise StoreError(f"logs in {self._path}: the store is closed")
        self.pending += _size(piece)
        self.received += len(piece.raw)
        self._dirty[log] = None
        self._wake.set()

    async def room(self) -> None:
        """Return when there is room to append. A checkpoint."""
        await trio.lowlevel.checkpoint()
        while self.pending >= self.most:
            await self._written.wait()

    async def written(self) -> None:
        """Return after the next flush."""
        await self._written.wait()

    def _translated(self, failure: OSError | ValueError | None) -> StoreError | None:
        if failure is None:
            return None
        kind = StoreFull if _no_room(failure) else StoreError
        error = kind(f"logs in {self._path} cannot be written: {failure}")
        error.__cause__ = failure
        return error


class LogWriter:
    """The writing end of one step's log, append-only, for one owner (the recorder).

    What was appended is seen by every reader of this store at once: a reader waits for what is
    still queued. It survives the end of the process once it is written (moments later), and a
    power failure once `close` has returned.
    """

    def __init__(
        self,
        queue: LogQueue,
        sink: LogSink,
        limit: int,
        closed: Callable[[LogWriter, bool], Awaitable[None]],
    ) -> None:
        self.sink = sink
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
        self._full = False
        self._closed = False
        self._error: StoreError | None = None
        self.raw_bytes = 0
        self.lines = 0

    @property
    def room(self) -> int:
        """Raw bytes that may still be appended before the log is full. A recorder gives its terminal
        no more than this, and what the screen then holds in the same `append`: what is given after
        that is dropped."""
        return max(0, self._limit - self._bytes)

    @property
    def full(self) -> bool:
        """The limit was reached and said in the log; what is appended now is dropped."""
        return self._full

    async def append(self, raw: bytes, settled: Settled | None, stream: int, at: float) -> None:
        """Add `raw`, received at time `at` on `stream` (1 stdout, 2 stderr), and what it settled:

            await log.append(raw, terminal.settle(raw), stream, at)      # for each piece
            await log.append(b"", terminal.settle_rest(), stream, at)    # at the end
            await log.close()

        `settled=None` says that there is no terminal: the raw bytes are the text.

        Returns when the piece is queued, and waits while too much is. When cancelled, nothing was
        appended. Beyond the log's limit, bytes are dropped and the log itself says so, once.
        Raises StoreError when an earlier piece could not be written; nothing is appended then.
        """
        await self._queue.room()
        if self._error is not None:
            raise self._error
        if self._closed:
            raise StoreError("the log is closed")
        if self._full:
            return
        text, plain, line = self._settled(raw, settled)
        self._plain = plain
        self._copied += 0 if plain else len(text)
        if len(raw) > self.room or self._copied > self._limit:
            self._full = True
            notice = _notice(self._limit)
            if plain:
                kept = raw[: self.room]
                text = text[: max(0, len(text) - (len(raw) - len(kept)))]
                self._put(Piece(kept, text, True, line, stream, at))
                self._put(Piece(notice, b"", True, line, stream, at))
            else:
                self._put(Piece(raw[: self.room] + notice, text, False, line, stream, at))
                self._put(Piece(b"", notice, False, line, stream, at))
        elif raw or text:
            self._put(Piece(raw, text, plain, line, stream, at))

    async def flush(self, *, patient: bool = False) -> None:
        """Return when all that was appended before is in the files, or, unless `patient`, the disk is
        full. Raises StoreError if it could not be written."""
        mark = self._appended
        await trio.lowlevel.checkpoint()
        while self._written < mark and self._error is None and (patient or not self._queue.full):
            await self._queue.written()
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Settle the rest, make it durable, and note the extent in the step's row. Idempotent.

        Raises StoreError if something could not be written; the log is closed (and marked as cut)
        nevertheless. Shielded: it is short, and ends in any case; so it does not wait for a full disk.
        Who has the time for that flushes, patiently, before.
        """
        if self._closed:
            return
        self._closed = True
        with trio.CancelScope(shield=True):
            while self._written < self._appended:
                await self._queue.written()
            if self._error is None:
                try:
                    await trio.to_thread.run_sync(self.sink.close)
                except OSError as error:
                    self._error = StoreError(f"a log cannot be written: {error}")
            self.raw_bytes, self.lines = self.sink.raw_bytes, self.sink.lines
            await self._on_closed(self, self._error is not None)
        if self._error is not None:
            raise self._error

    @property
    def closing(self) -> bool:
        """For the queue: whether nobody waits any more for there to be room."""
        return self._closed

    def put_back(self, pieces: list[Piece]) -> None:
        """For the queue: these found no room."""
        self._pieces[:0] = pieces

    def take(self) -> list[Piece]:
        """For the queue: what waits to be written."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def wrote(self, count: int, failure: StoreError | None) -> None:
        """For the queue: `count` pieces are in the files, or failed."""
        self._written += count
        self._error = self._error or failure
        self.raw_bytes, self.lines = self.sink.raw_bytes, self.sink.lines

    def _settled(self, raw: bytes, settled: Settled | None) -> tuple[bytes, bool, int]:
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


def _no_room(failure: OSError | ValueError | None) -> bool:
    return isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT)


def _size(piece: Piece) -> int:
    return len(piece.raw) + len(piece.text) + _OVERHEAD


def _notice(limit: int) -> bytes:
    return (
        f"\n[bassloop: this log reached its limit of {limit:,} bytes; what came after is not kept,"
        " the command runs on]\n"
    ).encode()


def _write_all(
    jobs: Iterable[tuple[LogSink, list[Piece]]],
) -> list[OSError | ValueError | None]:
    failures: list[OSError | ValueError | None] = []
    for sink, pieces in jobs:
        try:
            sink.write(pieces)
        except (OSError, ValueError) as error:
            failures.append(error)
        else:
            failures.append(None)
    return failures
