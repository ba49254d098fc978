"""Moves a store: all rows to another database, and all complete logs and artifacts to a bucket.

Each blob is stored in the bucket, read back without the cache, compared by size and hash, and only then removed from
the folder. So the process may be killed at any time, and started again. Blobs that aren't moved yet are read from the
folder meanwhile. A daemon may be running.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import xxhash

from bassloop.lifecycle import LogState
from bassloop.store.artifacts import list_artifacts
from bassloop.store.blobs import FileBlobs, FileReader, note_bucket
from bassloop.store.errors import StoreError, StoreUnusable, os_errors
from bassloop.store.logs.log_files import LogFiles, open_parts
from bassloop.store.logs.log_objects import StoredLog
from bassloop.store.logs.shipment import Completion, remove_files, store_complete
from bassloop.store.maintenance import maintenance_lock
from bassloop.store.schema import TABLES, TEMPORARY_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from bassloop.store.blobs import BlobReader, Blobs, Bucket
    from bassloop.store.database import Connection, Database
    from bassloop.store.logs.log_files import Part


_ROWS_AT_ONCE = 200
_HASHES = 1 << 64

_CHUNK = 1024 * 1024
_PARTS: tuple[Part, ...] = ("raw", "text", "lines", "pieces")


class TransferError(StoreError):
    """The rows of a store couldn't be copied, and none were."""


def copy_store(source: Database, target: Database) -> dict[str, int]:
    """Create the tables of an empty database, and copy all rows to it in one transaction.

    Reads a consistent snapshot of the source, which must have been prepared by this version. Before the commit, reads
    the rows back and compares them with those of the source. Returns the number of rows in each table.

    Raises StoreUnusable if the target has rows, TransferError if the rows read back differ, and StoreError.
    """
    check_empty(target)
    with (
        _errors(target),
        contextlib.closing(target.connect()) as writer,
        source.snapshot() as reader,
    ):
        target.begin(writer)
        copied = {table: _copy_table(source, reader, writer, table) for table in _tables()}
        for table, expected in copied.items():
            found = _summarize(target.scan(writer, f"SELECT {_names(reader, table)} FROM {table}"))
            if found != expected:
                raise TransferError(
                    f"{table}: {expected[0]:,} rows were copied, and {found[0]:,} read back, "
                    "which aren't the same; nothing was copied"
                )
        target.set_sequences(writer)
        target.commit(writer)
    return {table: count for table, (count, _) in copied.items()}


def check_empty(database: Database) -> None:
    """Create a database's tables if they are missing. Raises StoreUnusable if there are rows."""
    database.prepare()
    with database.snapshot() as connection:
        for table in _tables():
            if connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None:
                raise StoreUnusable(
                    f"database {database} isn't empty, and is left as it is: name an empty one"
                )


def _tables() -> list[str]:
    return [table for table in TABLES if table not in TEMPORARY_TABLES]


def _names(connection: Connection, table: str) -> str:
    found = connection.execute(f"SELECT * FROM {table} LIMIT 0").description
    return ", ".join(column[0] for column in found)


def _copy_table(
    source: Database, reader: Connection, writer: Connection, table: str
) -> tuple[int, int]:
    """Copy the rows of a table, and return their summary (see `_summarize`)."""
    names = _names(reader, table)
    marks = ", ".join("?" for _ in names.split(", "))
    insert = f"INSERT INTO {table} ({names}) VALUES ({marks})"
    count = total = 0
    rows = (tuple(row) for row in source.scan(reader, f"SELECT {names} FROM {table}"))
    while batch := list(islice(rows, _ROWS_AT_ONCE)):
        writer.executemany(insert, batch)
        some, hashes = _summarize(batch)
        count, total = count + some, (total + hashes) % _HASHES
    return count, total


def _summarize(rows: Iterable[Sequence[Any]]) -> tuple[int, int]:
    """Return the number of rows, and a hash of them that doesn't depend on their order."""
    count = total = 0
    for row in rows:
        count += 1
        total += xxhash.xxh3_64_intdigest(repr([_as_copied(value) for value in row]).encode())
    return count, total % _HASHES


def _as_copied(value: Any) -> Any:
    """Return a value as PostgreSQL stores it, with NUL characters in text replaced."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


@contextlib.contextmanager
def _errors(database: Database) -> Iterator[None]:
    try:
        yield
    except database.errors as error:
        raise database.translate(error) from error


@dataclass(frozen=True, slots=True)
class MovedBlob:
    """A log or an artifact that was moved from the folder to the bucket."""

    name: str
    bytes: int


class BlobsDiffer(StoreError):
    """The bucket returned something else than was stored."""


def move_blobs(database: Database, blobs: Blobs) -> Iterator[MovedBlob]:
    """Move the blobs of a store from the folder to the bucket, one after the other.

    Raises StoreBusy while the store is pruned or backed up, BlobsDiffer, and StoreError.
    """
    bucket, folder = blobs.bucket, blobs.folder
    if bucket is None:
        raise StoreError("there is no bucket to move to: set BLOBS_URL")
    with os_errors(folder), maintenance_lock(database, folder):
        note_bucket(folder, bucket)
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
    """Return the size of two equal files. Raises BlobsDiffer if they differ."""
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
