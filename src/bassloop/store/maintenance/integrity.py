"""Integrity: compares the database with the logs, and repairs what can be repaired.

Nothing is made up: a repair keeps what the files still contain, and says what is lost.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.lifecycle import LogState
from bassloop.store import steps
from bassloop.store.artifact_files import artifact_file
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
from bassloop.store.maintenance.log_folders import file_names, log_sizes, remove_logs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bassloop.store.database import Connection, Database, ResultRow

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Defect:
    """Something that is wrong with a store.

    Args:
        repaired: how it was repaired, or None if it wasn't.
    """

    what: str
    repaired: str | None = None


class DatabaseDamaged(StoreUnusable):
    """The engine can't read all of the database: only salvaging helps."""


def check_store(database: Database, blobs: Path, *, in_use: bool) -> Iterator[Defect]:
    """Find what is wrong with a store, and change nothing. Raises as `check` does."""
    with database.inspect() as connection:
        yield from check(database, connection, blobs, in_use=in_use)


def verify_backup(database: Path, blobs: Path) -> Iterator[Defect]:
    """Find what is wrong with a backup. Raises as `check` does.

    Logs that were open when it was made may be incomplete, and there may be logs of a later backup
    that failed.
    """
    with open_read_only(database, at_rest=True) as connection:
        yield from check(SQLiteDatabase(database), connection, blobs, in_use=True, strays=False)


def check(
    database: Database,
    db: Connection,
    blobs: Path,
    *,
    repair: bool = False,
    in_use: bool = False,
    strays: bool = True,
) -> Iterator[Defect]:
    """Find what is wrong with a store, one defect after the other.

    Raises DatabaseDamaged if the database isn't sound, since then nothing else that it says can be
    trusted; the engine's errors; and StoreError.

    Args:
        repair: repair each defect; the connection must be able to write, and nobody may use the store.
        in_use: a daemon uses the store; leave out what it is writing or pruning.
        strays: look for files that belong to no row.
    """
    if problems := database.damage(db):
        raise DatabaseDamaged("the database is damaged: " + "; ".join(problems))
    yield from _check_references(database, db, repair)
    # What was changed can't be known, so a journal isn't repaired.
    yield from map(Defect, find_broken_links(db))
    yield from _check_logs(db, blobs, repair, in_use)
    yield from _check_artifacts(db, blobs, repair)
    if strays:
        yield from _check_strays(db, blobs, repair, in_use)


def _check_references(database: Database, db: Connection, repair: bool) -> Iterator[Defect]:
    """Find rows that refer to missing rows. They are removed, repeatedly, since others refer to them."""
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


def _check_logs(db: Connection, blobs: Path, repair: bool, in_use: bool) -> Iterator[Defect]:
    rows = db.execute(
        "SELECT run_id, id, log_state, raw_bytes, lines FROM vertexes WHERE log_state != 'none'"
    ).fetchall()
    for row in rows:
        files = LogFiles.of(blobs, row["run_id"], row["id"])
        state = row["log_state"]
        name = f"log {row['id']} of run {row['run_id']}"
        try:
            if state == LogState.OPEN:
                if in_use:
                    continue
                defect: str | None = "was being written when the loop ended"
            else:
                cut = state == LogState.CUT
                defect = find_defect(files, row["raw_bytes"], row["lines"], cut=cut)
            if defect is None or (in_use and not _is_stored(db, row["id"])):
                continue
            repaired = _repair_log(db, files, row) if repair else None
            yield Defect(f"{name}: {defect}", repaired)
        except OSError as error:
            yield Defect(f"{name} cannot be read: {error}")


def _check_artifacts(db: Connection, blobs: Path, repair: bool) -> Iterator[Defect]:
    rows = db.execute("SELECT id, run_id, path, bytes, sha256 FROM artifacts WHERE kept = 1")
    for row in rows.fetchall():
        size = _size(artifact_file(blobs, row["run_id"], row["sha256"]))
        if size == row["bytes"]:
            continue
        what = f"the artifact {row['path']} of run {row['run_id']} has {size:,} of its {row['bytes']:,} bytes"
        if repair:
            db.execute("UPDATE artifacts SET kept = 0 WHERE id = ?", (row["id"],))
        yield Defect(what, "it counts as expired" if repair else None)


def _is_stored(db: Connection, step: int) -> bool:
    """Return whether a step is still stored: pruning removes rows before their files."""
    return bool(db.execute("SELECT 1 FROM vertexes WHERE id = ?", (step,)).fetchone())


def _repair_log(db: Connection, files: LogFiles, row: ResultRow) -> str:
    """Repair a log from its bytes, with a new index, and return what became of it."""
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


def _check_strays(db: Connection, blobs: Path, repair: bool, in_use: bool) -> Iterator[Defect]:
    """Find folders that belong to no run, and files that belong to no step.

    They are listed before the rows are, since a row is always stored before its files are made. A
    daemon removes such folders itself, and may be doing so.
    """
    sizes = log_sizes(blobs)
    files = {run_id: file_names(blobs, run_id) for run_id in sizes}
    for run_id, names in files.items():
        rows = {
            str(row["id"])
            for row in db.execute("SELECT id FROM vertexes WHERE run_id = ?", (run_id,))
        }
        if db.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is None:
            if in_use:
                continue
            if repair:
                remove_logs(blobs, run_id)
            what = f"a folder of logs, {sizes[run_id]:,} bytes, is of no run: {run_id}"
            yield Defect(what, "removed" if repair else None)
            continue
        for name in names:
            if name.partition(".")[0] not in rows:
                path = blobs / "logs" / run_id / name
                what = f"{path} ({path.stat().st_size:,} bytes) is of no step"
                if repair:
                    path.unlink()
                yield Defect(what, "removed" if repair else None)


def find_defect(files: LogFiles, raw_bytes: int, lines: int, *, cut: bool) -> str | None:
    """Return what is wrong with a closed log, or None.

    It should have so many raw bytes and lines; if it was cut, it may have more. Raises OSError.
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
            return "its settled text is torn"
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
        return "the index of its times is torn"
    return None


class _LogDefect(Exception):
    """Something is wrong with the index of lines."""


def _count_lines(files: LogFiles, before: int) -> int:
    """Return the number of lines of the settled text, having compared the index of lines with it."""
    index = files.lines.read_bytes() if files.lines.exists() else b""
    if len(index) % LINE_RECORD.size:
        raise _LogDefect("the index of its lines is torn")
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
