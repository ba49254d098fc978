"""The lock for those who work on all blobs."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from bassloop.store.errors import StoreBusy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
