"""The database engines: the differences between SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bassloop.store.engines.sqlite import SQLiteDatabase
from bassloop.store.errors import StoreUnusable

if TYPE_CHECKING:
    from bassloop.store.database import Database


def find_database(
    location: Path | str, synchronous: str = "FULL", pool: str | None = None
) -> Database:
    """Return the database at a PostgreSQL address, or in an SQLite file.

    Raises StoreUnusable if the driver for PostgreSQL isn't installed.

    Args:
        synchronous: SQLite's setting of this name.
        pool: the address of a pooler in front of PostgreSQL.
    """
    if isinstance(location, str) and "://" in location:
        try:
            from bassloop.store.engines.postgresql import PostgreSQLDatabase
        except ImportError as error:
            raise StoreUnusable(
                "DATABASE_URL names a PostgreSQL database, for which the driver isn't installed: "
                "pip install 'bassloop[postgresql]'"
            ) from error
        return PostgreSQLDatabase(location, pool)
    return SQLiteDatabase(Path(location), synchronous)


def is_served(location: Path | str) -> bool:
    """Return whether a daemon is using the database at this location now. Raises StoreError."""
    return find_database(location).is_served()
