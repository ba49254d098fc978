"""The gRPC service `Runtime` that a loop calls, implemented by a driver.

Each call crosses from asyncio to Trio once. Its work is a task in a Trio nursery that outlives the call: when the
call is cancelled, so is the work, and closing the service waits for the work to end. Progress crosses back one update
at a time, and a command waits while the loop doesn't take an update.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import structlog
import trio
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from h2.exceptions import StreamClosedError

from bassloop.bridge import call_asyncio, call_trio
from bassloop.concurrency import shielded
from bassloop.runner import file_trees
from bassloop.runner.call_context import CallContext, GivenArtifact
from bassloop.runner.engine.command import parse_thunk
from bassloop.runner.engine.graph import describe_os_error
from bassloop.runner.engine.thunk_driver import tar_of
from bassloop.runner.errors import DriverError, NotCached, Unsupported
from bassloop.runner.options import is_served
from bassloop.runner.signing import ConnectionSigner, RunWitness
from bassloop.wire import bass_pb2 as pb
from bassloop.wire import progrock_pb2 as progrock
from bassloop.wire import runtime_pb2 as rpc
from bassloop.wire.conventions import (
    GIVEN_METADATA,
    MAX_GIVEN,
    NAME_METADATA,
    PUT_METHOD,
    RUN_METADATA,
    SHA256_METADATA,
    problem_of_given,
)
from bassloop.wire.runtime_grpc import RuntimeBase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from grpclib.server import Stream

    from bassloop.runner.engine.step_progress import Send
    from bassloop.runner.engine.thunk_driver import ThunkDriver
    from bassloop.runner.secrets import Mask


MAX_RUNS = 100
"""The maximum number of runs whose artifacts are stored at the same time."""

log = structlog.get_logger(__name__)

NOT_SENT = "a file has a secret of this runner in it, and secrets don't leave the runner"
DROP_SECONDS = 10.0
MAX_STATUS_TEXT = 4_000
"""The length limit for an error's text, which is sent in a header."""

Respond = Callable[[Any], Awaitable[None]]


@dataclass(eq=False)
class ReceivedArtifacts:
    """The artifacts that were received, until their run has ended. All methods raise DriverError.

    Args:
        folder: the folder for their files; its creator removes it.
    """

    folder: Path
    _runs: dict[str, dict[str, GivenArtifact]] = field(default_factory=dict)
    _count: int = 0

    async def receive(self, run: str, name: str, sha256: str, chunks: AsyncIterator[bytes]) -> None:
        """Receive an artifact, and check that it is what the loop says."""
        if (why := problem_of_given(name)) is not None:
            raise DriverError(f"the artifact {name[:100]!r} can't be given to a command: {why}")
        given = self._runs.get(run, {})
        if len(given) >= MAX_GIVEN and name not in given:
            raise DriverError(f"a run may be given {MAX_GIVEN} artifacts")
        self._count += 1
        file, digest = self.folder / str(self._count), hashlib.sha256()
        try:
            async with await trio.open_file(file, "wb") as opened:
                async for chunk in chunks:
                    digest.update(chunk)
                    await opened.write(chunk)
                    await trio.to_thread.run_sync(file_trees.check_disk, self.folder)
            if digest.hexdigest() != sha256:
                raise DriverError(f"the artifact {name} isn't what the loop says it is")
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        if run not in self._runs and len(self._runs) >= MAX_RUNS:
            await self.drop(next(iter(self._runs)))
        given = self._runs.setdefault(run, {})
        replaced, given[name] = given.get(name), GivenArtifact(name, sha256, file)
        if replaced is not None:
            await file_trees.remove(replaced.file)

    def of_run(self, run: str, listed: str) -> tuple[GivenArtifact, ...]:
        """Return the artifacts for a run, which must have been received before.

        Args:
            listed: a list of names with their SHA-256, in JSON.
        """
        given = self._runs.get(run, {})
        try:
            wanted = [(str(name), str(sha256)) for name, sha256 in json.loads(listed)]
        except (ValueError, TypeError, RecursionError) as error:
            raise DriverError("the list of artifacts can't be read") from error
        for name, sha256 in wanted:
            if name not in given or given[name].sha256 != sha256:
                raise DriverError(f"the artifact {name[:100]} has not come")
        return tuple(given[name] for name, _ in sorted(wanted))

    async def drop(self, run: str) -> None:
        """Remove the artifacts for a run."""
        for each in self._runs.pop(run, {}).values():
            await file_trees.remove(each.file)


@dataclass(eq=False)
class _Job:
    """The work of one call."""

    work: Callable[[Respond], Awaitable[None]]
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    over: trio.Event = field(default_factory=trio.Event)
    failure: GRPCError | None = None


