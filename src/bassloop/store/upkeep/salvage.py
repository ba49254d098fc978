"""What can still be read out of a damaged database, in a new one."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from bassloop.store.database import connect, prepare
from bassloop.store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FOR_NOW = frozenset({"runtimes", "services"})
"""Tables of what is connected now: empty at every start."""


def salvage(damaged: Path, fresh: Path) -> dict[str, tuple[int, bool]]:
    """Copy every row that can be read into a new database. Returns for each table how many there are,
    and whether all that the table says it has were read.

    A table is read from its front, and from its end where that breaks off: what is lost is what lies
    between, and lies on a damaged page. The damaged file is left as it is. Raises StoreError.
    """
    fresh.unlink(missing_ok=True)
    prepare(fresh, "FULL")
    found: dict[str, tuple[int, bool]] = {}
    with (
        contextlib.closing(
            sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=ro", uri=True)
        ) as source,
        contextlib.closing(connect(fresh, "FULL")) as target,
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
            if table not in _FOR_NOW:
                found[table] = _copy(source, target, table)
        target.execute("COMMIT")
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if not any(count for count, _ in found.values()):
        raise StoreError(f"{damaged}: no row can be read any more; restore a backup")
    return found


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> tuple[int, bool]:
    ours = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
    try:
        theirs = [row[1] for row in source.execute(f"PRAGMA table_info({table})")]
    except sqlite3.DatabaseError:
        return 0, False
    columns = [name for name in ours if name in theirs]
    if not columns:
        return 0, True  # a table that the damaged database is too old to have
    marks = ", ".join("?" for _ in columns)
    insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
    keys = _keys(target, table)
    complete = True
    for order in ("ASC", "DESC"):
        by = ", ".join(f"{key} {order}" for key in keys)
        query = f"SELECT {', '.join(columns)} FROM {table} NOT INDEXED ORDER BY {by}"  # noqa: S608
        for row in _readable(source, query):
            if row is None:
                complete = False
            else:
                with contextlib.suppress(sqlite3.DatabaseError):  # a row that is damaged itself
                    target.execute(insert, row)
        if complete:
            break
    (count,) = target.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
    return int(count), complete


def _keys(connection: sqlite3.Connection, table: str) -> list[str]:
    """By what a table's rows lie in order in the file."""
    (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    if "WITHOUT ROWID" not in sql.upper():
        return ["rowid"]
    columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
    return [row[1] for row in sorted(columns, key=lambda row: row[5]) if row[5]]


def _readable(source: sqlite3.Connection, query: str) -> Iterator[tuple[object, ...] | None]:
    """The rows as far as they can be read, then None if that is not to the end."""
    try:
        yield from source.execute(query)
    except sqlite3.DatabaseError:
        yield None
