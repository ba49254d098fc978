"""Database and logs held against each other, and what can be mended mended.

Nothing is invented: what is mended is what the files still hold, and what is lost is said.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.lifecycle import LogState
from bassloop.store import steps
from bassloop.store.errors import StoreError, StoreUnusable
from bassloop.store.logs.formats import LogFiles
from bassloop.store.logs.sink import repair
from bassloop.store.upkeep.files import file_names, log_sizes, remove_logs
from bassloop.store.upkeep.whole import trouble

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. `mended` says how it is now; None if it was left."""

    what: str
    mended: str | None = None


class Damaged(StoreUnusable):
    """The database itself is damaged: only salvage helps."""


def check(
    connection: sqlite3.Connection,
    blobs: Path,
    *,
    mend: bool = False,
    in_use: bool = False,
    strays: bool = True,
) -> Iterator[Finding]:
    """Find, one after the other, what is wrong with a store, and mend it if told to.

    With `mend` the connection must be able to write, and nobody may use the store. `in_use` says that
    a daemon does: what it has in hand is left out, and what it prunes meanwhile. `strays` are files
    that no row is for. Raises Damaged when the database is not sound, for then nothing else it says can
    be believed, sqlite3.Error and StoreError.
    """
    problems = [row[0] for row in connection.execute("PRAGMA integrity_check(20)")]
    if problems != ["ok"]:
        raise Damaged("the database is damaged: " + "; ".join(problems))
    yield from _references(connection, mend)
    yield from _logs(connection, blobs, mend, in_use)
    if strays:
        yield from _strays(connection, blobs, mend, in_use)


def _references(connection: sqlite3.Connection, mend: bool) -> Iterator[Finding]:
    """Rows that refer to a row that is not there. Mended by removing them, as often as it takes."""
    while found := connection.execute("PRAGMA foreign_key_check").fetchall():
        for table, rowid, parent, _ in found:
            what = f"row {rowid} of {table} refers to one of {parent} that is not there"
            if not mend:
                yield Finding(what)
                continue
            if rowid is None:
                raise StoreError(f"{what}, and has no number to remove it by")
            connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))  # noqa: S608
            yield Finding(what, "removed")
        if not mend:
            return


def _logs(
    connection: sqlite3.Connection, blobs: Path, mend: bool, in_use: bool
) -> Iterator[Finding]:
    rows = connection.execute(
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
                found: str | None = "was being written when the loop ended"
            else:
                found = trouble(files, row["raw_bytes"], row["lines"], cut=state == LogState.CUT)
            if found is None or (in_use and not _there(connection, row["id"])):
                continue
            if not mend:
                yield Finding(f"{name}: {found}")
                continue
            yield Finding(f"{name}: {found}", _mended(connection, files, row))
        except OSError as error:
            yield Finding(f"{name} cannot be read: {error}")


def _there(connection: sqlite3.Connection, step: int) -> bool:
    """Whether a step is stored still: rows go before their files."""
    return bool(connection.execute("SELECT 1 FROM vertexes WHERE id = ?", (step,)).fetchone())


def _mended(connection: sqlite3.Connection, files: LogFiles, row: sqlite3.Row) -> str:
    """Make of a log what its bytes still give. Its index is made anew."""
    files.lines.unlink(missing_ok=True)
    now = repair(files)
    complete = row["log_state"] == LogState.CLOSED and now.raw_bytes == row["raw_bytes"]
    lines = now.lines
    if complete and not files.text.exists() and _ends_within_a_line(files.raw):
        lines += 1
    whole = complete and lines == row["lines"]
    steps.close_log(connection, row["id"], now.raw_bytes, lines, not whole)
    if whole:
        return "nothing is lost"
    lost = max(0, row["raw_bytes"] - now.raw_bytes)
    said = f"{now.raw_bytes:,} bytes and {lines:,} lines are kept, and it is marked as cut"
    return f"{said}; {lost:,} bytes are lost" if lost else said


def _ends_within_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _strays(
    connection: sqlite3.Connection, blobs: Path, mend: bool, in_use: bool
) -> Iterator[Finding]:
    """Folders of no run, and files of no step. Listed before the database is asked, for a row is
    always there before its files. A daemon sweeps such folders itself, and may be at it."""
    sizes = log_sizes(blobs)
    files = {run_id: file_names(blobs, run_id) for run_id in sizes}
    for run_id, names in files.items():
        rows = {
            str(row["id"])
            for row in connection.execute("SELECT id FROM vertexes WHERE run_id = ?", (run_id,))
        }
        known = connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone()
        if known is None and in_use:
            continue
        if known is None:
            if mend:
                remove_logs(blobs, run_id)
            what = f"a folder of logs, {sizes[run_id]:,} bytes, is of no run: {run_id}"
            yield Finding(what, "removed" if mend else None)
            continue
        for name in names:
            if name.partition(".")[0] not in rows:
                path = blobs / "logs" / run_id / name
                what = f"{path} ({path.stat().st_size:,} bytes) is of no step"
                if mend:
                    path.unlink()
                yield Finding(what, "removed" if mend else None)
