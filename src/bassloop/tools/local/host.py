"""What a script may ask for on the command line: its owner's files, and thunks on a driver in this process."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from bassloop.bass.errors import BassError
from bassloop.bass.host import Host
from bassloop.bass.wire.decode import decode_ref, decode_thunk
from bassloop.bass.wire.encode import encode_ref, encode_thunk, encode_thunk_path
from bassloop.tools.local.files import FileStream, located, members, replace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from bassloop.bass.filesystem import DirEntry
    from bassloop.bass.host import ByteStream
    from bassloop.bass.path import HostPath
    from bassloop.bass.thunk import ImageRef, Thunk, ThunkPath
    from bassloop.runtimes import Runtime
    from bassloop.tools.local.driver import LateDriver
    from bassloop.tools.local.runtime_options import RuntimeOptions

T = TypeVar("T")


class LocalHost(Host):
    """A :class:`bassloop.bass.Host` with the rights of whoever calls the script.

    Args:
        options: how thunks are run; without them, a script that wants to run one is told that it cannot.
        say: takes what is for people, a line or more at a time.
    """

    def __init__(
        self,
        driver: LateDriver,
        options: RuntimeOptions | None = None,
        say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
    ) -> None:
        self._driver = driver
        self._options = options
        self._say = say
        self._runtime: Runtime | None = None
        self._starting: Any = None

    async def run(self, thunk: Thunk) -> None:
        """Run a thunk, showing what it does."""
        runtime = await self._runtime_here()
        async with self._told(runtime.run(encode_thunk(thunk), {})) as answers:
            async for _ in answers:
                pass

    @asynccontextmanager
    async def read(self, thunk: Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
        """What a thunk prints."""
        runtime = await self._runtime_here()
        async with self._told(runtime.read(encode_thunk(thunk), {})) as answers:
            yield answers

    @asynccontextmanager
    async def export(self, thunk: Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
        """A thunk as an OCI archive."""
        runtime = await self._runtime_here()
        async with self._told(runtime.export(encode_thunk(thunk), {})) as answers:
            yield answers

    @asynccontextmanager
    async def export_path(self, path: ThunkPath) -> AsyncGenerator[AsyncIterator[bytes]]:
        """A path out of a thunk, as a tar stream."""
        runtime = await self._runtime_here()
        async with self._told(runtime.export_path(encode_thunk_path(path), {})) as answers:
            yield answers

    async def resolve(self, ref: ImageRef) -> Thunk:
        """The thunk of the image that a reference means now."""
        from bassloop.runtimes import RunFailed, RuntimeLost

        runtime = await self._runtime_here()
        try:
            return decode_thunk(await runtime.resolve(encode_ref(ref), {}))
        except (RunFailed, RuntimeLost) as error:
            raise BassError(str(error)) from error

    async def publish(self, thunk: Thunk, ref: ImageRef) -> ImageRef:
        """Push a thunk's image."""
        from bassloop.runtimes import RunFailed, RuntimeLost
        from bassloop.wire import bass_pb2

        runtime = await self._runtime_here()
        published: ImageRef | None = None
        try:
            async with runtime.publish(encode_ref(ref), encode_thunk(thunk), {}) as answers:
                async for answer in answers:
                    if isinstance(answer, bass_pb2.ImageRef):
                        published = decode_ref(answer)
        except (RunFailed, RuntimeLost) as error:
            raise BassError(str(error)) from error
        if published is None:
            raise BassError(f"{thunk.cmdline()} was published, but nothing says as what")
        return published

    def read_host_path(self, path: HostPath) -> ByteStream:
        """The content of a file."""
        return FileStream(located(path))

    async def list_host_path(self, path: HostPath) -> Sequence[DirEntry]:
        """The members of a directory."""
        return members(located(path))

    async def write_host_path(self, path: HostPath, content: AsyncIterator[bytes]) -> None:
        """Replace a file."""
        await replace(located(path), content)

    def log(self, message: str, fields: Mapping[str, Any]) -> None:
        """Say it, with its fields behind it."""
        self._say(" ".join([message, *(f"{name}={value}" for name, value in fields.items())]))

    def write_error(self, text: str) -> None:
        """Say it as it is."""
        self._say(text.removesuffix("\n"))

    async def _runtime_here(self) -> Runtime:
        """The runtime in this process, started when it is first needed."""
        if self._options is None:
            raise BassError("no thunk is run here: bassloop eval only evaluates; use bassloop run")
        await self._driver.loop()
        import trio

        from bassloop.tools.local.runtime import serve_runtime

        assert self._driver.nursery is not None
        self._starting = self._starting or trio.Lock()
        async with self._starting:
            if self._runtime is None:
                self._runtime = await self._driver.nursery.start(serve_runtime, self._options)
        return self._runtime

    @asynccontextmanager
    async def _told(
        self, call: AbstractAsyncContextManager[AsyncIterator[Any]]
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The bytes among a call's answers; its progress is shown, its failure is the script's to hear."""
        from bassloop.runtimes import RunFailed, RuntimeLost
        from bassloop.tools.local.progress import Progress

        progress = Progress(self._say)

        async def pieces(answers: AsyncIterator[Any]) -> AsyncGenerator[bytes]:
            async for answer in answers:
                if isinstance(answer, bytes):
                    yield answer
                else:
                    progress.update(answer)

        try:
            async with call as answers:
                yield pieces(answers)
        except (RunFailed, RuntimeLost) as error:
            raise BassError(str(error)) from error
        finally:
            progress.close()
