"""One log on its way to a bucket: what the bucket has, how to store the rest, and when to remove the local files.

The files are removed once the log is complete in the bucket. But if a node is lost, and another machine completes its
logs, nobody removes them, and nobody needs them: `remove_leftovers` does that.

Everything here blocks, and runs in a thread.
"""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import AutoResetEvent
from bassloop.lifecycle import LogState
from bassloop.store.blobs import FileReader
from bassloop.store.logs.appender import repair_log
from bassloop.store.logs.log_files import LogFiles, is_run_id
from bassloop.store.logs.log_objects import (
    LOGS,
    NOTHING,
    GrowingSizes,
    LogDamaged,
    LogEnd,
    chunk_name,
    chunk_size,
    end_name,
    log_prefix,
    pack_chunk,
    read_chunk_sizes,
    read_end,
    total_sizes,
    unpack_chunk,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from bassloop.store.blobs import Bucket
    from bassloop.store.database import Connection


CHUNK_BYTES = 1024 * 1024
"""A chunk is shipped once this many bytes are waiting."""

CHUNK_SECONDS = 1.0
"""A smaller chunk is shipped after this time. That leaves the bucket another second to store it before the bytes are
older than a log may lose with its node."""

MOST_OF_A_FILE = 4 * 1024 * 1024
"""The maximum number of bytes of each file in one chunk."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The final size of a log, for its step's row."""

    raw_bytes: int
    lines: int
    cut: bool


class AlreadyEnded(Exception):
    """Another node has ended the log, because it considered this node lost."""


@dataclass(eq=False)
class Shipment:
    """One log on its way to the bucket.

    Args:
        written: the sizes of the valid parts of the files.
        sent: the total sizes of the chunks in the bucket.
        chunks: the sizes of each of these chunks.
        completion: the final size, once the log is closed.
        abandoned: the daemon is ending, and the log was never closed.
        changed: set when any of this changes.
        waiting_since: when the oldest bytes that aren't in the bucket were written, on Trio's clock.
    """

    run_id: str
    row: int
    files: LogFiles
    written: GrowingSizes = NOTHING
    sent: GrowingSizes = NOTHING
    chunks: list[GrowingSizes] = field(default_factory=list)
    completion: Completion | None = None
    abandoned: bool = False
    changed: AutoResetEvent = field(default_factory=AutoResetEvent)
    waiting_since: float = math.inf

    @property
    def waiting(self) -> GrowingSizes:
        return self.written.minus(self.sent)

    @property
    def name(self) -> str:
        return log_prefix(self.run_id, self.row)

    def note_chunk(self, sizes: GrowingSizes) -> None:
        """Record that the next chunk, of these sizes, is in the bucket."""
        self.chunks.append(sizes)
        self.sent = self.sent.plus(sizes)

    async def wait_until_due(self) -> None:
        """Wait until there is something to ship."""
        while self.completion is None and not self.abandoned and self.waiting.total() < CHUNK_BYTES:
            with trio.move_on_at(self.waiting_since + CHUNK_SECONDS) as scope:
                await self.changed.wait()
            if scope.cancelled_caught:
                return


def resume(bucket: Bucket, shipment: Shipment) -> Completion | None:
    """Find out which parts of a log the bucket has. Return the final size if the log is complete there.

    If the bucket has bytes that the files don't have, because another machine wrote them or after a power failure,
    fetches them and repairs the files.
    """
    if (completion := find_completion(bucket, shipment)) is not None:
        return completion
    shipment.chunks = find_chunks(bucket, shipment.run_id, shipment.row)
    shipment.sent = total_sizes(shipment.chunks)
    if shipment.sent.minus(shipment.written).total():
        _fetch_chunks(bucket, shipment)
        shipment.files.lines.unlink(missing_ok=True)
        size = repair_log(shipment.files)
        shipment.written = growing_sizes(shipment.files)
        shipment.completion = Completion(size.raw_bytes, size.lines, cut=True)
        write_completion(shipment.files, shipment.completion)
    return None


def find_completion(bucket: Bucket, shipment: Shipment) -> Completion | None:
    """Return the final size of a log if it is complete in the bucket. Raises OSError."""
    try:
        end = read_end(bucket, shipment.run_id, shipment.row)
    except FileNotFoundError:
        return None
    return Completion(end.sizes.raw, end.lines, end.cut)


def _fetch_chunks(bucket: Bucket, shipment: Shipment) -> None:
    """Write the chunks' bytes to the files, at their offsets. The files may be longer."""
    files = shipment.files
    files.raw.parent.mkdir(parents=True, exist_ok=True)
    at = NOTHING
    for number, sizes in enumerate(shipment.chunks):
        name = chunk_name(shipment.run_id, shipment.row, number)
        data = bucket.fetch(name, 0, chunk_size(sizes))
        paths = (files.raw, files.text, files.pieces)
        for path, part, offset in zip(paths, unpack_chunk(data), at, strict=True):
            if part:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
                with os.fdopen(descriptor, "wb") as file:
                    file.seek(offset)
                    file.write(part)
        at = at.plus(sizes)


def store_chunk(bucket: Bucket, shipment: Shipment, sizes: GrowingSizes) -> int:
    """Store the next chunk, of these sizes, and return the size of its object. Idempotent.

    Raises AlreadyEnded and OSError.
    """
    raw, text, pieces = _read_growing(shipment.files, shipment.sent, sizes)
    name = chunk_name(shipment.run_id, shipment.row, len(shipment.chunks))
    return _create(bucket, name, pack_chunk(raw, text, pieces))


def store_end(bucket: Bucket, shipment: Shipment, completion: Completion) -> int:
    """Store the end of a log, which completes it, and return the size of its object. Idempotent.

    Raises AlreadyEnded and OSError.
    """
    files, rest = shipment.files, shipment.waiting
    index = files.lines.read_bytes() if files.lines.exists() else b""
    pieces = (
        files.pieces.read_bytes()[: shipment.written.pieces] if shipment.written.pieces else b""
    )
    raw, text, _ = _read_growing(files, shipment.sent, rest)
    end = LogEnd(
        shipment.written, completion.lines, len(index), completion.cut, tuple(shipment.chunks)
    )
    name = end_name(shipment.run_id, shipment.row)
    return _create(bucket, name, end.pack(index, pieces, raw, text))


def store_complete(
    bucket: Bucket, run_id: str, row: int, files: LogFiles, completion: Completion
) -> None:
    """Store a whole log that isn't being written. Idempotent. Raises AlreadyEnded and OSError."""
    shipment = Shipment(run_id, row, files, growing_sizes(files), completion=completion)
    if resume(bucket, shipment) is not None:
        return
    while shipment.waiting.total() >= CHUNK_BYTES:
        sizes = shipment.waiting.at_most(MOST_OF_A_FILE)
        store_chunk(bucket, shipment, sizes)
        shipment.note_chunk(sizes)
    store_end(bucket, shipment, completion)


def _create(bucket: Bucket, name: str, data: bytes) -> int:
    """Store an object, and return its size. Raises AlreadyEnded if there is a different one.

    There may be an equal one, if the response to an earlier attempt was lost.
    """
    if not bucket.create(name, data) and bucket.fetch(name, 0, len(data) + 1) != data:
        raise AlreadyEnded(f"{name} is in the bucket already, and is different")
    return len(data)


def _read_growing(files: LogFiles, at: GrowingSizes, sizes: GrowingSizes) -> list[bytes]:
    found = []
    for path, offset, size in zip((files.raw, files.text, files.pieces), at, sizes, strict=True):
        data = b""
        if size:
            with FileReader(path) as reader:
                data = reader.read(offset, size)
        if len(data) < size:
            raise LogDamaged(f"{path} is shorter than it was")
        found.append(data)
    return found


def find_chunks(bucket: Bucket, run_id: str, row: int) -> list[GrowingSizes]:
    """Return the sizes of the chunks of a log, up to the first missing one. Raises OSError."""
    names = {each.name for each in bucket.list(log_prefix(run_id, row))}
    found: list[GrowingSizes] = []
    while (name := chunk_name(run_id, row, len(found))) in names:
        found.append(read_chunk_sizes(bucket, name))
    return found


def growing_sizes(files: LogFiles) -> GrowingSizes:
    """Return the sizes of those files that are shipped in chunks."""
    paths = (files.raw, files.text, files.pieces)
    return GrowingSizes(*(path.stat().st_size if path.exists() else 0 for path in paths))


def write_completion(files: LogFiles, completion: Completion) -> None:
    """Write the final size of a log to a file next to it, which marks it as closed. Raises OSError."""
    part = files.closed.with_name(f"{files.closed.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps(asdict(completion)))
    part.replace(files.closed)


def read_completion(files: LogFiles) -> Completion | None:
    """Return the final size of a log that `write_completion` wrote, or None if the log wasn't closed."""
    try:
        return Completion(**json.loads(files.closed.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def remove_files(files: LogFiles) -> None:
    """Remove the files of a log that is in the bucket, the raw file first. Raises OSError."""
    for path in (*files.all, files.closed):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # other logs of the run are in it
        files.raw.parent.rmdir()


STRAY_SECONDS = 24 * 3600.0
"""The age at which files of logs without a row are removed, as of a run that was pruned."""


@dataclass(frozen=True, slots=True)
class LocalLog:
    """A log with files on this disk.

    Args:
        is_complete: whether a file marks it as complete.
        changed_at: when one of its files was last changed, in seconds since the epoch.
    """

    run_id: str
    row: int
    is_complete: bool
    changed_at: float


def list_local_logs(folder: Path) -> list[LocalLog]:
    """Return the logs with files on this disk. Skips what another process removes meanwhile."""
    return list(_local_logs(folder))


def _local_logs(folder: Path) -> Iterator[LocalLog]:
    for parent, _, names in os.walk(folder / LOGS):
        found: dict[int, float] = {}
        for name in names:
            row = name.partition(".")[0]
            with suppress(OSError):
                changed_at = Path(parent, name).stat().st_mtime
                if row.isdecimal():
                    found[int(row)] = max(changed_at, found.get(int(row), 0.0))
        run_id = Path(parent).name
        if is_run_id(run_id):
            for row_number, changed_at in found.items():
                is_complete = f"{row_number}.closed" in names
                yield LocalLog(run_id, row_number, is_complete, changed_at)


def log_states(db: Connection, run_ids: Collection[str]) -> dict[int, str]:
    """Return the states of the logs of runs, by row."""
    rows = db.execute(
        "SELECT id, log_state FROM vertexes WHERE run_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(run_ids)),),
    )
    return {row["id"]: row["log_state"] for row in rows}


def remove_leftovers(
    bucket: Bucket, logs: Collection[LocalLog], states: Mapping[int, str], now: float
) -> int:
    """Remove the files that nobody needs, and return how many logs they were of. Raises BucketError.

    A log may have been moved here before there was a bucket, and then the files are all there is of it. So they are
    removed only if the row or the bucket says that the log is complete there.

    Args:
        states: the states of these logs, by row, read after the logs were listed.
        now: in seconds since the epoch.
    """
    count = 0
    for each in logs:
        match states.get(each.row):
            case None:
                is_needed = each.changed_at > now - STRAY_SECONDS
            case LogState.CLOSED:
                is_needed = not each.is_complete
            case LogState.CUT:
                is_needed = not (each.is_complete or _is_in_bucket(bucket, each))
            case _:
                is_needed = True
        if not is_needed:
            with suppress(OSError):
                remove_files(LogFiles.of(bucket.folder, each.run_id, each.row))
                count += 1
    return count


def _is_in_bucket(bucket: Bucket, log: LocalLog) -> bool:
    try:
        read_end(bucket, log.run_id, log.row)
    except (FileNotFoundError, LogDamaged):
        return False
    return True
