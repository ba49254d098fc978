"""What folders and buckets of blobs have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self


class BucketError(OSError):
    """A bucket can't be used now, or at all. The message says where it is and what to do."""


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
