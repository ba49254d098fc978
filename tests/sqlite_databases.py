"""SQLite databases for the tests, each a copy of one that has its tables."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from bassloop.store.engines import find_database


@cache
def _sqlite() -> bytes:
    """Return the content of a database that has its tables."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "loop.db")
        find_database(path).prepare()
        return path.read_bytes()


def copy_sqlite(path: Path) -> Path:
    """Write a database that has its tables to a path, unless there is one, and return the path.

    This takes half as long as to make the tables.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(_sqlite())
    return path
