"""The store's public face: the domain's operations, without a word of SQL."""

from __future__ import annotations

import functools
import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.store import database, deliveries, heads, runs, runtimes, vertexes
from bassloop.store.errors import NotStored, StoreConflict, StoreError
from bassloop.store.logs import source
from bassloop.store.logs.formats import LogFiles
from bassloop.store.logs.sink import LogSink, repair
from bassloop.store.logs.writer import LogQueue, LogWriter
from bassloop.store.model import (
    CheckRun,
    Delivery,
    LineTime,
    LogExtent,
    LogText,
    Page,
    Run,
    RuntimeRecord,
    Superseded,
    ThunkRecord,
    User,
    Vertex,
    VertexUpdate,
)
from bassloop.store.readers import Readers
from bassloop.store.writer import Writer, WriterStatistics

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Sequence

LOG_LIMIT = 1024 * 1024 * 1024
"""Raw bytes of one vertex's log that are kept, unless told otherwise."""

LIST_LIMIT = 500
"""Items of one page of a list, at most."""

CHECKS_AMONG = 5_000
"""Runs of a repository among which the newest of each check is looked for."""

TEXT_SIZE = 1024 * 1024
"""Bytes of text that `Store.log_text` aims at."""

_WRITES_WAITING = 1024
_READERS = 4
_RAW_CHUNK = 256 * 1024
_BLOCK = 256 * 1024


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """`open_logs` are being written; `log_bytes_waiting` are queued for them."""

    writer: WriterStatistics
    open_logs: int
    log_bytes_waiting: int


@asynccontextmanager
async def open_store(
    sqlite_path: Path | str,
    blobs_path: Path | str,
    *,
    synchronous: str = "FULL",
    owner: bool = True,
    log_limit: int = LOG_LIMIT,
) -> AsyncIterator[Store]:
    """The store in these two places, made or brought up to date first.

    The `owner` is the daemon: only one process can be. It begins with no runtimes connected, and
    with the logs of a crashed predecessor made whole. Commands that look in beside it pass False.
    `synchronous` is SQLite's; with less than FULL a power failure may take what was promised.

    Leaving it commits and writes what is queued. Raises StoreUnusable, which says why and what
    mends it, for a database that is damaged, locked, read-only, another program's, or a newer one.
    """
    sqlite, blobs = Path(sqlite_path), Path(blobs_path)
    await trio.to_thread.run_sync(database.make_directory, sqlite)
    if owner:
        with database.ownership(sqlite):
            async with _opened(sqlite, blobs, synchronous, log_limit) as store:
                await store._begin()
                yield store
    else:
        async with _opened(sqlite, blobs, synchronous, log_limit) as store:
            yield store


@asynccontextmanager
async def _opened(
    sqlite: Path, blobs: Path, synchronous: str, log_limit: int
) -> AsyncIterator[Store]:
    await trio.to_thread.run_sync(database.prepare, sqlite, synchronous)
    writer = Writer(
        functools.partial(database.connect, sqlite, synchronous), sqlite, _WRITES_WAITING
    )
    readers = Readers(
        functools.partial(database.connect_reader, sqlite, synchronous), sqlite, _READERS
    )
    logs = LogQueue(blobs)
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.serve)
        await nursery.start(logs.serve)
        try:
            yield Store(writer, readers, logs, blobs, log_limit)
        finally:
            logs.close()
            writer.close()
            await readers.close()


