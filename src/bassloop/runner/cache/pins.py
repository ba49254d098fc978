"""What of a runner's state is in use, so that nobody removes it: not in this process, nor in another.

A use is a file in the folder of the session that uses it. Whoever removes something looks for such files
of all sessions first, and nobody begins to use it meanwhile: there is a lock for that, held for moments.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = ("outputs", "caches", "images")
"""The folders of what is kept."""
USING = "using"


class Pins:
    """What one session uses. Made with :meth:`open`."""

    def __init__(self, own: Path, lock: int) -> None:
        self._own = own
        self._lock = lock
        self._counts: Counter[str] = Counter()
        self._grown = 0
        self._more = trio.Event()

    @classmethod
    @contextmanager
    def open(cls, folder: Path, own: Path) -> Iterator[Pins]:
        """The uses of the session whose folder is `own`. Raises OSError."""
        (own / USING).mkdir()
        lock = _open(folder)
        try:
            yield cls(own / USING, lock)
        finally:
            os.close(lock)

    @contextmanager
    def of(self, kind: str, name: str) -> Iterator[None]:
        """While the context lasts, this is in use, whether it is there or is going to be."""
        what = f"{kind}-{name}"
        if not self._counts[what]:
            fcntl.flock(self._lock, fcntl.LOCK_SH)  # whoever has it alone has it for a moment
            try:
                (self._own / what).touch()
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._counts[what] += 1
        try:
            yield
        finally:
            self._counts[what] -= 1
            if not self._counts[what]:
                del self._counts[what]
                (self._own / what).unlink(missing_ok=True)

    def grow(self, size: int) -> None:
        """So many more bytes are kept."""
        self._grown += size
        self._more.set()

    async def grown(self, by: int) -> None:
        """Wait until so many bytes more are kept than when this returned last."""
        while self._grown < by:
            self._more = trio.Event()
            await self._more.wait()
        self._grown = 0


@contextmanager
def removing(folder: Path, kind: str, name: str) -> Iterator[bool]:
    """Whether nobody uses this; and while the context lasts, nobody begins to."""
    lock = _open(folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not any((folder / "making").glob(f"*/{USING}/{kind}-{name}"))
    finally:
        os.close(lock)


def _open(folder: Path) -> int:
    return os.open(folder / "uses.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
