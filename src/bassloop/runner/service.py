"""The `Runtime` service that a loop calls, on a driver.

Each call crosses from asyncio to Trio once, and its work is a task there, in a nursery that outlives the
call: when that is cancelled, so is the work, and whoever closes the service waits for its end. Progress
crosses back an update at a time, and an update that the loop does not take holds up the command.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import structlog
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from bassloop.bridge import call_asyncio, call_trio
from bassloop.runner import file_trees
from bassloop.runner.context import CallContext
from bassloop.runner.engine.sources import exported
from bassloop.runner.errors import DriverError, NotCached, Unsupported
from bassloop.runner.options import is_served
from bassloop.wire import bass_pb2 as pb
from bassloop.wire import progrock_pb2 as progrock
from bassloop.wire import runtime_pb2 as rpc
from bassloop.wire.runtime_grpc import RuntimeBase

if TYPE_CHECKING:
    from grpclib.server import Stream

    from bassloop.runner.engine.driver import Driver

log = structlog.get_logger(__name__)

NOT_SENT = "a file has a secret of this runner in it, and secrets don't leave the runner"
MAX_REASON = 4_000
"""Characters of an error status' text: it travels in a header."""

Respond = Callable[[Any], Awaitable[None]]


@dataclass(eq=False)
class _Job:
    """One call's work."""

    work: Callable[[Respond], Awaitable[None]]
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    over: trio.Event = field(default_factory=trio.Event)
    failure: GRPCError | None = None


