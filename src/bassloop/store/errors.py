"""What can go wrong in the store, in words that name the thing and the mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


class StoreError(Exception):
    """The store could not do what was asked. Nothing of the operation was kept."""


class StoreUnusable(StoreError):
    """The database cannot be used at all: corrupt, locked, read-only, not ours, or a newer one."""


class StoreFull(StoreError):
    """The disk (or the quota) is full. What was committed before is safe."""


class StoreLocked(StoreUnusable):
    """Another process keeps the database locked, for longer than one waits for it."""


class StoreConflict(StoreError):
    """The operation contradicts what is stored, such as a run of a thunk that nobody stored."""


class NotStored(StoreError):
    """The thing that the operation is about is not in the store."""


_MENDS: dict[str, str] = {
    "SQLITE_CORRUPT": "is damaged: restore a backup, or move it (with its -wal and -shm) away to "
    "start anew; `sqlite3 FILE .recover` saves what can be read",
    "SQLITE_NOTADB": "is not an SQLite database: point SQLITE_PATH at another file",
    "SQLITE_BUSY": "is locked by another process: end that process and try again",
    "SQLITE_LOCKED": "is locked by another process: end that process and try again",
    "SQLITE_READONLY": "is read-only: make the file and its directory writable for this user",
    "SQLITE_CANTOPEN": "cannot be opened: its directory must exist and be writable for this user",
    "SQLITE_PERM": "cannot be opened: its directory must exist and be writable for this user",
    "SQLITE_IOERR": "cannot be read or written: the disk reports an error",
}


_LOCKED = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED"})


def translated(error: sqlite3.Error, path: Path) -> StoreError:
    """The store's error for one of SQLite's, naming the file and what mends it."""
    name: str = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith("SQLITE_FULL"):
        return StoreFull(f"database {path}: the disk is full ({error}): make room and try again")
    if name.startswith("SQLITE_CONSTRAINT"):
        return StoreConflict(f"database {path} refuses the change: {error}")
    for code, mend in _MENDS.items():
        if name.startswith(code):
            kind = StoreLocked if code in _LOCKED else StoreUnusable
            return kind(f"database {path} {mend} ({error})")
    return StoreError(f"database {path}: {error}")
