"""Integrity: compares the database with the logs and artifacts, and repairs defects if possible.

A repair invents nothing: it keeps what the files still contain, and reports what is lost.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.lifecycle import LogState
from bassloop.store import steps
from bassloop.store.artifacts import ARTIFACTS, artifact_name
from bassloop.store.blobs import FileBlobs
from bassloop.store.engines.sqlite import SQLiteDatabase, open_read_only
from bassloop.store.errors import StoreError, StoreUnusable
from bassloop.store.journals import find_broken_links
from bassloop.store.logs.appender import repair_log
from bassloop.store.logs.log_files import (
    LINE_RECORD,
    PIECE_RECORD,
    TEXT_HEADER,
    TEXT_MAGIC,
    LogFiles,
)
from bassloop.store.logs.log_objects import (
    LOGS,
    chunk_name,
    chunk_size,
    end_name,
    log_sizes,
    places,
    read_end,
    remove_logs,
)
from bassloop.store.maintenance import Progress, ignore_progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bassloop.store.blobs import Blobs, Bucket
    from bassloop.store.database import Connection, Database, ResultRow

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Defect:
    """A defect of a store.

    Args:
        what: a description for people.
        repaired: how it was repaired, or None if it wasn't.
    """

    what: str
    repaired: str | None = None


class DatabaseDamaged(StoreUnusable):
    """The engine can't read all of the database, so it has to be salvaged."""


def check_store(
    database: Database, blobs: Blobs, *, in_use: bool, progress: Progress = ignore_progress
) -> Iterator[Defect]:
    """Find the defects of a store without changing anything. Raises the errors of `check`."""
    with database.inspect() as connection:
        yield from check(database, connection, blobs, in_use=in_use, progress=progress)


def verify_backup(
    database: Path, blobs: Path, progress: Progress = ignore_progress
) -> Iterator[Defect]:
    """Find the defects of a backup. Raises the errors of `check`.

    Ignores incomplete logs that were open at the time of the backup, and logs from a later backup that failed.
    """
    with open_read_only(database, at_rest=True) as connection:
        yield from check(
            SQLiteDatabase(database),
            connection,
            FileBlobs(blobs),
            in_use=True,
            strays=False,
            progress=progress,
        )


def check(
    database: Database,
    db: Connection,
    blobs: Blobs,
    *,
    repair: bool = False,
    in_use: bool = False,
    strays: bool = True,
    progress: Progress = ignore_progress,
) -> Iterator[Defect]:
    """Yield the defects of a store.

    Raises DatabaseDamaged if the database itself is damaged, since its contents can't be trusted then; the
    engine's errors; and StoreError.

    Args:
        repair: repair each defect. The connection must be able to write, and nobody else may use the store.
        in_use: a daemon uses the store; ignore what it may be writing or pruning.
        strays: find files that belong to no row.
    """
    progress("verifying the database", 0, 0)
    if problems := database.damage(db):
        raise DatabaseDamaged("the database is damaged: " + "; ".join(problems))
    yield from _check_references(database, db, repair)
    # A journal can't be repaired, since it's unknown what was changed.
    yield from map(Defect, find_broken_links(db))
    yield from _check_logs(db, blobs, repair, in_use, progress)
    yield from _check_artifacts(db, blobs, repair, in_use)
    if strays:
        yield from _check_strays(db, blobs, repair, in_use)


def _check_references(database: Database, db: Connection, repair: bool) -> Iterator[Defect]:
    """Find rows that refer to missing rows. A repair removes them, repeatedly, since others may refer to them."""
    while found := database.dangling_rows(db):
        for table, rowid, parent in found:
            what = f"row {rowid} of {table} refers to one of {parent} that is not there"
            if not repair:
                yield Defect(what)
                continue
            if rowid is None:
                raise StoreError(f"{what}, and has no number to remove it by")
            db.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))
            yield Defect(what, "removed")
        if not repair:
            return


