"""Backups: copies of a store that are made while it is in use, and restored while it isn't.

The order makes a copy consistent. A log's files only grow, data before the records that point at it, and its row
becomes `closed`, with its size, once everything is on disk. So the database is copied *first*, as a consistent
snapshot, and *then* the logs that this copy lists: each has at least the size in its row. The files of a log that
was open at that time may be longer, or end within a record or a line, as after a crash. Opening the restored store
repairs them, as after a crash. Nothing is removed meanwhile, since pruning needs the same lock.

The format of a backup doesn't depend on the database engine: the rows of a PostgreSQL database are copied to an SQLite
file, in one transaction with a consistent snapshot, and restored to an empty database.

Another backup to the same folder copies only what is new. The old backup stays valid until the new one is complete:
first, logs are added or grow, which is compatible with the old database; then the database is replaced by renaming;
and then files that it doesn't list are removed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bassloop.lifecycle import LogState
from bassloop.store.artifacts import artifact_name, artifact_prefix, list_artifacts
from bassloop.store.blobs import FileBlobs
from bassloop.store.engines.sqlite import (
    SQLiteDatabase,
    open_read_only,
    restore_marker,
)
from bassloop.store.errors import StoreError, os_errors, sqlite_errors
from bassloop.store.logs.log_files import LogFiles, open_parts
from bassloop.store.logs.log_objects import find_log, log_sizes, remove_logs
from bassloop.store.maintenance import Progress, ignore_progress, maintenance_lock
from bassloop.store.maintenance.integrity import verify_backup
from bassloop.store.maintenance.transfer import check_empty, copy_store, move_blobs

if TYPE_CHECKING:
    from bassloop.store.blobs import BlobReader, Blobs
    from bassloop.store.database import Database
    from bassloop.store.logs.log_files import LogParts

ABOUT = "backup.json"
"""The file that marks a folder as a backup. It contains the time of the backup, for people."""

DATABASE, BLOBS = "loop.db", "blobs"

_CHUNK = 1024 * 1024


class BackupError(StoreError):
    """Backing up to a folder, or restoring from it, is impossible."""


@dataclass(frozen=True, slots=True)
class BackupReport:
    """The result of a backup.

    Args:
        bytes: the size of the whole backup.
        copied: how many bytes of it were copied this time.
        lost: how many logs and artifacts in the database have no files.
    """

    runs: int
    bytes: int
    copied: int
    lost: int


def back_up(
    database: Database,
    blobs: Blobs,
    to: Path,
    *,
    now: float,
    progress: Progress = ignore_progress,
) -> BackupReport:
    """Copy a store to the folder `to`, which must be new, empty, or an earlier backup.

    Raises BackupError if it isn't, StoreBusy while the store is being pruned, and StoreError (StoreFull if there
    is no room). If it fails or is killed, an earlier backup in `to` remains valid.
    """
    about = to / ABOUT
    if to.exists() and not about.is_file() and any(to.iterdir()):
        raise BackupError(f"{to} is neither empty nor a backup: name another folder")
    with os_errors(to), database.inspect(), maintenance_lock(database, blobs.folder):
        (to / BLOBS).mkdir(parents=True, exist_ok=True)
        about.touch()
        fresh = to / f"{DATABASE}.new"
        progress("copying the database", 0, 0)
        _copy_database(database, fresh)
        with open_read_only(fresh, at_rest=True) as copy:
            logs = copy.execute(
                "SELECT run_id, id, log_state, raw_bytes FROM vertexes WHERE log_state != 'none'"
            ).fetchall()
            runs = {row["id"] for row in copy.execute("SELECT id FROM runs")}
            artifacts = copy.execute(
                "SELECT run_id, sha256, bytes FROM artifacts WHERE kept = 1"
            ).fetchall()
        copied = lost = 0
        copies = FileBlobs(to / BLOBS)
        for done, row in enumerate(logs):
            progress("copying logs", done, len(logs))
            size = _copy_log(
                find_log(blobs, row["run_id"], row["id"]),
                LogFiles.of(copies.folder, row["run_id"], row["id"]),
                complete=row["log_state"] != LogState.OPEN,
            )
            copied += size or 0
            lost += bool(row["raw_bytes"]) and size is None
        for done, row in enumerate(artifacts):
            progress("copying artifacts", done, len(artifacts))
            name = artifact_name(row["run_id"], row["sha256"])
            copied += _copy_artifact(blobs, name, row["bytes"], copies.folder / name)
            lost += not (copies.folder / name).exists()
        progress("writing to the disk", 0, 0)
        os.sync()  # all at once: syncing each file takes ten times as long
        fresh.replace(to / DATABASE)
        sizes = log_sizes(copies)
        for run_id in sizes.keys() - runs:
            remove_logs(copies, run_id)
        for run_id in list_artifacts(copies).keys() - {row["run_id"] for row in artifacts}:
            copies.remove(artifact_prefix(run_id))
        about.write_text(json.dumps({"made_at": now, "runs": len(runs)}) + "\n")
    size = (to / DATABASE).stat().st_size
    total = size + sum(count for run_id, count in sizes.items() if run_id in runs)
    total += sum(row["bytes"] for row in artifacts)
    return BackupReport(len(runs), total, size + copied, lost)


def _copy_database(database: Database, to: Path) -> None:
    """Copy a consistent snapshot of a database to one file without a write-ahead log."""
    to.unlink(missing_ok=True)
    if isinstance(database, SQLiteDatabase):
        with (
            database.inspect() as source,
            sqlite_errors(to),
            contextlib.closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target)  # in one step: otherwise, each commit would restart it
    else:
        copy_store(database, SQLiteDatabase(to, "OFF"))
    with sqlite_errors(to), contextlib.closing(sqlite3.connect(to)) as target:
        target.execute("PRAGMA journal_mode = DELETE")


def _copy_log(source: LogParts, target: LogFiles, *, complete: bool) -> int | None:
    """Copy the files of a log, indexes before data. Return the bytes that were copied, or None without files.

    The files of a complete log don't change, so a copy of the same size is up to date.
    """
    copied = 0
    paths = (target.pieces, target.lines, target.text, target.raw)
    with open_parts(source, "pieces", "lines", "text", "raw") as readers:
        for reader, to in zip(readers, paths, strict=True):
            if reader is None:
                to.unlink(missing_ok=True)
            elif not (complete and to.exists() and to.stat().st_size == reader.size):
                copied += _copy_blob(reader, to)
        return copied if readers[-1] is not None else None


def _copy_artifact(blobs: Blobs, name: str, size: int, to: Path) -> int:
    """Copy an artifact, and return the bytes that were copied.

    Artifacts don't change, so a copy of the same size is up to date.
    """
    if to.exists() and to.stat().st_size == size:
        return 0
    try:
        with blobs.open(name) as reader:
            return _copy_blob(reader, to)
    except FileNotFoundError:
        return 0


def _copy_blob(reader: BlobReader, to: Path) -> int:
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(f"{to.name}.part")
    size = 0
    with part.open("wb") as file:
        while data := reader.read(size, _CHUNK):
            size += file.write(data)
    part.replace(to)
    return size


def restore(
    backup: Path,
    database: Database,
    blobs: Blobs,
    *,
    overwrite: bool = False,
    now: float,
    progress: Progress = ignore_progress,
) -> list[Path]:
    """Restore a backup to a database and a container of blobs.

    With `overwrite`, moves an existing file and folder aside, never removing them, and returns their new paths.
    A PostgreSQL database and a bucket must be empty. If killed during the restore, no daemon starts until another
    restore completes it. If killed while filling the bucket, `move_blobs` continues.

    Raises BackupError if the backup isn't intact, or if there is data and `overwrite` is false; StoreUnusable while
    a daemon uses the store, or if a PostgreSQL database has rows; and StoreError.
    """
    if not (backup / ABOUT).is_file() or not (backup / DATABASE).is_file():
        raise BackupError(f"{backup} is not a backup: it has no {ABOUT} and {DATABASE}")
    path = database.path if isinstance(database, SQLiteDatabase) else None
    interrupted = path is not None and restore_marker(path).exists()
    existing = [each for each in (path, blobs.folder) if each is not None and each.exists()]
    if existing and not overwrite and not interrupted:
        raise BackupError(
            f"there is already data in {existing[0]}: use --overwrite to move it aside"
        )
    if blobs.bucket is not None and next(iter(blobs.bucket.list("")), None) is not None:
        raise BackupError(f"{blobs} is not empty: name another prefix in BLOBS_URL")
    wrong = [each.what for each in verify_backup(backup / DATABASE, backup / BLOBS, progress)]
    if wrong:
        raise BackupError(f"the backup in {backup} is not intact: {'; '.join(wrong[:5])}")
    with os_errors(blobs.folder):
        blobs.folder.parent.mkdir(parents=True, exist_ok=True)
        if path is None:
            moved = _restore_rows(backup, database, blobs.folder, now, progress)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with database.ownership():
                moved = _replace_store(backup, path, blobs.folder, now, progress)
        if blobs.bucket is not None:
            for done, _ in enumerate(move_blobs(database, blobs)):
                progress("filling the bucket", done, 0)
        return moved


def _restore_rows(
    backup: Path, database: Database, blobs: Path, now: float, progress: Progress
) -> list[Path]:
    """Copy a backup's blobs, and then its rows in one transaction, so the database is empty until the end."""
    fresh_blobs = _copy_blobs(backup, blobs, progress)
    progress("copying the database", 0, 0)
    with tempfile.TemporaryDirectory(dir=blobs.parent) as folder:
        copy = SQLiteDatabase(Path(folder) / DATABASE, "OFF")
        shutil.copyfile(backup / DATABASE, copy.path)
        copy.prepare()  # migrates a backup of an older version
        check_empty(database)
        with database.ownership():
            aside = blobs.with_name(f"{blobs.name}.before-{now:.0f}")
            moved = [blobs.rename(aside)] if blobs.exists() else []
            fresh_blobs.rename(blobs)
            copy_store(copy, database)
    return moved


