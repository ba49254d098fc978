"""Repair: makes a store consistent again, even if its database is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from bassloop.store.engines.sqlite import SQLiteDatabase
from bassloop.store.errors import StoreError, StoreUnusable
from bassloop.store.maintenance import Progress, ignore_progress, maintenance_lock
from bassloop.store.maintenance.integrity import DatabaseDamaged, Defect, check
from bassloop.store.schema import TEMPORARY_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.store.blobs import Blobs
    from bassloop.store.database import Database


def repair_store(
    database: Database, blobs: Blobs, *, now: float, progress: Progress = ignore_progress
) -> Iterator[Defect]:
    """Find the defects of a store that nobody uses, and repair them if possible.

    Moves a damaged SQLite file aside, and replaces it by one with the rows that can still be read. Raises
    StoreUnusable while a daemon uses the store, StoreBusy, and StoreError.
    """
    with database.ownership(), maintenance_lock(database, blobs.folder):
        try:
            yield from _repair(database, blobs, progress)
        except DatabaseDamaged as error:
            if not isinstance(database, SQLiteDatabase):
                raise
            yield _replace_database(database.path, str(error), now)
            yield from _repair(database, blobs, progress)


def _repair(database: Database, blobs: Blobs, progress: Progress) -> Iterator[Defect]:
    try:
        with contextlib.closing(database.connect()) as connection:
            yield from check(database, connection, blobs, repair=True, progress=progress)
    except database.errors as error:
        translated = database.translate(error)
        if isinstance(translated, StoreUnusable) and "damaged" in str(translated):
            raise DatabaseDamaged(str(translated)) from error
        raise translated from error


def _replace_database(database: Path, why: str, now: float) -> Defect:
    fresh = database.with_name(f"{database.name}.salvaged")
    tables = salvage(database, fresh)
    aside = database.with_name(f"{database.name}.damaged-{now:.0f}")
    for suffix in ("-wal", "-shm"):
        Path(f"{fresh}{suffix}").unlink(missing_ok=True)
        beside = Path(f"{database}{suffix}")
        if beside.exists():
            beside.rename(f"{aside}{suffix}")
    database.rename(aside)
    fresh.rename(database)
    saved = ", ".join(f"{count:,} {table}" for table, (count, _) in tables.items() if count)
    torn = ", ".join(table for table, (_, complete) in tables.items() if not complete)
    lost = f"; rows are lost of: {torn}" if torn else "; no row is lost"
    return Defect(why, f"saved {saved}{lost}; the damaged file is {aside.name}")


def salvage(damaged: Path, fresh: Path) -> dict[str, tuple[int, bool]]:
    """Copy every readable row of a damaged database to a new one, without changing the damaged one.

    Returns for each table the number of copied rows, and whether these are all. Reads each table from its start and,
    if that fails, also from its end. Rows in between, on damaged pages, are lost. Raises StoreError.
    """
    fresh.unlink(missing_ok=True)
    database = SQLiteDatabase(fresh)
    database.prepare()
    copied: dict[str, tuple[int, bool]] = {}
    with (
        contextlib.closing(
            sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=ro", uri=True)
        ) as source,
        contextlib.closing(database.connect()) as target,
    ):
        target.execute("PRAGMA foreign_keys = OFF")
        tables = [
            row[0]
            for row in target.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' "
                "AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '_sqlite_%'"
            )
        ]
        target.execute("BEGIN")
        for table in tables:
            if table not in TEMPORARY_TABLES:
                copied[table] = _copy_table(source, target, table)
        target.execute("COMMIT")
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if not any(count for count, _ in copied.values()):
        raise StoreError(f"{damaged}: no row can be read any more; restore a backup")
    return copied


def _copy_table(
    source: sqlite3.Connection, target: sqlite3.Connection, table: str
) -> tuple[int, bool]:
    target_columns = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
    try:
        source_columns = [row[1] for row in source.execute(f"PRAGMA table_info({table})")]
    except sqlite3.DatabaseError:
        return 0, False
    columns = [name for name in target_columns if name in source_columns]
    if not columns:
        return 0, True  # the damaged database is older than this table
    names = ", ".join(columns)
    insert = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({', '.join('?' for _ in columns)})"
    complete = True
    for order in ("ASC", "DESC"):
        by = ", ".join(f"{key} {order}" for key in _order_in_file(target, table))
        for row in _readable(source, f"SELECT {names} FROM {table} NOT INDEXED ORDER BY {by}"):
            if row is None:
                complete = False
            else:
                with contextlib.suppress(sqlite3.DatabaseError):  # the row itself is damaged
                    target.execute(insert, row)
        if complete:
            break
    (count,) = target.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count), complete


def _order_in_file(connection: sqlite3.Connection, table: str) -> list[str]:
    """Return the columns that determine the order of a table's rows in the file."""
    (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    if "WITHOUT ROWID" not in sql.upper():
        return ["rowid"]
    columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
    return [row[1] for row in sorted(columns, key=lambda row: row[5]) if row[5]]


def _readable(source: sqlite3.Connection, query: str) -> Iterator[tuple[object, ...] | None]:
    """Yield rows while they can be read, and None at the end if there may be more."""
    try:
        yield from source.execute(query)
    except sqlite3.DatabaseError:
        yield None
