"""Run a script's thunks in this process, with the service that a loop calls over SSH, but without SSH.

Imported when a script runs its first thunk.
"""

from __future__ import annotations

import codecs
import re
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import platformdirs
import trio

from bassloop.bass.errors import BassError
from bassloop.bass.wire.decode import decode_ref, decode_thunk
from bassloop.bass.wire.encode import encode_ref, encode_thunk, encode_thunk_path
from bassloop.bridge.grpc import open_grpc_server
from bassloop.bridge.memory_channel import memory_opener
from bassloop.runner.driver_choice import find_sandbox
from bassloop.runner.errors import DriverError, RunnerError
from bassloop.runner.host.host_driver import HostDriver, HostOptions
from bassloop.runner.options import RunnerOptions
from bassloop.runner.service import RuntimeService
from bassloop.runtimes import Platform, RunFailed, Runtime, RuntimeLost
from bassloop.wire import bass_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from bassloop.bass.thunk import ImageRef, Thunk, ThunkPath
    from bassloop.tools.local.late_driver import RuntimeOptions
    from bassloop.wire import progrock_pb2 as progrock


NAME_SHOWN: Final = 100
LINE_SHOWN: Final = 4_000
_CONTROL: Final = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class ProgressPrinter:
    """Prints the updates of one call."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._shown: dict[str, str] = {}
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._lines: dict[str, str] = {}

    def update(self, update: progrock.StatusUpdate) -> None:
        """Print the news in an update."""
        for log in update.logs:
            self._log(log.vertex, log.data)
        for vertex in update.vertexes:
            if not vertex.internal:
                self._vertex(vertex)

    def close(self) -> None:
        """Print last lines that don't end in a newline."""
        for vertex, line in self._lines.items():
            if line:
                self._line(vertex, line)
        self._lines.clear()

    def _vertex(self, vertex: progrock.Vertex) -> None:
        name = _plain(vertex.name)[:NAME_SHOWN]
        if vertex.id not in self._shown and vertex.HasField("started"):
            self._shown[vertex.id] = name
            self._say(f"=> {name}" + (" (cached)" if vertex.cached else ""))
        if vertex.HasField("completed") and not vertex.cached and vertex.id in self._shown:
            line = self._lines.pop(vertex.id, "")
            if line:
                self._line(vertex.id, line)
            seconds = (vertex.completed.ToNanoseconds() - vertex.started.ToNanoseconds()) / 1e9
            failed = _plain(vertex.error) if vertex.HasField("error") else ""
            self._say(f"<= {name}: {failed or 'done'} ({seconds:.2f} s)")

    def _log(self, vertex: str, data: bytes) -> None:
        decoder = self._decoders.get(vertex)
        if decoder is None:
            decoder = self._decoders[vertex] = codecs.getincrementaldecoder("utf-8")("replace")
        text = self._lines.get(vertex, "") + decoder.decode(data)
        *lines, rest = text.split("\n")
        for line in lines:
            self._line(vertex, line)
        while len(rest) > LINE_SHOWN:
            self._line(vertex, rest[:LINE_SHOWN])
            rest = rest[LINE_SHOWN:]
        self._lines[vertex] = rest

    def _line(self, vertex: str, line: str) -> None:
        self._say(f"   {_plain(line.removesuffix(chr(13)).rpartition(chr(13))[2])}")


def _plain(text: str) -> str:
    """Return text without control characters and colours."""
    return _CONTROL.sub("", text)


class ThunkRunner:
    """Runs thunks with a runtime that starts when the first one runs. Needs an open bridge.

    Every method raises BassError.

    Args:
        nursery: runs the runtime.
        say: prints one or more lines for people.
    """

    def __init__(
        self, options: RuntimeOptions, nursery: trio.Nursery, say: Callable[[str], None]
    ) -> None:
        self._options = options
        self._nursery = nursery
        self._say = say
        self._runtime: Runtime | None = None
        self._starting = trio.Lock()

    async def run(self, thunk: Thunk) -> None:
        """Run a thunk, and print its progress."""
        runtime = await self._started()
        async with self._progress(runtime.run(encode_thunk(thunk), {})) as answers:
            async for _ in answers:
                pass

    @asynccontextmanager
    async def read(self, thunk: Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Yield a thunk's standard output."""
        runtime = await self._started()
        async with self._progress(runtime.read(encode_thunk(thunk), {})) as answers:
            yield answers

    @asynccontextmanager
    async def export(self, thunk: Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Yield a thunk as an OCI archive."""
        runtime = await self._started()
        async with self._progress(runtime.export(encode_thunk(thunk), {})) as answers:
            yield answers

    @asynccontextmanager
    async def export_path(self, path: ThunkPath) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Yield a path from a thunk as a tar stream."""
        runtime = await self._started()
        async with self._progress(runtime.export_path(encode_thunk_path(path), {})) as answers:
            yield answers

    async def resolve(self, ref: ImageRef) -> Thunk:
        """Return a thunk of the image that a reference currently resolves to."""
        runtime = await self._started()
        try:
            return decode_thunk(await runtime.resolve(encode_ref(ref), {}))
        except (RunFailed, RuntimeLost) as error:
            raise BassError(str(error)) from error

    async def publish(self, thunk: Thunk, ref: ImageRef) -> ImageRef:
        """Push a thunk's image, and return its reference."""
        runtime = await self._started()
        published: ImageRef | None = None
        try:
            async with runtime.publish(encode_ref(ref), encode_thunk(thunk), {}) as answers:
                async for answer in answers:
                    if isinstance(answer, bass_pb2.ImageRef):
                        published = decode_ref(answer)
        except (RunFailed, RuntimeLost) as error:
            raise BassError(str(error)) from error
        if published is None:
            raise BassError(
                f"{thunk.cmdline()} was published, but the answer has no reference to it"
            )
        return published

    async def _started(self) -> Runtime:
        async with self._starting:
            if self._runtime is None:
                self._runtime = await self._nursery.start(_serve_runtime, self._options)
        return self._runtime

    @asynccontextmanager
    async def _progress(
        self, call: AbstractAsyncContextManager[AsyncIterator[Any]]
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Yield the bytes in a call's responses, and print its progress."""
        progress = ProgressPrinter(self._say)

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


async def _serve_runtime(
    options: RuntimeOptions, *, task_status: trio.TaskStatus[Runtime] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve a runtime in this process until cancelled. Raises BassError.

    Paths of this machine are allowed, since they come from the script's caller.
    """
    state = Path(platformdirs.user_cache_dir("bass-loop")) / "local"
    runner = RunnerOptions(
        login="local",
        host="local",
        allow_host_path=True,
        state_dir=state,
        sandbox=options.sandbox,
        network="host",
        no_limits=True,
    )
    try:
        box = await find_sandbox(runner)
        async with (
            HostDriver.open(runner.state, HostOptions(allow_host_path=True, sandbox=box)) as driver,
            RuntimeService.open(driver) as service,
            open_grpc_server([service]) as new_session,
        ):
            task_status.started(
                Runtime(
                    id="local",
                    user_id=0,
                    login="you",
                    platform=Platform.here(),
                    priority=0,
                    connected_at=time.time(),
                    open_channel=memory_opener(new_session),
                    kind="bassloop",
                )
            )
            await trio.sleep_forever()
    except (DriverError, RunnerError) as error:
        raise BassError(str(error)) from error
