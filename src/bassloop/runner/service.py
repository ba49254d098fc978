"""The `Runtime` service that a loop calls, on a driver.

Each call crosses from asyncio to Trio once; the driver's progress crosses back an update at a time,
and an update that the loop does not take holds up the command.
"""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from bassloop.bridge import call_asyncio, call_trio
from bassloop.runner.drivers import layout
from bassloop.runner.drivers.progress import DriverError
from bassloop.runner.identity import Scope
from bassloop.runner.options import is_served
from bassloop.wire import bass_pb2 as pb
from bassloop.wire import progrock_pb2 as progrock
from bassloop.wire import runtime_pb2 as rpc
from bassloop.wire.runtime_grpc import RuntimeBase

if TYPE_CHECKING:
    from pathlib import Path

    from grpclib.server import Stream

    from bassloop.runner.drivers.host import HostDriver

CHUNK = 256 * 1024

Respond = Callable[[Any], Awaitable[None]]


class RuntimeService(RuntimeBase):
    """Carries out what a loop asks, if the owner's rules allow it.

    Args:
        only: the repositories that are served; empty serves all.
    """

    def __init__(self, driver: HostDriver, only: tuple[str, ...] = ()) -> None:
        self._driver = driver
        self._only = only

    async def Resolve(self, stream: Stream[pb.ImageRef, pb.Thunk]) -> None:
        """Answer every image's name: the host driver has no images, and ignores them."""
        ref = await self._request(stream)
        await stream.send_message(pb.Thunk(image=pb.ThunkImage(ref=ref)))

    async def Run(self, stream: Stream[pb.Thunk, rpc.RunResponse]) -> None:
        """Run a thunk; its progress is the answer."""
        thunk = await self._request(stream)

        async def work(respond: Respond) -> None:
            async def send(update: progrock.StatusUpdate) -> None:
                await respond(rpc.RunResponse(progress=update))

            await self._driver.run(thunk, self._scope(stream), send)

        await self._carry_out(stream, work)

    async def Read(self, stream: Stream[pb.Thunk, rpc.ReadResponse]) -> None:
        """Run a thunk; what it printed follows its progress."""
        thunk = await self._request(stream)

        async def work(respond: Respond) -> None:
            async def send(update: progrock.StatusUpdate) -> None:
                await respond(rpc.ReadResponse(progress=update))

            output = await self._driver.run(thunk, self._scope(stream), send)
            async for chunk in _chunks(output.stdout):
                await respond(rpc.ReadResponse(output=chunk))

        await self._carry_out(stream, work)

    async def ExportPath(self, stream: Stream[pb.ThunkPath, rpc.ExportResponse]) -> None:
        """Run a path's thunk; a tar stream of the path follows its progress."""
        path = await self._request(stream)

        async def work(respond: Respond) -> None:
            async def send(update: progrock.StatusUpdate) -> None:
                await respond(rpc.ExportResponse(progress=update))

            output = await self._driver.run(path.thunk, self._scope(stream), send)
            within = layout.inside(layout.filesystem(path.path), "the path")
            async for chunk in _tar(output.files, within):
                await respond(rpc.ExportResponse(data=chunk))

        await self._carry_out(stream, work)

    async def Export(self, stream: Stream[pb.Thunk, rpc.ExportResponse]) -> None:
        """Refused: the host driver makes no images."""
        await self._request(stream)
        raise GRPCError(
            Status.UNIMPLEMENTED, "this runner has no images to export: it uses the host driver"
        )

    async def Publish(self, stream: Stream[rpc.PublishRequest, rpc.PublishResponse]) -> None:
        """Refused: the host driver makes no images."""
        await self._request(stream)
        raise GRPCError(
            Status.UNIMPLEMENTED, "this runner has no images to publish: it uses the host driver"
        )

    async def _request(self, stream: Stream[Any, Any]) -> Any:
        """The request, if the owner's rules allow it."""
        metadata = _metadata(stream)
        repository = metadata.get("bassloop-repository")
        if not is_served(self._only, repository):
            message = (
                f"this runner's owner does not let it serve {repository or 'an unnamed repository'}"
            )
            raise GRPCError(Status.PERMISSION_DENIED, message)
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "the call has no request")
        return request

    def _scope(self, stream: Stream[Any, Any]) -> Scope:
        return Scope.of(_metadata(stream))

    async def _carry_out(
        self, stream: Stream[Any, Any], work: Callable[[Respond], Awaitable[None]]
    ) -> None:
        """Do the work under Trio, its answers sent from there. A failed thunk is an error status."""

        async def respond(message: Any) -> None:
            await call_asyncio(stream.send_message, message)

        async def in_trio() -> str | None:
            try:
                await work(respond)
            except DriverError as error:
                return str(error)
            return None

        failure = await call_trio(in_trio)
        if failure is not None:
            raise GRPCError(Status.UNKNOWN, failure)


def _metadata(stream: Stream[Any, Any]) -> Mapping[str, str]:
    return {
        name: value for name, value in (stream.metadata or {}).items() if isinstance(value, str)
    }


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    async with await trio.open_file(path, "rb") as file:
        while chunk := await file.read(CHUNK):
            yield chunk


async def _tar(root: Path, within: str) -> AsyncIterator[bytes]:
    """A tar stream of a file, or of what is in a folder; nothing in it leads out of the output.

    Owners and times are left out, so that equal files make equal streams.
    """
    start = root / within
    if not start.exists():
        raise DriverError(f"the thunk left no {within}")
    for path in await trio.to_thread.run_sync(lambda: _walk(start)):
        name = path.relative_to(start if start.is_dir() else start.parent).as_posix()
        info = _member(path, name)
        if info is None:
            continue
        yield info.tobuf(tarfile.PAX_FORMAT)
        if info.isreg():
            async for chunk in _chunks(path):
                yield chunk
            yield b"\0" * (-info.size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def _walk(start: Path) -> list[Path]:
    if not start.is_dir():
        return [start]
    return sorted(path for path in start.rglob("*"))


def _member(path: Path, name: str) -> tarfile.TarInfo | None:
    with tarfile.open(fileobj=BytesIO(), mode="w") as empty:
        info = empty.gettarinfo(str(path), arcname=name)
    if not (info.isreg() or info.isdir() or info.issym()):
        return None
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    return info
