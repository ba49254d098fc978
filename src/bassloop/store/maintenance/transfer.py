"""Transfers: all rows of a store copied from one database to another, whatever engines these have."""

from __future__ import annotations

import contextlib
from itertools import islice
from typing import TYPE_CHECKING, Any

import xxhash

from bassloop.store.errors import StoreError, StoreUnusable
from bassloop.store.schema import TABLES, TEMPORARY_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bassloop.store.database import Connection, Database

_ROWS_AT_ONCE = 200
_HASHES = 1 << 64


class TransferError(StoreError):
    """The rows of a store can't be copied, and none was."""


def copy_store(source: Database, target: Database) -> dict[str, int]:
    """Copy all rows into an empty database, whose tables are created first, in one transaction.

    The source is seen as of one instant, and must have been prepared by this version. Before the commit,
    the rows are read back and compared with those of the source. Returns how many there are in each table.

    Raises StoreUnusable if the target has rows, TransferError if what is read back differs, and StoreError.
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
    """Copy the rows of a table, and return their summary."""
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
    """Return the number of rows, and a hash of them in any order."""
    count = total = 0
    for row in rows:
        count += 1
        total += xxhash.xxh3_64_intdigest(repr([_as_copied(value) for value in row]).encode())
    return count, total % _HASHES


def _as_copied(value: Any) -> Any:
    """Return a value as PostgreSQL stores it: it has no NUL in a text."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


@contextlib.contextmanager
def _errors(database: Database) -> Iterator[None]:
    try:
        yield
    except database.errors as error:
        raise database.translate(error) from error
