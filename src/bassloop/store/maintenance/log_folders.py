"""The folder of all logs: what is in it, and the lock for those who work on all of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from typing import TYPE_CHECKING

from bassloop.store.errors import StoreBusy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def maintenance_lock(blobs: Path) -> Iterator[None]:
    """Hold the lock for removing logs, and for relying on nobody removing them.

    Raises StoreBusy if another process, or another task, holds it.
    """
    blobs.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(blobs / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusy(f"{blobs}: a prune, backup, restore or check is under way") from None
        yield
    finally:
        os.close(descriptor)


def log_sizes(blobs: Path) -> dict[str, int]:
    """Return the bytes in each run's folder of logs, by the run's id."""
    return {
        folder.name: sum(map(_size, _entries(folder)))
        for folder in _entries(blobs / "logs")
        if folder.is_dir(follow_symlinks=False)
    }


def file_names(blobs: Path, run_id: str) -> list[str]:
    """Return the names of the files of a run's logs; none if the folder is gone by now."""
    return [entry.name for entry in _entries(blobs / "logs" / run_id)]


def remove_logs(blobs: Path, run_id: str) -> None:
    """Remove a run's folder. Raises OSError; may be repeated."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(blobs / "logs" / run_id)


def _entries(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _size(file: os.DirEntry[str]) -> int:
    """Return a file's size, or 0 if it is gone by now, as after a write that found a full disk."""
    try:
        return file.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
