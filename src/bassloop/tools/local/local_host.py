"""The host of a script on the command line: it accesses the caller's files, and runs thunks in this process."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bassloop.bass.errors import BassError
from bassloop.bass.host import Host
from bassloop.tools.local.files import FileStream, host_file, members, replace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    from bassloop.bass.filesystem import DirEntry
    from bassloop.bass.host import ByteStream
    from bassloop.bass.path import HostPath
    from bassloop.bass.thunk import ImageRef, Thunk, ThunkPath
    from bassloop.tools.local.late_driver import EventLoop, LateDriver, RuntimeOptions
    from bassloop.tools.local.thunk_runner import ThunkRunner


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
