"""Maintenance: keeping a store small and intact, and copying it.

- `prune` removes the runs that a `Retention` doesn't keep; `pruning_tasks` does so every hour, and removes what
  lost nodes have left on this machine's disk.
- `backup` copies a store while it is in use, and restores a copy.
- `integrity` compares the database with the logs; `repair` repairs defects, and salvages the rows of a damaged
  database.
- `transfer` moves a store to another database, or its blobs to a bucket.

All functions except those of `prune` and of the tasks block: call them in threads, or in commands that do nothing
else. This module has the lock that they hold, and the type of their progress callback.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from bassloop.store.errors import StoreBusy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bassloop.store.database import Database


Progress = Callable[[str, int, int], None]
"""A callback for progress. Takes the current activity, such as `copying logs`, the number of finished items, and the
total number of items (0 if unknown)."""


@contextlib.contextmanager
def maintenance_lock(database: Database, folder: Path) -> Iterator[None]:
    """Hold the lock for removing logs, or for keeping others from removing them.

    There are two locks: one on the folder of the blobs, and, for a database that several machines share, one in the
    database. Raises StoreBusy if another process, or another task, holds one of them, and StoreError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusy(f"{folder}: a prune, backup, restore or check is under way") from None
        with database.maintenance_lock():
            yield
    finally:
        os.close(descriptor)


def ignore_progress(what: str, done: int, total: int) -> None:
    """Ignore progress: the default callback."""
