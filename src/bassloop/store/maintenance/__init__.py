"""Maintenance: keeping a store small and intact, and copying it.

- `prune` removes the runs that a `Retention` doesn't keep; `pruning_task` does so every hour.
- `backup` copies a store while it is in use, and restores a copy.
- `integrity` compares the database with the logs; `repair` repairs what can be repaired, and salvages what
  a damaged database still has.
- `transfer` moves a store to another database, or its blobs to a bucket.

Except for `prune` and `pruning_task`, all of it blocks: it is meant for threads, and for commands that do nothing
else. This module has the lock that they hold, and how they report progress.
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


Progress = Callable[[str, int, int], None]
"""Called with what is being done, such as `copying logs`; how many are done; and how many there are."""


@contextlib.contextmanager
def maintenance_lock(folder: Path) -> Iterator[None]:
    """Hold the lock for removing logs, and for relying on nobody removing them.

    Raises StoreBusy if another process, or another task, holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusy(f"{folder}: a prune, backup, restore or check is under way") from None
        yield
    finally:
        os.close(descriptor)


def ignore_progress(what: str, done: int, total: int) -> None:
    """Show no progress."""
