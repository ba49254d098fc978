"""Moves blobs from a folder to a bucket: all logs and artifacts that are complete.

Each is stored in the bucket, read back past every cache, compared by size and hash, and only then removed
from the folder. So it may be killed at any time and called again; what isn't moved yet is read from the
folder meanwhile. A daemon may run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.lifecycle import LogState
from bassloop.store.artifact_files import list_artifacts
from bassloop.store.blobs import FileBlobs, FileReader
from bassloop.store.errors import StoreError, os_errors
from bassloop.store.logs.log_files import LogFiles, open_parts
from bassloop.store.logs.log_objects import StoredLog
from bassloop.store.logs.shipment import Completion, remove_files, store_complete
from bassloop.store.maintenance.maintenance_lock import maintenance_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bassloop.store.blobs import BlobReader, Blobs, Bucket
    from bassloop.store.database import Database
    from bassloop.store.logs.log_files import Part

_CHUNK = 1024 * 1024
_PARTS: tuple[Part, ...] = ("raw", "text", "lines", "pieces")


@dataclass(frozen=True, slots=True)
class MovedBlob:
    """A log or an artifact that is in the bucket now, and not in the folder any more."""

    name: str
    bytes: int


class BlobsDiffer(StoreError):
    """What the bucket returned isn't what was stored."""


def move_blobs(database: Database, blobs: Blobs) -> Iterator[MovedBlob]:
    """Move the blobs of a store from the folder to the bucket, one after the other.

    Raises StoreBusy while the store is pruned or backed up, BlobsDiffer, and StoreError.
    """
    bucket, folder = blobs.bucket, blobs.folder
    if bucket is None:
        raise StoreError("there is no bucket to move to: set BLOBS_URL")
    with os_errors(folder), maintenance_lock(folder):
        with database.inspect() as db:
            rows = db.execute(
                "SELECT run_id, id, log_state, raw_bytes, lines FROM vertexes "
                "WHERE log_state IN ('closed', 'cut') ORDER BY id"
            ).fetchall()
        for row in rows:
            files = LogFiles.of(folder, row["run_id"], row["id"])
            if files.raw.exists() and not files.closed.exists():
                cut = row["log_state"] == LogState.CUT
                completion = Completion(row["raw_bytes"], row["lines"], cut)
                yield _move_log(bucket, files, row["run_id"], row["id"], completion)
        for artifacts in list_artifacts(FileBlobs(folder)).values():
            for each in artifacts:
                yield _move_artifact(bucket, folder / each.name, each.name)


def _move_log(
    bucket: Bucket, files: LogFiles, run_id: str, row: int, completion: Completion
) -> MovedBlob:
    store_complete(bucket, run_id, row, files, completion)
    size = 0
    stored = StoredLog(bucket.uncached(), run_id, row)
    for part in _PARTS:
        with open_parts(files, part) as (here,), open_parts(stored, part) as (there,):
            size += _compare(f"the {part} of log {row} of run {run_id}", here, there)
    remove_files(files)
    return MovedBlob(f"log {row} of run {run_id}", size)


def _move_artifact(bucket: Bucket, path: Path, name: str) -> MovedBlob:
    bucket.copy_in(path, name)
    with FileReader(path) as here, bucket.uncached().open(name) as there:
        size = _compare(name, here, there)
    FileBlobs(path.parent).remove(path.name)
    return MovedBlob(name, size)


def _compare(what: str, here: BlobReader | None, there: BlobReader | None) -> int:
    """Return the size of two files. Raises BlobsDiffer unless both are the same."""
    wanted, found = (_summary(reader) for reader in (here, there))
    if wanted != found:
        raise BlobsDiffer(
            f"{what}: the bucket has {found[0]:,} bytes with the SHA-256 {found[1]}, the folder "
            f"{wanted[0]:,} with {wanted[1]}; it stays in the folder"
        )
    return wanted[0]


def _summary(reader: BlobReader | None) -> tuple[int, str]:
    digest, offset = hashlib.sha256(), 0
    while reader is not None and (data := reader.read(offset, _CHUNK)):
        digest.update(data)
        offset += len(data)
    return offset, digest.hexdigest()