class RuntimeService(RuntimeBase):
    """Carries out what a loop asks, if the owner's rules allow it. Made with :meth:`open`."""

    def __init__(self, driver: Driver, only: tuple[str, ...], nursery: trio.Nursery) -> None:
        self._driver = driver
        self._only = only
        self._nursery = nursery

    @classmethod
    @asynccontextmanager
    async def open(
        cls, driver: Driver, only: tuple[str, ...] = ()
    ) -> AsyncGenerator[RuntimeService]:
        """A service; on exit its work is cancelled, and over. Needs an open bridge.

        Args:
            only: the repositories that are served, ``owner/name`` or ``owner/*``; empty serves all.
        """
        async with trio.open_nursery() as nursery:
            yield cls(driver, only, nursery)
            nursery.cancel_scope.cancel()

    async def Resolve(self, stream: Stream[pb.ImageRef, pb.Thunk]) -> None:
        """Answer an image's name with a thunk of it as it is now."""
        ref = await self._request(stream)

        async def work(respond: Respond) -> None:
            await respond(await self._driver.resolve(ref, _scope(stream)))

        await self._carry_out(stream, work)

    async def Run(self, stream: Stream[pb.Thunk, rpc.RunResponse]) -> None:
        """Run a thunk; its progress is the answer."""
        thunk = await self._request(stream)

        async def work(respond: Respond) -> None:
            send = _progress(respond, rpc.RunResponse)
            async with self._driver.running(thunk, _scope(stream), send):
                pass

        await self._carry_out(stream, work)

    async def Read(self, stream: Stream[pb.Thunk, rpc.ReadResponse]) -> None:
        """Run a thunk; what it printed follows its progress, secrets hidden as they are in its log."""
        thunk = await self._request(stream)

        async def work(respond: Respond) -> None:
            send = _progress(respond, rpc.ReadResponse)
            async with self._driver.running(thunk, _scope(stream), send) as output:
                if not output.stdout.exists():
                    raise DriverError("the thunk printed more than can be read; write it to a file")
                async with aclosing(file_trees.read(output.stdout)) as chunks:
                    async for chunk in chunks:
                        await respond(rpc.ReadResponse(output=chunk))

        await self._carry_out(stream, work)

    async def ExportPath(self, stream: Stream[pb.ThunkPath, rpc.ExportResponse]) -> None:
        """Run a path's thunk; a tar stream of the path follows its progress.

        A file with a secret in it is not sent: a secret never leaves the runner, and half a file is none.
        """
        path = await self._request(stream)

        async def work(respond: Respond) -> None:
            send = _progress(respond, rpc.ExportResponse)
            granted = await self._driver.secrets.grant(_scope(stream))
            async with self._driver.running(path.thunk, _scope(stream), send) as output:
                looked_at = granted.mask.stream()
                async with aclosing(exported(output, path.path)) as chunks:
                    async for chunk in chunks:
                        looked_at.feed(chunk)
                        if looked_at.found:
                            raise DriverError(NOT_SENT)
                        await respond(rpc.ExportResponse(data=chunk))

        await self._carry_out(stream, work)

    async def Export(self, stream: Stream[pb.Thunk, rpc.ExportResponse]) -> None:
        """Run a thunk; an OCI archive of its image follows its progress."""
        thunk = await self._request(stream)

        async def work(respond: Respond) -> None:
            async def give(data: bytes) -> None:
                await respond(rpc.ExportResponse(data=data))

            send = _progress(respond, rpc.ExportResponse)
            await self._driver.export(thunk, _scope(stream), send, give)

        await self._carry_out(stream, work)

    async def Publish(self, stream: Stream[rpc.PublishRequest, rpc.PublishResponse]) -> None:
        """Run a thunk and push its image; its name with its digest follows the progress."""
        request = await self._request(stream)

        async def work(respond: Respond) -> None:
            send = _progress(respond, rpc.PublishResponse)
            published = await self._driver.publish(request.ref, request.thunk, _scope(stream), send)
            await respond(rpc.PublishResponse(published=published))

        await self._carry_out(stream, work)

    async def _request(self, stream: Stream[Any, Any]) -> Any:
        """The request, if the owner's rules allow it."""
        repository = _metadata(stream).get("bassloop-repository")
        if not is_served(self._only, repository):
            named = repository or "a repository that is not named"
            mend = f"--only {repository or 'OWNER/REPO'} would"
            raise GRPCError(
                Status.PERMISSION_DENIED,
                f"this runner's owner does not let it serve {named}; bassloop runner {mend}",
            )
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "the call has no request")
        return request

    async def _carry_out(
        self, stream: Stream[Any, Any], work: Callable[[Respond], Awaitable[None]]
    ) -> None:
        """Do the work under Trio, its answers sent from there. A failed thunk is an error status."""
        job = _Job(work)
        await call_trio(self._supervise, job, stream)
        if job.failure is not None:
            raise job.failure

    async def _supervise(self, job: _Job, stream: Stream[Any, Any]) -> None:
        """Start a job and wait for it; cancelled, cancel it and leave its end to the nursery."""
        self._nursery.start_soon(self._do, job, stream)
        try:
            await job.over.wait()
        finally:
            job.scope.cancel()

    async def _do(self, job: _Job, stream: Stream[Any, Any]) -> None:
        async def respond(message: Any) -> None:
            try:
                await call_asyncio(stream.send_message, message)
            except Exception:  # noqa: BLE001  (whatever it is, the loop no longer listens)
                job.scope.cancel()
                await trio.lowlevel.checkpoint()

        try:
            with job.scope:
                await job.work(respond)
            if job.scope.cancelled_caught:
                job.failure = GRPCError(Status.CANCELLED, "the call was cancelled")
        except Unsupported as error:
            job.failure = GRPCError(Status.UNIMPLEMENTED, str(error))
        except NotCached as error:
            job.failure = GRPCError(Status.NOT_FOUND, str(error)[:MAX_REASON])
        except DriverError as error:
            job.failure = GRPCError(Status.UNKNOWN, str(error)[:MAX_REASON])
        except OSError as error:
            text = f"{error.strerror or error}: {error.filename or 'a file of the output'}"
            job.failure = GRPCError(Status.UNKNOWN, text[:MAX_REASON])
        except Exception:  # a bug that one thunk has found ends that thunk, and not the runner
            log.exception("call crashed")
            job.failure = GRPCError(Status.INTERNAL, "the runner crashed; its own log says why")
        finally:
            job.over.set()


def _progress(
    respond: Respond, response: Callable[..., Any]
) -> Callable[[progrock.StatusUpdate], Awaitable[None]]:
    async def send(update: progrock.StatusUpdate) -> None:
        await respond(response(progress=update))

    return send


def _metadata(stream: Stream[Any, Any]) -> dict[str, str]:
    """What the loop says of the call; its values are percent-encoded."""
    found = (stream.metadata or {}).items()
    return {name: unquote(value) for name, value in found if isinstance(value, str)}


def _scope(stream: Stream[Any, Any]) -> CallContext:
    return CallContext.of(_metadata(stream))