def _copy_blobs(backup: Path, blobs: Path, progress: Progress) -> Path:
    fresh = blobs.with_name(f"{blobs.name}.copy")
    shutil.rmtree(fresh, ignore_errors=True)
    total = sum(len(names) for _, _, names in os.walk(backup / BLOBS))
    done = itertools.count()

    def copy(source: str, target: str) -> None:
        progress("copying files", next(done), total)
        shutil.copy2(source, target)

    shutil.copytree(backup / BLOBS, fresh, copy_function=copy)
    return fresh


def _replace_store(
    backup: Path, database: Path, blobs: Path, now: float, progress: Progress
) -> list[Path]:
    fresh = database.with_name(f"{database.name}.copy")
    fresh_blobs = _copy_blobs(backup, blobs, progress)
    progress("copying the database", 0, 0)
    shutil.copyfile(backup / DATABASE, fresh)
    os.sync()
    fresh = fresh.rename(restore_marker(database))  # until this is in place, no daemon starts
    aside = {path: path.with_name(f"{path.name}.before-{now:.0f}") for path in (database, blobs)}
    for suffix in ("-wal", "-shm"):
        if (beside := Path(f"{database}{suffix}")).exists():
            beside.rename(f"{aside[database]}{suffix}")
    moved = [path.rename(to) for path, to in aside.items() if path.exists()]
    fresh_blobs.rename(blobs)
    fresh.rename(database)
    return moved