def _check_logs(
    db: Connection, blobs: Blobs, repair: bool, in_use: bool, progress: Progress
) -> Iterator[Defect]:
    rows = db.execute(
        "SELECT run_id, id, log_state, raw_bytes, lines FROM vertexes WHERE log_state != 'none'"
    ).fetchall()
    stored: dict[str, int] = {}
    if blobs.bucket is not None:
        stored = {each.name: each.size for each in blobs.bucket.list(LOGS)}
    for done, row in enumerate(rows):
        progress("verifying logs", done, len(rows))
        files = LogFiles.of(blobs.folder, row["run_id"], row["id"])
        state = row["log_state"]
        name = f"log {row['id']} of run {row['run_id']}"
        try:
            if state == LogState.OPEN:
                if in_use or blobs.bucket is not None:  # the daemon ships the rest of it
                    continue
                defect: str | None = "was being written when the loop ended"
            else:
                cut = state == LogState.CUT
                if blobs.bucket is not None and not files.raw.exists():
                    defect = find_stored_defect(blobs.bucket, stored, row, cut=cut)
                    if defect is not None and _is_stored(db, row["id"]):
                        yield Defect(f"{name}: {defect}")
                    continue
                defect = find_defect(files, row["raw_bytes"], row["lines"], cut=cut)
            if defect is None or (in_use and not _is_stored(db, row["id"])):
                continue
            repaired = _repair_log(db, files, row) if repair else None
            yield Defect(f"{name}: {defect}", repaired)
        except OSError as error:
            yield Defect(f"{name} cannot be read: {error}")


def _check_artifacts(db: Connection, blobs: Blobs, repair: bool, in_use: bool) -> Iterator[Defect]:
    rows = db.execute(
        "SELECT id, run_id, path, bytes, sha256 FROM artifacts WHERE kept = 1"
    ).fetchall()
    sizes = {each.name: each.size for place in places(blobs) for each in place.list(ARTIFACTS)}
    for row in rows:
        size = sizes.get(artifact_name(row["run_id"], row["sha256"]), 0)
        if size == row["bytes"] or (in_use and not _is_kept(db, row["id"])):
            continue
        what = f"the artifact {row['path']} of run {row['run_id']} has {size:,} of its {row['bytes']:,} bytes"
        if repair:
            db.execute("UPDATE artifacts SET kept = 0 WHERE id = ?", (row["id"],))
        yield Defect(what, "it counts as expired" if repair else None)


def _is_kept(db: Connection, artifact: int) -> bool:
    """Return whether an artifact is still kept. It may have expired meanwhile, and its file is removed after that."""
    query = "SELECT 1 FROM artifacts WHERE id = ? AND kept = 1"
    return db.execute(query, (artifact,)).fetchone() is not None


def _is_stored(db: Connection, step: int) -> bool:
    """Return whether a step is still stored. Pruning may have removed it meanwhile, rows before files."""
    return bool(db.execute("SELECT 1 FROM vertexes WHERE id = ?", (step,)).fetchone())


def _repair_log(db: Connection, files: LogFiles, row: ResultRow) -> str:
    """Rebuild the index of a log from its bytes, and return a description of the result."""
    files.lines.unlink(missing_ok=True)
    now = repair_log(files)
    complete = row["log_state"] == LogState.CLOSED and now.raw_bytes == row["raw_bytes"]
    lines = now.lines
    if complete and not files.text.exists() and _ends_within_a_line(files.raw):
        lines += 1
    intact = complete and lines == row["lines"]
    steps.close_log(db, row["id"], now.raw_bytes, lines, cut=not intact)
    if intact:
        return "nothing is lost"
    lost = max(0, row["raw_bytes"] - now.raw_bytes)
    message = f"{now.raw_bytes:,} bytes and {lines:,} lines are kept, and it is marked as cut"
    return f"{message}; {lost:,} bytes are lost" if lost else message


def _ends_within_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _check_strays(db: Connection, blobs: Blobs, repair: bool, in_use: bool) -> Iterator[Defect]:
    """Find logs that belong to no run, or to no step of their run.

    Lists the files before the rows, since a row is always stored before its files. If the store is in use, ignores
    logs without a run, since the daemon removes them.
    """
    sizes = log_sizes(blobs)
    found = [(place, each) for place in places(blobs) for each in place.list(LOGS)]
    for run_id, size in sizes.items():
        if not db.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone():
            if in_use:
                continue
            if repair:
                remove_logs(blobs, run_id)
            what = f"a folder of logs, {size:,} bytes, belongs to no run: {run_id}"
            yield Defect(what, "removed" if repair else None)
    rows: dict[str, set[str]] = {}
    for row in db.execute("SELECT run_id, id FROM vertexes"):
        rows.setdefault(row["run_id"], set()).add(str(row["id"]))
    for place, each in found:
        _, run_id, name = each.name.split("/", 2)
        if run_id in rows and name.replace("/", ".").partition(".")[0] not in rows[run_id]:
            what = f"{place}: {each.name} ({each.size:,} bytes) belongs to no step"
            if repair:
                place.remove(each.name)
            yield Defect(what, "removed" if repair else None)


