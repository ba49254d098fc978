"""Read and write this machine's files, for scripts of its owner.

Only regular files are allowed, since reading from a pipe or a device could wait forever.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bassloop.bass.errors import BassError
from bassloop.bass.filesystem import DirEntry

if TYPE_CHECKING:
    from bassloop.bass.path import HostPath

PIECE = 1 << 16


class FileStream(AbstractAsyncContextManager["FileStream"]):
    """A file's content: a :class:`bassloop.bass.host.ByteStream` that never waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    async def pull(self) -> bytes:
        """Return the next piece, b"" at the end. Raises `BassError`."""
        if self._file is None:
            self._file = _opened(self._path)
        try:
            piece = self._file.read(PIECE)
        except OSError as error:
            raise _failed("read", self._path, error) from error
        if not piece:
            self._file.close()
        return piece

    async def __aenter__(self) -> FileStream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()

    def __aiter__(self) -> FileStream:
        return self

    async def __anext__(self) -> bytes:
        if self._file is not None and self._file.closed:
            raise StopAsyncIteration
        piece = await self.pull()
        if not piece:
            raise StopAsyncIteration
        return piece


def host_file(path: HostPath) -> Path:
    """Return the file that a path refers to. Raises `BassError` if it's outside its context."""
    return Path(path.context, path.inside())


def members(folder: Path) -> list[DirEntry]:
    """Return the members of a folder. Raises `BassError`."""
    try:
        with os.scandir(folder) as found:
            return sorted(DirEntry(each.name, is_dir=each.is_dir()) for each in found)
    except OSError as error:
        raise _failed("list", folder, error) from error


def replace(path: Path, content: bytes) -> None:
    """Write a file atomically. Raises `BassError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            try:
                file.write(content)
                os.fchmod(file.fileno(), _mode(path))
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise _failed("write", path, error) from error


def _mode(path: Path) -> int:
    """Return the permissions of a file, or those of a new one."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _opened(path: Path) -> BinaryIO:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise BassError(f"{path} isn't a regular file")
        return os.fdopen(descriptor, "rb")
    except OSError as error:
        raise _failed("read", path, error) from error


def _failed(what: str, path: Path, error: OSError) -> BassError:
    return BassError(f"{path} cannot be {_DONE[what]}: {error.strerror}")


_DONE = {"read": "read", "list": "listed", "write": "written"}
