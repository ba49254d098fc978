"""Ships logs to a bucket: in chunks while they are being written, and completely once they are closed.

A log is always written to this machine's disk first. While the bucket can't be reached, the files wait. Their
total size is bounded: beyond the limit, tasks that append wait, and with them the commands that produce the output.
Nothing is dropped.

A step's row says that its log is closed only once the log is in the bucket. Before that, a file next to the log says so
(`write_completion`), so that the next daemon can ship what this one couldn't.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import structlog
import trio

from bassloop.concurrency import Backoff, retry
from bassloop.store.errors import StoreError
from bassloop.store.logs.log_objects import LogDamaged
from bassloop.store.logs.shipment import (
    CHUNK_BYTES,
    MOST_OF_A_FILE,
    AlreadyEnded,
    Shipment,
    find_completion,
    growing_sizes,
    remove_files,
    resume,
    store_chunk,
    store_end,
    write_completion,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bassloop.store.blobs import Bucket
    from bassloop.store.logs.log_files import LogFiles
    from bassloop.store.logs.log_objects import GrowingSizes
    from bassloop.store.logs.shipment import Completion

T = TypeVar("T")
Args = TypeVarTuple("Args")

THREADS = 8
"""The maximum number of concurrent requests to the bucket."""

CLOSE_SECONDS = 10.0
"""How long shutting down may take to ship what is left. The next daemon ships the rest."""

_BACKOFF = Backoff(first=0.5, longest=1.0)
"""Short, so that soon after the bucket is back, losing this machine means losing only seconds of logs."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ShippingStatistics:
    """The counts of logs on their way to the bucket.

    Args:
        waiting_bytes: bytes that are only on this machine's disk.
        logs: logs that aren't complete in the bucket.
        objects: objects that were stored since the store was opened.
        bytes: the total size of these objects.
        failures: requests that failed.
        failing_seconds: for how long requests have been failing; 0 if they succeed.
        error: the latest error while requests are failing, else empty.
        full: whether tasks that append have to wait.
        cache_bytes: the size of the cache.
    """

    waiting_bytes: int
    logs: int
    objects: int
    bytes: int
    failures: int
    failing_seconds: float
    error: str
    full: bool
    cache_bytes: int