class RuntimeService(RuntimeBase):
    """Serves a loop's calls, as far as the owner's rules allow. Made with :meth:`open`."""

    def __init__(
        self,
        driver: ThunkDriver[Any],
        only: tuple[str, ...],
        nursery: trio.Nursery,
        signer: ConnectionSigner | None,
        received: ReceivedArtifacts,
    ) -> None:
        self._received = received
        self._driver = driver
        self._signer = signer
        self._only = only
        self._nursery = nursery

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        driver: ThunkDriver[Any],
        only: tuple[str, ...] = (),
        signer: ConnectionSigner | None = None,
    ) -> AsyncGenerator[RuntimeService]:
        """Provide a service. On exit, cancel its work and wait for that. Needs an open bridge.

        Args:
            only: the repositories that are served, ``owner/name`` or ``owner/*``; empty for all.
            signer: signs a statement about each run if the loop asks for it.
        """
        async with driver.cache.new_output() as folder, trio.open_nursery() as nursery:
            yield cls(driver, only, nursery, signer, ReceivedArtifacts(folder.path))
            nursery.cancel_scope.cancel()

    def __mapping__(self) -> dict[str, Handler]:
        """Return the methods: those of the original, and the one for sending artifacts."""
        put = Handler(
            self.put_artifact,
            Cardinality.STREAM_UNARY,
            rpc.ExportResponse,
            rpc.ExportResponse,
        )
        return {**super().__mapping__(), PUT_METHOD: put}

    async def put_artifact(self, stream: Stream[rpc.ExportResponse, rpc.ExportResponse]) -> None:
        """Receive an artifact of another check for an upcoming run."""
        metadata = _metadata(stream)
        self._require_served(metadata)

        async def chunks() -> AsyncGenerator[bytes]:
            while (message := await call_asyncio(stream.recv_message)) is not None:
                yield message.data

        async def work(respond: Respond) -> None:
            async with aclosing(chunks()) as pieces:
                await self._received.receive(
                    metadata.get(RUN_METADATA, ""),
                    metadata.get(NAME_METADATA, ""),
                    metadata.get(SHA256_METADATA, ""),
                    pieces,
                )
            await respond(rpc.ExportResponse())

        await self._do(stream, work)

    async def Resolve(self, stream: Stream[pb.ImageRef, pb.Thunk]) -> None:
        """Resolve an image's name, and answer with a thunk of the current image."""
        ref = await self._request(stream)

        async def work(respond: Respond) -> None:
            await respond(await self._driver.resolve(ref, _context(stream)))

        await self._do(stream, work)

    async def Run(self, stream: Stream[pb.Thunk, rpc.RunResponse]) -> None:
        """Run a thunk. Answer with its progress and, at the end, a signed statement about the run."""
        thunk = await self._request(stream)
        context, metadata = _context(stream), _metadata(stream)
        run = metadata.get(RUN_METADATA, "")
        if GIVEN_METADATA in metadata:
            try:
                given = self._received.of_run(run, metadata[GIVEN_METADATA])
            except DriverError as error:
                raise _error(Status.FAILED_PRECONDITION, str(error)) from error
            context = replace(context, given=given)
        witness = None
        if self._signer is not None and metadata.get("bassloop-sign") == "true":
            witness = RunWitness(thunk, metadata, context, self._driver, self._signer)

        async def work(respond: Respond) -> None:
            send = _progress(respond, rpc.RunResponse)

            async def send_and_note(update: progrock.StatusUpdate) -> None:
                await send(update)
                if witness is not None:
                    witness.note(update)

            try:
                async with self._driver.running(thunk, context, send_and_note) as output:
                    await self._driver.send_artifacts(thunk, output, context, send_and_note)
            finally:
                with shielded(DROP_SECONDS):
                    await self._received.drop(run)

        await self._do(stream, work, witness)

    async def Read(self, stream: Stream[pb.Thunk, rpc.ReadResponse]) -> None:
        """Run a thunk. Answer with its progress, then its output, with secrets masked."""
        thunk = await self._request(stream)

        async def work(respond: Respond) -> None:
            send = _progress(respond, rpc.ReadResponse)
            async with self._driver.running(thunk, _context(stream), send) as output:
                if not output.stdout.exists():
                    raise DriverError("the thunk printed more than can be read; write it to a file")
                async with aclosing(file_trees.read(output.stdout)) as chunks:
                    async for chunk in chunks:
                        await respond(rpc.ReadResponse(output=chunk))

        await self._do(stream, work)

    async def ExportPath(self, stream: Stream[pb.ThunkPath, rpc.ExportResponse]) -> None:
        """Run a path's thunk. Answer with its progress, then a tar stream of the path.

        A file that contains a secret isn't sent, not even in part.
        """
        path = await self._request(stream)

        async def work(respond: Respond) -> None:
            send = _progress(respond, rpc.ExportResponse)
            granted = await self._driver.options.secrets.grant(_context(stream))
            async with self._driver.running(
                parse_thunk(path.thunk), _context(stream), send
            ) as output:
                if granted.mask and await _has_secret(tar_of(output, path.path), granted.mask):
                    raise DriverError(NOT_SENT)
                async with aclosing(tar_of(output, path.path)) as chunks:
                    async for chunk in chunks:
                        await respond(rpc.ExportResponse(data=chunk))

        await self._do(stream, work)

    async def Export(self, stream: Stream[pb.Thunk, rpc.ExportResponse]) -> None:
        """Run a thunk. Answer with its progress, then an OCI archive of its image."""
        thunk = await self._request(stream)

        async def work(respond: Respond) -> None:
            async def send_bytes(data: bytes) -> None:
                await respond(rpc.ExportResponse(data=data))

            send = _progress(respond, rpc.ExportResponse)
            await self._driver.export(thunk, _context(stream), send, send_bytes)

        await self._do(stream, work)

    async def Publish(self, stream: Stream[rpc.PublishRequest, rpc.PublishResponse]) -> None:
        """Run a thunk and push its image. Answer with its progress, then its name with its digest."""
        request = await self._request(stream)

        async def work(respond: Respond) -> None:
            send = _progress(respond, rpc.PublishResponse)
            context = _context(stream)
            published = await self._driver.publish(request.ref, request.thunk, context, send)
            await respond(rpc.PublishResponse(published=published))

        await self._do(stream, work)

    async def _request(self, stream: Stream[Any, Any]) -> Any:
        """Return the request if the owner's rules allow it. Raises GRPCError."""
        self._require_served(_metadata(stream))
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "the call has no request")
        return request

    def _require_served(self, metadata: dict[str, str]) -> None:
        """Raise GRPCError unless the owner's rules allow a call."""
        repository = metadata.get("bassloop-repository")
        if not is_served(self._only, repository):
            named = repository or "a repository that is not named"
            fix = f"--only {repository or 'OWNER/REPO'} would"
            raise GRPCError(
                Status.PERMISSION_DENIED,
                f"this runner's owner does not let it serve {named}; bassloop runner {fix}",
            )

    async def _do(
        self,
        stream: Stream[Any, Any],
        work: Callable[[Respond], Awaitable[None]],
        witness: RunWitness | None = None,
    ) -> None:
        """Do the work of a call in Trio, and send its answers. Raises GRPCError for a failed thunk."""
        job = _Job(work)
        await call_trio(self._supervise, job, stream)
        failure = job.failure
        if witness is not None and (failure is None or failure.status is not Status.CANCELLED):
            reason = None if failure is None else failure.message or failure.status.name
            trailers = await call_trio(witness.trailers, reason)
            status = Status.OK if failure is None else failure.status
            text = None if failure is None else failure.message
            with suppress(StreamClosedError):  # the loop doesn't listen any more
                await stream.send_trailing_metadata(
                    status=status, status_message=text, metadata=trailers
                )
        elif failure is not None:
            raise failure

    async def _supervise(self, job: _Job, stream: Stream[Any, Any]) -> None:
        """Wait for a job. If cancelled, cancel the job; the nursery waits for its end."""
        self._nursery.start_soon(self._run_job, job, stream)
        try:
            await job.over.wait()
        finally:
            job.scope.cancel()

    async def _run_job(self, job: _Job, stream: Stream[Any, Any]) -> None:
        async def respond(message: Any) -> None:
            try:
                await call_asyncio(stream.send_message, message)
            except Exception:  # noqa: BLE001 - whatever the error is, the loop doesn't listen any more
                job.scope.cancel()
                await trio.lowlevel.checkpoint()

        try:
            with job.scope:
                await job.work(respond)
            if job.scope.cancelled_caught:
                job.failure = GRPCError(Status.CANCELLED, "the call was cancelled")
        except Unsupported as error:
            job.failure = _error(Status.UNIMPLEMENTED, str(error))
        except NotCached as error:
            job.failure = _error(Status.NOT_FOUND, str(error))
        except DriverError as error:
            job.failure = _error(Status.UNKNOWN, str(error))
        except OSError as error:
            job.failure = _error(Status.UNKNOWN, describe_os_error(error))
        except Exception:  # a bug that one thunk triggers ends that thunk, not the runner
            log.exception("call crashed")
            job.failure = _error(Status.INTERNAL, "the runner crashed; its own log says why")
        finally:
            job.over.set()


async def _has_secret(content: AsyncGenerator[bytes], mask: Mask) -> bool:
    """Return whether there's something in a content that the mask hides."""
    masked = mask.stream()
    async with aclosing(content) as chunks:
        async for chunk in chunks:
            masked.feed(chunk)
            if masked.found:
                return True
    masked.rest()
    return masked.found


def _error(status: Status, text: str) -> GRPCError:
    return GRPCError(status, text[:MAX_STATUS_TEXT])


def _progress(respond: Respond, response: Callable[..., Any]) -> Send:
    async def send(update: progrock.StatusUpdate) -> None:
        await respond(response(progress=update))

    return send


def _metadata(stream: Stream[Any, Any]) -> dict[str, str]:
    """Return the call's metadata; its values are percent-encoded."""
    found = (stream.metadata or {}).items()
    return {name: unquote(value) for name, value in found if isinstance(value, str)}


def _context(stream: Stream[Any, Any]) -> CallContext:
    return CallContext.from_metadata(_metadata(stream))