def find_stored_defect(
    bucket: Bucket, stored: dict[str, int], row: ResultRow, *, cut: bool
) -> str | None:
    """Return the defect of a closed log in a bucket, or None. Raises OSError.

    Compares only the sizes of the objects, since the service itself checks their contents.

    Args:
        stored: the sizes of all objects, by name.
    """
    run_id, step = row["run_id"], row["id"]
    if end_name(run_id, step) not in stored:
        return "it is missing from the bucket" if row["raw_bytes"] else None
    end = read_end(bucket, run_id, step)
    for number, sizes in enumerate(end.chunks):
        if stored.get(chunk_name(run_id, step, number)) != chunk_size(sizes):
            return f"chunk {number} of its {len(end.chunks)} is missing from the bucket, or damaged"
    if stored[end_name(run_id, step)] != end.total_bytes:
        return "its end has another size than it should"
    if end.sizes.raw < row["raw_bytes"]:
        return f"{row['raw_bytes'] - end.sizes.raw:,} of its {row['raw_bytes']:,} bytes are missing"
    if not cut and (end.sizes.raw, end.lines) != (row["raw_bytes"], row["lines"]):
        return "it has another size than it should"
    return None


def find_defect(files: LogFiles, raw_bytes: int, lines: int, *, cut: bool) -> str | None:
    """Return the defect of a closed log, or None. Raises OSError.

    It should have this many raw bytes and lines; if it was cut, it may have more.
    """
    size = _size(files.raw)
    if size < raw_bytes:
        return f"{raw_bytes - size:,} of its {raw_bytes:,} bytes are missing"
    if size > raw_bytes and not cut:
        return f"it has {size - raw_bytes:,} bytes more than its {raw_bytes:,}"
    before = size
    if files.text.exists():
        header = _start(files.text)
        if len(header) < TEXT_HEADER.size or not header.startswith(TEXT_MAGIC):
            return "its settled text is truncated"
        before = int(TEXT_HEADER.unpack(header)[1])
        if before > size:
            return "its settled text goes on from bytes that are missing"
    try:
        found = _count_lines(files, before)
    except _LogDefect as defect:
        return str(defect)
    if found < lines or (found > lines and not cut):
        return f"it has {found:,} lines, and should have {lines:,}"
    if _size(files.pieces) % PIECE_RECORD.size:
        return "the index of its times is truncated"
    return None


class _LogDefect(Exception):
    """The index of lines is wrong."""


def _count_lines(files: LogFiles, before: int) -> int:
    """Return the number of lines of the settled text. Raises _LogDefect if the index of lines doesn't match it."""
    index = files.lines.read_bytes() if files.lines.exists() else b""
    if len(index) % LINE_RECORD.size:
        raise _LogDefect("the index of its lines is truncated")
    records = iter(LINE_RECORD.iter_unpack(index))
    record = next(records, None)
    offset, count, last = 0, 0, b"\n"
    for path, skipped, end in ((files.raw, 0, before), (files.text, TEXT_HEADER.size, None)):
        if not path.exists():
            continue
        with path.open("rb") as file:
            file.seek(skipped)
            left = end
            while chunk := file.read(_CHUNK if left is None else min(_CHUNK, left)):
                left = None if left is None else left - len(chunk)
                counted = 0
                while record is not None and record[1] < offset + len(chunk):
                    at = record[1] - offset
                    if at < counted or (chunk[at - 1 : at] if at else last) != b"\n":
                        raise _LogDefect("the index of its lines is wrong")
                    count += chunk.count(b"\n", counted, at)
                    counted = at
                    if count != record[0]:
                        raise _LogDefect("the index of its lines is wrong")
                    record = next(records, None)
                count += chunk.count(b"\n", counted)
                offset += len(chunk)
                last = chunk[-1:]
    if record is not None and record[1] > offset:
        raise _LogDefect("the index of its lines is longer than its text")
    return count + (last != b"\n")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return os.read(file.fileno(), TEXT_HEADER.size)
