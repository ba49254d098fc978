"""The host of a script on the command line: it accesses the caller's files, and runs thunks in this process.

Only regular files are read, since reading from a pipe or a device could wait forever.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from bassloop.bass.errors import BassError
from bassloop.bass.filesystem import DirEntry
from bassloop.bass.host import Host
from bassloop.tools.local.late_driver import ReadyStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    from bassloop.bass.host import ByteStream
    from bassloop.bass.path import HostPath
    from bassloop.bass.thunk import ImageRef, Thunk, ThunkPath
    from bassloop.tools.local.late_driver import EventLoop, LateDriver, RuntimeOptions
    from bassloop.tools.local.thunk_runner import ThunkRunner

PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class LateImports:
    """Functions that import modules that most scripts don't need.

    Args:
        event_loop: returns the module `trio_loop`.
        thunk_runner: returns the class `ThunkRunner`.
    """

    event_loop: Callable[[], EventLoop]
    thunk_runner: Callable[[], type[ThunkRunner]]


class LocalHost(Host):
    """A :class:`bassloop.bass.host.Host` with the caller's permissions.

    Args:
        load_runner: imports the thunk runner. It's called when one is needed.
        options: how to run thunks; None to refuse them.
        say: prints one or more lines for people.
    """

    def __init__(
        self,
        driver: LateDriver,
        load_runner: Callable[[], type[ThunkRunner]],
        options: RuntimeOptions | None = None,
        say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
    ) -> None:
        self._driver = driver
        self._load_runner = load_runner
        self._options = options
        self._say = say
        self._thunks: ThunkRunner | None = None

    async def run(self, thunk: Thunk) -> None:
        """Run a thunk, and print its progress."""
        await (await self._runner()).run(thunk)

    @asynccontextmanager
    async def read(self, thunk: Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Yield a thunk's standard output."""
        async with (await self._runner()).read(thunk) as pieces:
            yield pieces

    @asynccontextmanager
    async def export(self, thunk: Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Yield a thunk as an OCI archive."""
        async with (await self._runner()).export(thunk) as pieces:
            yield pieces

    @asynccontextmanager
    async def export_path(self, path: ThunkPath) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Yield a path from a thunk as a tar stream."""
        async with (await self._runner()).export_path(path) as pieces:
            yield pieces

    async def resolve(self, ref: ImageRef) -> Thunk:
        """Return a thunk of the image that a reference currently resolves to."""
        return await (await self._runner()).resolve(ref)

    async def publish(self, thunk: Thunk, ref: ImageRef) -> ImageRef:
        """Push a thunk's image, and return its reference."""
        return await (await self._runner()).publish(thunk, ref)

    def read_host_path(self, path: HostPath) -> ByteStream:
        """Return the content of a file."""
        return FileStream(host_file(path))

    async def list_host_path(self, path: HostPath) -> Sequence[DirEntry]:
        """Return the members of a directory."""
        return members(host_file(path))

    async def write_host_path(self, path: HostPath, content: bytes) -> None:
        """Replace a file."""
        replace(host_file(path), content)

    def log(self, message: str, fields: Mapping[str, Any]) -> None:
        """Print a message, followed by its fields."""
        self._say(" ".join([message, *(f"{name}={value}" for name, value in fields.items())]))

    def write_error(self, text: str) -> None:
        """Print a text."""
        self._say(text.removesuffix("\n"))

    async def _runner(self) -> ThunkRunner:
        """Return the thunk runner, created on first use. Raises BassError."""
        if self._options is None:
            raise BassError("bassloop eval doesn't run thunks; use bassloop run")
        await self._driver.loop()
        if self._thunks is None:
            assert self._driver.nursery is not None
            runner = self._load_runner()
            self._thunks = runner(self._options, self._driver.nursery, self._say)
        return self._thunks


# --- the caller's files ---


class FileStream(ReadyStream):
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
