"""A cache on disk for blocks of blobs, bounded in bytes. Whatever was read last stays."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from typing import TYPE_CHECKING

import cachetools

from bassloop.store.blobs.file_blobs import FileBlobs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BLOCK = 1024 * 1024
"""The bytes of a blob that are fetched at once, and are a file of the cache."""


class _Files(cachetools.LRUCache[str, int]):
    """The sizes of the cache's files, by name. A file that has to go is removed."""

    def __init__(self, folder: Path, limit: int) -> None:
        super().__init__(limit, getsizeof=lambda size: max(1, size))
        self._folder = folder

    def popitem(self) -> tuple[str, int]:
        name, size = super().popitem()
        (self._folder / name).unlink(missing_ok=True)
        return name, size


class BlockCache:
    """Files with blocks of blobs in a folder, which outlives the process.

    Blocks never change, since blobs don't. A disk that is full, or a file that somebody removed, costs
    another fetch. With a limit of 0, nothing is cached.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._files = _Files(folder, limit)
        self._limit = limit
        for each in sorted(
            FileBlobs(folder).list("") if limit else (), key=lambda info: info.stored_at
        ):
            self._add(each.name, each.size)

    @property
    def size(self) -> int:
        """The bytes in the cache."""
        return int(self._files.currsize)

    def read(self, blob: str, offset: int, size: int, fetch: Callable[[int], bytes]) -> bytes:
        """Return up to `size` bytes of a blob, or fewer at its end.

        Args:
            fetch: returns a block, by its number; fewer bytes than BLOCK if it is the last, and none
                after that.
        """
        found = bytearray()
        while size > 0:
            number, within = divmod(offset, BLOCK)
            wanted = min(size, BLOCK - within)
            part = self._block(blob, number, within, wanted, fetch)
            found += part
            offset += len(part)
            size -= len(part)
            if len(part) < wanted:
                break
        return bytes(found)

    def _block(
        self, blob: str, number: int, within: int, size: int, fetch: Callable[[int], bytes]
    ) -> bytes:
        name = f"{blob}@{number}"
        with self._lock:
            cached = self._files.get(name) is not None
        if cached:
            with contextlib.suppress(FileNotFoundError), (self._folder / name).open("rb") as file:
                return os.pread(file.fileno(), size, within)
        block = fetch(number)
        if block and self._limit:
            with contextlib.suppress(OSError):
                self._write(name, block)
        return block[within : within + size]

    def _write(self, name: str, block: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(block)
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise
        self._add(name, len(block))

    def _add(self, name: str, size: int) -> None:
        with self._lock:
            if size <= self._limit:
                self._files[name] = size
            else:
                (self._folder / name).unlink(missing_ok=True)

    def forget(self, prefix: str) -> None:
        """Remove what the cache has of the blobs below a prefix."""
        with self._lock:
            for name in [
                each for each in self._files if each.startswith((f"{prefix}/", f"{prefix}@"))
            ]:
                del self._files[name]
                (self._folder / name).unlink(missing_ok=True)
            shutil.rmtree(self._folder / prefix, ignore_errors=True)
