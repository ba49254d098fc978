"""The common interface of blobs in folders and in buckets, and the implementation for folders.

Also the address of a bucket, as in the setting BLOBS_URL, and its credentials.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self


class BucketError(OSError):
    """A bucket can't be used. The message has its address, the reason and the fix."""


class BucketUnreachable(BucketError):
    """A bucket's service can't be reached, or is temporarily unavailable."""


class BlobInfo(NamedTuple):
    """A blob's name, its size in bytes, and when it was stored, in seconds since the epoch."""

    name: str
    size: int
    stored_at: float


class BlobReader(Protocol):
    """A blob, or a part of one, open for reading. A context manager that closes it."""

    @property
    def size(self) -> int:
        """The current size in bytes. A file may still be growing."""

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset` on; none at the end. Raises OSError."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class NothingToClose:
    """A mixin: the context manager of a reader that has nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Blobs(Protocol):
    """A container of blobs. Its methods block, are thread-safe, and raise OSError."""

    @property
    def folder(self) -> Path:
        """The folder on this machine's disk to which data is written first."""

    @property
    def bucket(self) -> Bucket | None:
        """The bucket, or None if blobs are stored in the folder."""

    def open(self, name: str) -> BlobReader:
        """Open a blob. Raises FileNotFoundError if there is none."""

    def open_sequential(self, name: str) -> BlobReader:
        """Open a blob for reading it sequentially, bypassing the cache. Raises FileNotFoundError."""

    def move_in(self, path: Path, name: str) -> None:
        """Store a file in `folder` as a blob, and remove the file. Idempotent.

        Replaces a blob with the same name. If this fails, the file remains.
        """

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """Yield the blobs below a prefix (a path without a trailing slash), in arbitrary order."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the total size of each folder directly below a prefix, by the folder's name."""

    def remove(self, prefix: str) -> None:
        """Remove a blob, or all blobs below a prefix. Idempotent."""

    def probe(self) -> None:
        """Raise OSError if nothing can be stored now."""

    def __str__(self) -> str:
        """Return the blobs' location, for messages."""


class Bucket(Blobs, Protocol):
    """Blobs in a bucket, which other nodes may share. Nothing can be appended to an object."""

    @property
    def cached_bytes(self) -> int:
        """The size of the cache on this machine's disk."""

    def create(self, name: str, data: bytes) -> bool:
        """Store a blob unless there is one with this name, and return whether it was stored."""

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of a blob, using the cache. Raises FileNotFoundError."""

    def copy_in(self, path: Path, name: str) -> None:
        """Store a copy of a file as a blob, replacing one with the same name."""

    def uncached(self) -> Bucket:
        """Return the same bucket without a cache."""

    def fetch(self, name: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of a blob, bypassing the cache. Raises FileNotFoundError."""


class FileReader:
    """A file, open for reading."""

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
    """Blobs in a folder, which is created when needed."""

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
                # It may have been removed meanwhile, for example because the disk was full.
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
                with contextlib.suppress(OSError):  # not empty
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


DEFAULT_REGION = "us-east-1"

EXAMPLE = "s3://bucket/prefix?endpoint=https://s3.example.com"


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """A bucket, and the prefix of the names of all blobs in it.

    Args:
        endpoint: the URL of the service, to which the bucket is added as a path; None for Amazon S3.
    """

    bucket: str
    prefix: str
    endpoint: str | None
    region: str

    @classmethod
    def parse(cls, url: str) -> BucketAddress:
        """Parse a URL like EXAMPLE. Raises ValueError with the problem."""
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc:
            raise ValueError(f"it must be the address of a bucket, such as {EXAMPLE}")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := sorted(options.keys() - {"endpoint", "region"}):
            raise ValueError(f"unknown option {unknown[0]}; there are endpoint and region")
        endpoint = options.get("endpoint", "").rstrip("/") or None
        if endpoint is not None and urlsplit(endpoint).scheme not in ("http", "https"):
            raise ValueError(
                "endpoint must be the URL of a service, such as https://s3.example.com"
            )
        prefix = parts.path.strip("/")
        if any(each in ("", ".", "..") for each in prefix.split("/")) and prefix:
            raise ValueError(f"{prefix!r} can't be the prefix of names")
        region = options.get("region") or os.environ.get("AWS_REGION") or DEFAULT_REGION
        return cls(parts.netloc, prefix, endpoint, region)

    def __str__(self) -> str:
        at = f" at {self.endpoint}" if self.endpoint else ""
        return f"bucket {self.bucket}{f'/{self.prefix}' if self.prefix else ''}{at}"


@dataclass(frozen=True, slots=True)
class BucketCredentials:
    """An access key."""

    key_id: str
    secret: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"<BucketCredentials {self.key_id}>"


def shared_credentials() -> BucketCredentials | None:
    """Return the credentials from the AWS tools' shared credentials file, or None if there are none.

    As with those tools, `AWS_SHARED_CREDENTIALS_FILE` and `AWS_PROFILE` select the file and the profile.
    """
    path = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws/credentials")
    parser = configparser.ConfigParser(interpolation=None, default_section="\0")
    try:
        parser.read_string(path.read_text())
        profile = parser[os.environ.get("AWS_PROFILE") or "default"]
        return BucketCredentials(
            profile["aws_access_key_id"],
            profile["aws_secret_access_key"],
            profile.get("aws_session_token"),
        )
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError):
        return None
