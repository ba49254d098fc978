"""A connection of one's own to a database that may be in use, damaged, or a backup."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from bassloop.store.database import BUSY_TIMEOUT_MS
from bassloop.store.errors import StoreUnusable, translated
from bassloop.store.schema import APPLICATION_ID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def looking(path: Path, *, at_rest: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection that reads only. `at_rest` says that nobody writes the file, which may then be in a
    folder that can't be written.

    Raises StoreUnusable when there is no database of ours, and StoreError for what SQLite says inside.
    """
    if not path.is_file():
        raise StoreUnusable(
            f"there is no database {path}; are SQLITE_PATH and DATA_DIR the daemon's?"
        )
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if at_rest else ''}"
    try:
        with contextlib.closing(
            sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None)
        ) as connection:
            connection.row_factory = sqlite3.Row
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            if application != APPLICATION_ID:
                raise StoreUnusable(f"{path} is not a database of bassloop")
            yield connection
    except sqlite3.Error as error:
        raise translated(error, path) from error
