"""The store's errors. Each message names the file and what to do about it."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class StoreError(Exception):
    """An operation failed, and changed nothing."""


class StoreUnusable(StoreError):
    """The database can't be used: it is damaged, locked, read-only, another program's, or of a newer version."""


class StoreFull(StoreError):
    """The disk, or the quota, is full. Everything committed before is safe."""


class StoreLocked(StoreUnusable):
    """Another process has held the lock on the database for longer than the timeout."""


class StoreUnreachable(StoreUnusable):
    """The database server can't be reached, or isn't ready yet."""


TEMPORARY = (StoreFull, StoreLocked, StoreUnreachable)
"""Errors that go away by themselves, so that a retry makes sense."""


class StoreTaken(StoreUnusable):
    """Other nodes have taken over the work of this one, which can no longer write."""


class StoreBusy(StoreError):
    """Another prune, backup, restore or check of this store is running."""


class StoreConflict(StoreError):
    """The operation contradicts what is stored, such as a run of an unknown thunk."""


class ClaimLost(StoreConflict):
    """The row to be changed belongs to another node."""


class NotStored(StoreError):
    """The subject of the operation isn't stored."""


_LOCKED = "is locked by another process: end that process and try again"
_CANNOT_OPEN = "cannot be opened: its directory must exist and be writable for this user"

_FIXES = {
    "SQLITE_CORRUPT": "is damaged: restore a backup, or move it (with its -wal and -shm) away to "
    "start anew; `sqlite3 FILE .recover` saves what can be read",
    "SQLITE_NOTADB": "is not an SQLite database: point SQLITE_PATH at another file",
    "SQLITE_BUSY": _LOCKED,
    "SQLITE_LOCKED": _LOCKED,
    "SQLITE_READONLY": "is read-only: make the file and its directory writable for this user",
    "SQLITE_CANTOPEN": _CANNOT_OPEN,
    "SQLITE_PERM": _CANNOT_OPEN,
    "SQLITE_IOERR": "cannot be read or written: the disk reports an error",
}


def translate_sqlite_error(error: sqlite3.Error, path: Path) -> StoreError:
    """Return the StoreError for an SQLite error about the database in `path`."""
    name: str = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith("SQLITE_FULL"):
        return StoreFull(f"database {path}: the disk is full ({error}): make room and try again")
    if name.startswith("SQLITE_CONSTRAINT"):
        return StoreConflict(f"database {path} refuses the change: {error}")
    for code, fix in _FIXES.items():
        if name.startswith(code):
            kind = StoreLocked if fix == _LOCKED else StoreUnusable
            return kind(f"database {path} {fix} ({error})")
    return StoreError(f"database {path}: {error}")


@contextlib.contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Translate SQLite errors in the body, about the database in `path`, to StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate_sqlite_error(error, path) from error


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error means that the disk, or the quota, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Translate each OSError in the body, about `path`, to StoreFull or StoreError."""
    try:
        yield
    except OSError as error:
        kind = StoreFull if is_disk_full(error) else StoreError
        raise kind(f"{path}: {error}") from error
