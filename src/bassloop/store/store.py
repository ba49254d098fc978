"""The store's public face: opened here, its operations by subject in `operations`."""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.store import database, runtimes
from bassloop.store.logs.writer import WAITING, LogQueue
from bassloop.store.operations.checks import CheckOperations
from bassloop.store.operations.deliveries import DeliveryOperations
from bassloop.store.operations.figures import FigureOperations
from bassloop.store.operations.heads import HeadOperations
from bassloop.store.operations.keep import KeepOperations
from bassloop.store.operations.logs import LogOperations
from bassloop.store.operations.people import PeopleOperations
from bassloop.store.operations.runs import RunOperations
from bassloop.store.operations.runtimes import RuntimeOperations
from bassloop.store.operations.visitors import VisitorOperations
from bassloop.store.readers import Readers
from bassloop.store.writer import Writer, WriterStatistics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LOG_LIMIT = 1024 * 1024 * 1024
"""Raw bytes of one step's log that are kept, unless told otherwise."""

_WRITES_WAITING = 1024
_READERS = 4


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """`open_logs` are being written; `log_bytes_waiting` are queued for them, and `log_bytes` were
    taken since the store opened. `stuck_seconds` is for how long the disk was full, or the database
    locked, until it was not any more."""

    writer: WriterStatistics
    open_logs: int
    log_bytes_waiting: int
    log_bytes: int
    stuck_seconds: float


@asynccontextmanager
async def open_store(
    sqlite_path: Path | str,
    blobs_path: Path | str,
    *,
    synchronous: str = "FULL",
    owner: bool = True,
    log_limit: int = LOG_LIMIT,
    log_waiting: int = WAITING,
) -> AsyncIterator[Store]:
    """The store in these two places, made or brought up to date first.

    The `owner` is the daemon: only one process can be. It begins with no runtimes connected, and
    with the logs of a crashed predecessor made whole. What it writes waits for a full disk to have room.
    Commands that look in beside it pass False.
    `synchronous` is SQLite's; with less than FULL a power failure may take what was promised. Of logs,
    `log_waiting` bytes may wait to be written; who appends more waits.

    Leaving it commits and writes what is queued. Raises StoreUnusable, which says why and what
    mends it, for a database that is damaged, locked, read-only, another program's, or a newer one.
    """
    sqlite, blobs = Path(sqlite_path), Path(blobs_path)
    await trio.to_thread.run_sync(database.make_directory, sqlite)
    if owner:
        with database.ownership(sqlite):
            async with _opened(sqlite, blobs, synchronous, log_limit, log_waiting, True) as store:
                await store._begin()
                yield store
    else:
        async with _opened(sqlite, blobs, synchronous, log_limit, log_waiting, False) as store:
            yield store


@asynccontextmanager
async def _opened(
    sqlite: Path, blobs: Path, synchronous: str, log_limit: int, log_waiting: int, patient: bool
) -> AsyncIterator[Store]:
    await trio.to_thread.run_sync(database.prepare, sqlite, synchronous)
    writer = Writer(
        functools.partial(database.connect, sqlite, synchronous),
        sqlite,
        _WRITES_WAITING,
        patient=patient,
    )
    readers = Readers(
        functools.partial(database.connect_reader, sqlite, synchronous), sqlite, _READERS
    )
    logs = LogQueue(blobs, log_waiting)
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.serve)
        await nursery.start(logs.serve)
        try:
            yield Store(writer, readers, logs, blobs, log_limit)
        finally:
            logs.close()
            writer.close()
            await readers.close()


class Store(
    DeliveryOperations,
    HeadOperations,
    PeopleOperations,
    RunOperations,
    CheckOperations,
    LogOperations,
    RuntimeOperations,
    KeepOperations,
    FigureOperations,
    VisitorOperations,
):
    """Everything that the loop remembers. Made by `open_store`.

    Every operation is a checkpoint. One that changes something returns when the change is committed
    (fsync included, unless opened otherwise); when cancelled, it either happened in full or not at
    all, never half, and all of them may be repeated. One that reads sees all that was committed
    before it began; when cancelled, nothing is different. Any may raise StoreError.
    """

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            writer=self._writer.statistics(),
            open_logs=len(self._live),
            log_bytes_waiting=self._logs.pending,
            log_bytes=self._logs.received,
            stuck_seconds=max(self._writer.stuck_seconds, self._logs.full_seconds),
        )

    async def _begin(self) -> None:
        await self._writer.write(runtimes.remove_all)
        await self._repair_logs()