class Shipper:
    """Ships all logs that aren't complete in the bucket. Run `serve` in a nursery; `close` ends it.

    Args:
        limit: how many bytes may be only on this machine's disk before tasks that append have to wait.
    """

    def __init__(self, bucket: Bucket, limit: int) -> None:
        self._bucket = bucket
        self._limit = limit
        self._scope = trio.CancelScope(shield=True)
        self._closed = trio.Event()
        self._shipments: dict[int, Shipment] = {}
        self._threads = trio.CapacityLimiter(THREADS)
        self._sent = trio.Event()
        self._reached = trio.Event()
        self._waiting = 0
        self._failing_since: float | None = None
        self._error = ""
        self._full = False
        self._objects = self._bytes = self._failures = 0

    def statistics(self) -> ShippingStatistics:
        since = self._failing_since
        return ShippingStatistics(
            waiting_bytes=self._waiting,
            logs=len(self._shipments),
            objects=self._objects,
            bytes=self._bytes,
            failures=self._failures,
            failing_seconds=0.0 if since is None else trio.current_time() - since,
            error=self._error,
            full=self._full,
            cache_bytes=self._bucket.cached_bytes,
        )

    async def serve(
        self,
        shipped: Callable[[Shipment, Completion | None], Awaitable[None]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Ship logs until `close`, and then for at most CLOSE_SECONDS.

        Shielded until then, so that logs that are closed under a cancellation are still shipped. The caller
        must call `close`.

        Args:
            shipped: called with each log that is complete in the bucket, before its files are removed; and
                without a completion if the log can't be shipped or another node has ended it.
        """
        self._shipped = shipped
        with self._scope:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await self._closed.wait()
        if self._shipments:
            log.warning(
                "logs are not in the bucket yet; the next start ships them",
                logs=len(self._shipments),
                bytes=self._waiting,
            )

    def close(self) -> None:
        """Let `serve` return once complete logs are shipped, or after CLOSE_SECONDS."""
        self._closed.set()
        self._scope.deadline = trio.current_time() + CLOSE_SECONDS
        for each in self._shipments.values():
            each.abandoned = each.completion is None
            each.changed.set()

    def begin(self, run_id: str, row: int, files: LogFiles) -> Shipment:
        """Begin to ship a log that is about to be written."""
        return self._start(Shipment(run_id, row, files), resumed=False)

    def resume(self, run_id: str, row: int, files: LogFiles, completion: Completion) -> Shipment:
        """Begin to ship a log that another process has written, on this machine or another."""
        written = growing_sizes(files)
        shipment = Shipment(run_id, row, files, written=written, completion=completion)
        self._waiting += written.total()
        return self._start(shipment, resumed=True)

    def note_written(self, shipment: Shipment, sizes: GrowingSizes) -> None:
        """Record how much of a log is in its files."""
        if not shipment.waiting.total() and sizes != shipment.written:
            shipment.waiting_since = trio.current_time()
        self._waiting += sizes.minus(shipment.written).total()
        shipment.written = sizes
        shipment.changed.set()

    async def note_complete(self, shipment: Shipment, completion: Completion) -> None:
        """Record that a log is closed, also on disk unless that is full."""
        with suppress(OSError):
            await trio.to_thread.run_sync(write_completion, shipment.files, completion)
        shipment.completion = completion
        shipment.changed.set()

    async def wait_for_room(self) -> None:
        """Wait until fewer bytes than the limit are only on this machine's disk."""
        while self._waiting >= self._limit:
            if not self._full:
                self._full = True
                log.error(
                    "too much waits for the bucket: logs wait to be written", bytes=self._waiting
                )
            await self._sent.wait()
        if self._full:
            self._full = False
            log.warning("logs are written again")

    # --- one log ---

    def _start(self, shipment: Shipment, *, resumed: bool) -> Shipment:
        self._shipments[shipment.row] = shipment
        self._nursery.start_soon(self._ship, shipment, resumed)
        return shipment

    async def _ship(self, shipment: Shipment, resumed: bool) -> None:
        try:
            completion = await self._resume(shipment) if resumed else None
            while completion is None:
                await shipment.wait_until_due()
                rest = shipment.waiting
                if shipment.completion is not None and rest.total() < CHUNK_BYTES:
                    completion = await self._ship_end(shipment, shipment.completion, resumed)
                elif shipment.abandoned:
                    return
                elif rest.total():
                    await self._ship_chunk(shipment, rest.at_most(MOST_OF_A_FILE))
            await self._shipped(shipment, completion)
        except AlreadyEnded as error:
            log.error("a log was ended by another node", log=shipment.name, error=str(error))
            await self._shipped(shipment, None)
        except (LogDamaged, FileNotFoundError) as error:
            # A retry wouldn't help. The row stays open, so the next start repairs the log.
            log.error("a log can't be shipped", log=shipment.name, error=str(error))
            await self._shipped(shipment, None)
            self._forget(shipment)
            return
        except StoreError as error:
            log.error(
                "a log can't be closed; the next start does it", log=shipment.name, error=str(error)
            )
            return
        self._forget(shipment)
        try:
            await trio.to_thread.run_sync(remove_files, shipment.files)
        except OSError as error:
            log.warning("files of a log that was shipped stay", log=shipment.name, error=str(error))

    async def _resume(self, shipment: Shipment) -> Completion | None:
        before = shipment.waiting.total()
        completion = await self._try(resume, shipment)
        self._note_sent(before - shipment.waiting.total())
        return completion

    async def _ship_chunk(self, shipment: Shipment, sizes: GrowingSizes) -> None:
        began = trio.current_time()
        self._count(await self._try(store_chunk, shipment, sizes))
        shipment.note_chunk(sizes)
        # What waits now has been written since then.
        shipment.waiting_since = began if shipment.waiting.total() else math.inf
        self._note_sent(sizes.total())

    async def _ship_end(
        self, shipment: Shipment, completion: Completion, resumed: bool
    ) -> Completion:
        """Store the end of a log, and return the final size of the log in the bucket.

        Raises AlreadyEnded if another node has ended the log, unless this node is that one's heir: a node that was
        paused may store the end late, and then the log is as that node has closed it.
        """
        try:
            self._count(await self._try(store_end, shipment, completion))
        except AlreadyEnded:
            ended = await self._try(find_completion, shipment) if resumed else None
            if ended is None:
                raise
            return ended
        return completion

    def _count(self, size: int) -> None:
        self._objects += 1
        self._bytes += size

    def _forget(self, shipment: Shipment) -> None:
        del self._shipments[shipment.row]
        self._note_sent(shipment.waiting.total())

    def _note_sent(self, size: int) -> None:
        self._waiting -= size
        sent, self._sent = self._sent, trio.Event()
        sent.set()

    async def _try(self, function: Callable[[Bucket, *Args], T], *args: *Args) -> T:
        """Call a function with the bucket in a thread, retry until it succeeds, and return its result.

        While the bucket can't be reached, the first success of any task wakes the others.
        """
        result = await retry(
            partial(
                trio.to_thread.run_sync,
                function,
                self._bucket,
                *args,
                abandon_on_cancel=True,
                limiter=self._threads,
            ),
            _BACKOFF,
            retry_after=_retry_after,
            on_retry=self._note_failure,
            wake=lambda: self._reached.wait(),
        )
        self._note_success()
        return result

    def _note_failure(self, error: Exception, _: float) -> None:
        self._failures += 1
        if self._failing_since is None:
            self._failing_since = trio.current_time()
            log.error("logs can't be shipped to the bucket, and wait", error=str(error))
        self._error = str(error)

    def _note_success(self) -> None:
        if self._failing_since is not None:
            seconds = trio.current_time() - self._failing_since
            self._failing_since, self._error = None, ""
            log.warning("logs are shipped to the bucket again", seconds=round(seconds, 1))
            self._reached.set()
            self._reached = trio.Event()


def _retry_after(error: Exception) -> float | None:
    """Return 0 if the bucket can't be reached, or None if another attempt is useless."""
    is_permanent = isinstance(error, LogDamaged | FileNotFoundError)
    return 0.0 if isinstance(error, OSError) and not is_permanent else None
