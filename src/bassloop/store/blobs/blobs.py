"""The interface of blobs, which folders and buckets of them have in common, and blobs in a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self


class BucketError(OSError):
    """A bucket can't be used now, or at all. The message says where it is and what to do."""


class BucketUnreachable(BucketError):
    """A bucket's service can't be reached, or can't do anything now."""


class BlobInfo(NamedTuple):
    """A blob's name, its size in bytes, and when it was stored, in seconds since the epoch."""

    name: str
    size: int
    stored_at: float


class BlobReader(Protocol):
    """A blob, or a part of one, that is open for reading. A context manager that closes it."""

    @property
    def size(self) -> int:
        """The bytes that can be read; a file that is appended to has more later."""

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset` on, or nothing at the end. Raises OSError."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class NothingToClose:
    """The context manager of a reader that holds nothing open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Blobs(Protocol):
    """A place for blobs. Its methods block, are safe in any thread, and raise OSError."""

    @property
    def folder(self) -> Path:
        """The folder on this machine's disk, for what is being written."""

    @property
    def bucket(self) -> Bucket | None:
        """The bucket, or None if the folder is where blobs stay."""

    def open(self, name: str) -> BlobReader:
        """Open a blob. Raises FileNotFoundError if there is none."""

    def open_sequential(self, name: str) -> BlobReader:
        """Open a blob to be read from one end to the other, past a cache. Raises FileNotFoundError."""

    def move_in(self, path: Path, name: str) -> None:
        """Store a complete file of `folder` as a blob, and remove the file. May be repeated.

        A blob of that name is replaced. When this fails, the file is still there.
        """

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """Yield the blobs below a prefix, which is a path without a slash at its end, in no order."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the bytes below each folder below a prefix, by the folder's own name."""

    def remove(self, prefix: str) -> None:
        """Remove a blob, or all blobs below a prefix. May be repeated."""

    def probe(self) -> None:
        """Raise OSError if nothing can be stored now."""

    def __str__(self) -> str:
        """Return where the blobs are, for messages."""


class Bucket(Blobs, Protocol):
    """Blobs in a bucket, where nothing can be appended to, and others write, too."""

    @property
    def cached_bytes(self) -> int:
        """The bytes in the cache on this machine's disk."""

    def create(self, name: str, data: bytes) -> bool:
        """Store a blob, and return True, or False if there is one of that name already."""

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of a blob, through a cache. Raises FileNotFoundError."""

    def copy_in(self, path: Path, name: str) -> None:
        """Store a file as a blob, in place of one that has this name."""

    def uncached(self) -> Bucket:
        """Return the same bucket, read past the cache."""

    def fetch(self, name: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of a blob, past the cache. Raises FileNotFoundError."""


class FileReader:
    """A file that is open for reading."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)


class FileBlobs:
    """A folder of blobs, which is made when something is stored."""

    bucket = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def open(self, name: str) -> FileReader:
        return FileReader(self.folder / name)

    def open_sequential(self, name: str) -> FileReader:
        return self.open(name)

    def move_in(self, path: Path, name: str) -> None:
        to = self.folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(to)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        folders = [self.folder / prefix]
        while folders:
            for entry in _entries(folders.pop()):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(self.folder / entry.path)
                    continue
                # One that is gone by now was removed, or written when the disk was full.
                with contextlib.suppress(FileNotFoundError):
                    stat = entry.stat(follow_symlinks=False)
                    name = os.path.relpath(entry.path, self.folder)
                    yield BlobInfo(name, stat.st_size, stat.st_mtime)

    def sizes(self, prefix: str) -> dict[str, int]:
        return {
            entry.name: sum(each.size for each in self.list(f"{prefix}/{entry.name}"))
            for entry in _entries(self.folder / prefix)
            if entry.is_dir(follow_symlinks=False)
        }

    def remove(self, prefix: str) -> None:
        path = self.folder / prefix
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
                with contextlib.suppress(OSError):  # others are in it
                    path.parent.rmdir()

    def probe(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            file.write(b"\n")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
