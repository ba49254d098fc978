"""The logs' folder as a whole: whose files are there, and who may work on all of them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from typing import TYPE_CHECKING

from bassloop.store.errors import StoreError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Busy(StoreError):
    """Somebody else prunes, backs up, restores or checks this store now."""


@contextlib.contextmanager
def alone(blobs: Path) -> Iterator[None]:
    """Be the only one who removes logs, or relies on nobody removing them. Raises Busy."""
    blobs.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(blobs / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{blobs}: a prune, backup, restore or check is under way") from None
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def told_place(place: Path) -> Iterator[None]:
    """Turn what the system says of a place into a StoreError."""
    try:
        yield
    except OSError as error:
        kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        raise kind(f"{place}: {error}") from error


def log_sizes(blobs: Path) -> dict[str, int]:
    """The ids of the runs that have a folder of logs, each with the bytes in it."""
    found: dict[str, int] = {}
    for folder in _entries(blobs / "logs"):
        if folder.is_dir(follow_symlinks=False):
            found[folder.name] = sum(map(_size, _entries(folder)))
    return found


def file_names(blobs: Path, run_id: str) -> list[str]:
    """The names of the files of a run's logs; none of one whose folder is gone by now."""
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
    """The bytes of a file; none of one that is gone by now, as a writer's are who found no room."""
    try:
        return file.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