class Store:
    """Everything that the loop remembers. Made by `open_store`.

    Every operation is a checkpoint. One that changes something returns when the change is committed
    (fsync included, unless opened otherwise); when cancelled, it either happened in full or not at
    all, never half, and all of them may be repeated. One that reads sees all that was committed
    before it began; when cancelled, nothing is different. Any may raise StoreError.
    """

    def __init__(
        self, writer: Writer, readers: Readers, logs: LogQueue, blobs: Path, log_limit: int
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._logs = logs
        self._blobs = blobs
        self._log_limit = log_limit
        self._live: dict[int, LogWriter] = {}

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(self._writer.statistics(), len(self._live), self._logs.pending)

    async def _begin(self) -> None:
        await self._writer.write(runtimes.remove_all)
        for run_id, row in await self._readers.read(vertexes.open_logs):
            files = LogFiles.of(self._blobs, run_id, row)
            try:
                found = await trio.to_thread.run_sync(repair, files)
            except OSError as error:
                raise StoreError(f"the log {files.raw} cannot be repaired: {error}") from error
            await self._writer.write(
                functools.partial(
                    vertexes.close_log,
                    row=row,
                    raw_bytes=found.raw_bytes,
                    lines=found.lines,
                    cut=True,
                )
            )

    # Deliveries

    async def record_delivery(
        self,
        guid: str,
        event: str,
        action: str | None,
        body: bytes,
        *,
        repository: str | None = None,
        head_sha: str | None = None,
        sender: str | None = None,
        order_key: str | None = None,
        received_at: float | None = None,
    ) -> bool:
        """Keep a delivery as `received`: once this returns it survives any crash.

        False: the same guid is stored already and is handled or being handled; nothing changed. One
        that had failed or was set aside becomes `received` again, which is True.
        """
        delivery = Delivery(
            guid=guid,
            event=event,
            action=action,
            body=body,
            received_at=time.time() if received_at is None else received_at,
            state="received",
            attempts=0,
            error=None,
            repository=repository,
            head_sha=head_sha,
            sender=sender,
            order_key=order_key,
        )
        return await self._writer.write(lambda db: deliveries.record(db, delivery))

    async def delivery(self, guid: str) -> Delivery | None:
        """One delivery with its body."""
        return await self._readers.read(lambda db: deliveries.one(db, guid))

    async def unfinished_deliveries(self) -> list[Delivery]:
        """All that are `received` or `handling`, in the order in which they came, without their
        bodies (a backlog of them may be larger than memory): `delivery` has the body."""
        return await self._readers.read(deliveries.unfinished)

    async def set_delivery_state(self, guid: str, state: str, error: str | None = None) -> int:
        """Move a delivery to a state of `DELIVERY_STATES`, with what went wrong if something did.

        Returns how often it has begun to be handled: each move to `handling` counts one. Raises
        NotStored for an unknown guid, ValueError for an unknown state.
        """
        return await self._writer.write(lambda db: deliveries.set_state(db, guid, state, error))

    async def postpone_delivery(self, guid: str, why: str, until: float) -> int:
        """Put a delivery that began to be handled back until a time, for something that is not its
        fault: the attempt does not count. Returns how often in a row. NotStored if unknown."""
        return await self._writer.write(lambda db: deliveries.postpone(db, guid, why, until))

    async def fail_delivery(self, guid: str, why: str, until: float) -> int:
        """Put a delivery that failed back until a time. Returns how often it has failed. NotStored
        if unknown."""
        return await self._writer.write(lambda db: deliveries.fail(db, guid, why, until))

    async def release_delivery(self, guid: str) -> None:
        """Put a delivery back that was given up while it was handled, as if it had not begun."""
        await self._writer.write(lambda db: deliveries.release(db, guid))

    async def replay_delivery(self, guid: str) -> bool:
        """Make a delivery that failed or was set aside `received` again; False for any other."""
        return await self._writer.write(lambda db: deliveries.replay(db, guid))

    async def known_deliveries(self, guids: Iterable[str]) -> set[str]:
        """Those of the guids that are stored."""
        asked = list(guids)
        return await self._readers.read(lambda db: deliveries.known(db, asked))

    async def deliveries_about(self, order_key: str, limit: int = 20) -> list[Delivery]:
        """The newest deliveries about a head, newest first, with their bodies."""
        return await self._readers.read(lambda db: deliveries.about(db, order_key, limit))

    async def born(self) -> float:
        """When this database was made, in seconds since the epoch."""
        return await self._readers.read(database.born)

    async def deliveries(
        self, limit: int = 50, before: str | None = None, *, states: Sequence[str] = ()
    ) -> list[Delivery]:
        """The newest deliveries, newest first, without bodies. `before`: only those older than the
        one of this guid; `states`: only those in one of them."""
        count = _bounded(limit)
        return await self._readers.read(lambda db: deliveries.newest(db, count, before, states))

    # Heads

    async def supersede(
        self, repository_id: int, head_sha: str, place: str, by_sha: str, at: float
    ) -> None:
        """Note that a head gave way to another one at a place (a branch, a pull request)."""
        await self._writer.write(
            lambda db: heads.supersede(db, repository_id, head_sha, place, by_sha, at)
        )

    async def superseded(self, repository_id: int, head_sha: str, place: str) -> Superseded | None:
        """What a head gave way to at a place, the last time; None if to nothing."""
        return await self._readers.read(
            lambda db: heads.superseded(db, repository_id, head_sha, place)
        )

    # Users and thunks

    async def put_user(self, user: User) -> None:
        """Keep a user, or their new login."""
        await self._writer.write(lambda db: runs.put_user(db, user))

    async def user(self, user_id: int) -> User | None:
        return await self._readers.read(lambda db: runs.user(db, user_id))

    async def put_thunk(self, thunk: ThunkRecord) -> bool:
        """Keep a thunk. The first of a digest stays: False says that a *different* thunk (by
        SHA-256) has this digest already, for a digest is a name and no proof."""
        return await self._writer.write(lambda db: runs.put_thunk(db, thunk))

    async def thunk(self, digest: str) -> ThunkRecord | None:
        return await self._readers.read(lambda db: runs.thunk(db, digest))

    async def thunk_runs(
        self, digest: str, limit: int = 50, *, public_only: bool = True
    ) -> list[Run]:
        """The newest runs of a thunk, newest first."""
        page = await self.runs(limit, public_only=public_only, thunk_digest=digest)
        return list(page.items)

    # Runs and check runs

    async def intend_check(
        self,
        repository_id: int,
        repository: str,
        installation_id: int,
        head_sha: str,
        name: str,
        delivery: str,
        rerun: bool,
        run: Run,
    ) -> tuple[CheckRun, bool]:
        """The check run of this name on this head, and whether it was made now.

        In one transaction: what this delivery has made before is returned again; else the latest
        generation, unless there is none or this is a `rerun`; else the next generation is made,
        `intended`, together with its `run` (which is not stored otherwise). Those that are void do
        not count. Store the run's thunk first: StoreConflict if it is missing.
        """
        return await self._writer.write(
            lambda db: runs.intend_check(
                db,
                repository_id=repository_id,
                repository=repository,
                installation_id=installation_id,
                head_sha=head_sha,
                name=name,
                delivery=delivery,
                rerun=rerun,
                run=run,
            )
        )

    async def bind_check_run(self, row: int, github_id: int) -> None:
        """Note GitHub's id of it; it is `open` now. StoreConflict if it is bound to another id."""
        await self._writer.write(lambda db: runs.bind_check_run(db, row, github_id))

    async def conclude_check_run(self, row: int, conclusion: str) -> bool:
        """Note that GitHub was told its conclusion. False if that was so before."""
        return await self._writer.write(lambda db: runs.conclude_check_run(db, row, conclusion))

    async def postpone_conclusion(self, row: int, until: float) -> None:
        """Note that GitHub did not take its conclusion, and when it is told again."""
        await self._writer.write(lambda db: runs.postpone_conclusion(db, row, until))

    async def void_check_run(self, row: int) -> None:
        """It is no answer to the event that asked for it: when that is handled anew, the next
        generation is made."""
        await self._writer.write(lambda db: runs.void_check_run(db, row, runs.VOID))

    async def supersede_check_run(self, row: int) -> None:
        """It was cancelled for a newer head: when another event comes back to its head, the next
        generation is made."""
        await self._writer.write(lambda db: runs.void_check_run(db, row, runs.SUPERSEDED))

    async def unfinished_check_runs(self) -> list[tuple[CheckRun, Run]]:
        """All whose conclusion GitHub was not told, oldest first, each with its run."""
        return await self._readers.read(runs.unfinished_check_runs)

    async def check_run_of(self, run_id: str) -> CheckRun | None:
        return await self._readers.read(lambda db: runs.check_run_of(db, run_id))

    async def check_run_by_github_id(self, github_id: int) -> CheckRun | None:
        return await self._readers.read(lambda db: runs.check_run_by_github_id(db, github_id))

    async def start_run(
        self, run_id: str, runtime_id: str, runner_login: str, platform: str, at: float
    ) -> bool:
        """The run is `running` on this runtime since `at`. False if it has ended. NotStored if
        unknown."""
        return await self._writer.write(
            lambda db: runs.start_run(db, run_id, runtime_id, runner_login, platform, at)
        )

    async def end_run(self, run_id: str, state: str, message: str | None, at: float) -> bool:
        """The run ended in one of `RUN_ENDED_STATES`. False if it had ended before: then it stays
        as it was. NotStored if unknown."""
        return await self._writer.write(lambda db: runs.end_run(db, run_id, state, message, at))

    async def run(self, run_id: str) -> Run | None:
        return await self._readers.read(lambda db: runs.run(db, run_id))

    async def unfinished_runs(self) -> list[Run]:
        """All that are queued or running, oldest first."""
        return await self._readers.read(runs.unfinished_runs)

    async def runs(
        self,
        limit: int = 50,
        before: str | None = None,
        *,
        public_only: bool = True,
        repository: str | None = None,
        login: str | None = None,
        head_sha: str | None = None,
        head_branch: str | None = None,
        pull_request: int | None = None,
        check_name: str | None = None,
        delivery: str | None = None,
        state: str | None = None,
        states: Collection[str] | None = None,
        pushed: bool | None = None,
        thunk_digest: str | None = None,
    ) -> Page[Run]:
        """Runs, newest first, narrowed by what is not None; repository and login regardless of
        case. `before` is the `next` of an earlier page. `pushed` says whether they are of a branch
        (True) or of a pull request. Runs of private repositories only if `public_only` is False."""
        given = {
            "repository": repository,
            "login": login,
            "head_sha": head_sha,
            "head_branch": head_branch,
            "pull_request": pull_request,
            "check_name": check_name,
            "delivery": delivery,
            "state": state,
            "states": None if states is None else json.dumps(sorted(states)),
            "pushed": pushed,
            "thunk_digest": thunk_digest,
        }
        narrowed = {name: value for name, value in given.items() if value is not None}
        count = _bounded(limit)
        return await self._readers.read(
            lambda db: runs.runs(db, count, before, public_only, narrowed)
        )

    async def checks(
        self,
        repository: str,
        *,
        public_only: bool = True,
        head_sha: str | None = None,
        head_branch: str | None = None,
        pull_request: int | None = None,
        pushed: bool | None = None,
        check_name: str | None = None,
    ) -> list[Run]:
        """The newest run of each check of a repository, by the checks' names, narrowed as `runs`
        is. Only its newest 5,000 runs are looked at, so that a long history costs no more."""
        given = {
            "repository": repository,
            "head_sha": head_sha,
            "head_branch": head_branch,
            "pull_request": pull_request,
            "pushed": pushed,
            "check_name": check_name,
        }
        narrowed = {name: value for name, value in given.items() if value is not None}
        return await self._readers.read(
            lambda db: runs.checks(db, CHECKS_AMONG, public_only, narrowed)
        )

    # Vertexes

    async def put_vertexes(self, run_id: str, updates: Sequence[VertexUpdate]) -> dict[str, Vertex]:
        """Merge what a runner said about vertexes, in order, and return each of them by digest.
        Those that changed get the run's next version. NotStored for an unknown run."""
        found = await self._writer.write(lambda db: vertexes.put(db, run_id, updates))
        return {digest: self._with_extent(vertex) for digest, vertex in found.items()}

    async def vertexes(self, run_id: str, since_version: int = 0) -> list[Vertex]:
        """The vertexes of a run in the order of their first sight; those only that changed after
        `since_version` (a growing log is no change of its vertex until it is closed)."""
        found = await self._readers.read(lambda db: vertexes.since(db, run_id, since_version))
        return [self._with_extent(vertex) for vertex in found]

    async def vertex(self, run_id: str, row: int) -> Vertex | None:
        found = await self._readers.read(lambda db: vertexes.one(db, run_id, row))
        return None if found is None else self._with_extent(found)

    def _with_extent(self, vertex: Vertex) -> Vertex:
        log = self._live.get(vertex.row)
        if log is None:
            return vertex
        return replace(vertex, raw_bytes=log.raw_bytes, lines=log.lines)

    # Logs

    async def open_log(self, run_id: str, vertex_row: int) -> LogWriter:
        """Begin the log of a vertex. Close it; one that is not, because the process ended, is
        marked as cut at the next start. NotStored for an unknown vertex, StoreConflict if it has a
        log."""
        files = LogFiles.of(self._blobs, run_id, vertex_row)
        if not await self._writer.write(lambda db: vertexes.open_log(db, run_id, vertex_row)):
            raise StoreConflict(f"vertex {vertex_row} of run {run_id} has a log already")

        async def closed(log: LogWriter, cut: bool) -> None:
            await self._writer.write(
                lambda db: vertexes.close_log(db, vertex_row, log.raw_bytes, log.lines, cut)
            )
            self._live.pop(vertex_row, None)

        log = LogWriter(self._logs, LogSink(files), self._log_limit, closed)
        self._live[vertex_row] = log
        return log

    async def log_extent(self, run_id: str, vertex_row: int) -> LogExtent:
        """How long the log is now. NotStored for an unknown vertex."""
        live = self._live.get(vertex_row)
        if live is not None:
            await live.flush()
        found = await self.vertex(run_id, vertex_row)
        if found is None:
            raise NotStored(f"run {run_id} has no vertex {vertex_row}")
        return LogExtent(found.raw_bytes, found.lines, vertex_row not in self._live, found.log_cut)

    async def log_lines(self, run_id: str, vertex_row: int, start: int, stop: int) -> list[bytes]:
        """Settled lines `start` to `stop`, numbered from 0, without their newlines.

        Fewer where the log ends, or when the answer has become long (4 MiB; then ask again from
        there): an empty answer means that there is no line `start` yet. A line of more than 128 KiB
        is cut and says so. NotStored for an unknown vertex.
        """
        extent = await self.log_extent(run_id, vertex_row)
        files = LogFiles.of(self._blobs, run_id, vertex_row)
        return await trio.to_thread.run_sync(source.read_lines, files, extent.lines, start, stop)

    async def log_text(self, run_id: str, vertex_row: int, start: int = 0) -> LogText:
        """About 1 MiB of whole settled lines from line `start` on, for search and download: go on
        at `line + lines` until `lines` is 0. Long lines are cut as in `log_lines`."""
        extent = await self.log_extent(run_id, vertex_row)
        files = LogFiles.of(self._blobs, run_id, vertex_row)
        return await trio.to_thread.run_sync(
            source.read_text, files, extent.lines, start, TEXT_SIZE
        )

    async def log_blocks(
        self, run_id: str, vertex_row: int, start: int = 0
    ) -> AsyncGenerator[LogText]:
        """The settled text from line `start` to where it ends now, in pieces of whole lines of
        about 256 KiB, with colours and line endings as they stand: for search. A line of more than
        that is cut as in `log_lines`. Use it under `contextlib.aclosing`."""
        extent = await self.log_extent(run_id, vertex_row)
        if start >= extent.lines:
            return
        files = LogFiles.of(self._blobs, run_id, vertex_row)
        place = await trio.to_thread.run_sync(source.find_place, files, extent.lines, start)
        while True:
            text, place = await trio.to_thread.run_sync(
                source.read_block, files, extent.lines, place, _BLOCK
            )
            if not text.lines:
                return
            yield text

    async def log_times(
        self, run_id: str, vertex_row: int, start: int, stop: int, limit: int = 10_000
    ) -> list[LineTime]:
        """When lines `start` to `stop` were completed. The first may be of an earlier line, whose
        time still holds at `start`; each holds until the next."""
        await self.log_extent(run_id, vertex_row)
        files = LogFiles.of(self._blobs, run_id, vertex_row)
        return await trio.to_thread.run_sync(source.read_times, files, start, stop, limit)

    async def log_raw(self, run_id: str, vertex_row: int, offset: int = 0) -> AsyncGenerator[bytes]:
        """The bytes as received, from `offset` to where the log ends now, in chunks of 256 KiB. Use
        it under `contextlib.aclosing`."""
        extent = await self.log_extent(run_id, vertex_row)
        files = LogFiles.of(self._blobs, run_id, vertex_row)
        while offset < extent.raw_bytes:
            size = min(_RAW_CHUNK, extent.raw_bytes - offset)
            chunk = await trio.to_thread.run_sync(source.read_raw, files, offset, size)
            if not chunk:
                return
            offset += len(chunk)
            yield chunk

    # Runtimes

    async def add_runtime(self, runtime: RuntimeRecord) -> None:
        """A runtime is connected. StoreConflict if its id is there already."""
        await self._writer.write(lambda db: runtimes.add(db, runtime))

    async def remove_session(self, session: str) -> int:
        """The session ended: all its runtimes are gone. Returns how many there were."""
        return await self._writer.write(lambda db: runtimes.remove_session(db, session))

    async def runtimes(self) -> list[RuntimeRecord]:
        """Those that are connected, in the order in which they came."""
        return await self._readers.read(runtimes.connected)


def _bounded(limit: int) -> int:
    return max(1, min(limit, LIST_LIMIT))
