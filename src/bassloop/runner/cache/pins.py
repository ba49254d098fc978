"""Pin what is in use, so that no process removes it from the cache.

A pin is a file in the folder of the session that uses something. Before it removes something, a process
looks for such files of all sessions; a lock, held for a moment, keeps others from pinning it meanwhile.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = ("outputs", "caches", "images")
"""The kinds of cached things, and the folders that have them."""
_PINS = "using"


class Pins:
    """The pins of one session. Made with :meth:`open`."""

    def __init__(self, folder: Path, lock: int) -> None:
        self._folder = folder
        self._lock = lock
        self._counts: Counter[str] = Counter()

    @classmethod
    @contextmanager
    def open(cls, cache: Path, session: Path) -> Iterator[Pins]:
        """Open the pins of the session with this folder. Raises OSError."""
        (session / _PINS).mkdir()
        lock = _open_lock(cache)
        try:
            yield cls(session / _PINS, lock)
        finally:
            os.close(lock)

    @contextmanager
    def pin(self, kind: str, name: str) -> Iterator[None]:
        """Keep something from being removed, whether it is there or will be."""
        pinned = f"{kind}-{name}"
        if not self._counts[pinned]:
            fcntl.flock(self._lock, fcntl.LOCK_SH)  # others hold it alone for a moment only
            try:
                (self._folder / pinned).touch()
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._counts[pinned] += 1
        try:
            yield
        finally:
            self._counts[pinned] -= 1
            if not self._counts[pinned]:
                del self._counts[pinned]
                (self._folder / pinned).unlink(missing_ok=True)


@contextmanager
def removing(cache: Path, kind: str, name: str) -> Iterator[bool]:
    """Keep anybody from pinning something; give whether nobody has pinned it."""
    lock = _open_lock(cache)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not any((cache / "making").glob(f"*/{_PINS}/{kind}-{name}"))
    finally:
        os.close(lock)


def _open_lock(cache: Path) -> int:
    return os.open(cache / "uses.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
