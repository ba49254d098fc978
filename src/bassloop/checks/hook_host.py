"""The host of a hook: it reads the hook's repository, runs thunks on its sender's runners, and starts checks.

The hook runs in a process of its own, and asks for each of these. Whatever it sends is checked here.
"""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import structlog
import trio
from google.protobuf.message import DecodeError

from bassloop.checks.check_request import CheckRefused, CheckRequest
from bassloop.checks.starting import RequestedThunk, read_thunk, start_check
from bassloop.evaluator.errors import HostRefusal
from bassloop.github import GitHubError, retry_after
from bassloop.lifecycle import RunState
from bassloop.runtimes import (
    NoRuntime,
    Platform,
    RunFailed,
    RunnerWait,
    Runtime,
    RuntimeLost,
)
from bassloop.wire import bass_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from google.protobuf.message import Message

    from bassloop.checks.context import DeliveryContext
    from bassloop.wire import progrock_pb2

log = structlog.get_logger(__name__)

M = TypeVar("M", bound="Message")

MAX_OUTPUT = 16 << 20
MAX_PROGRESS = 1 << 20
MAX_REFERENCE = 64 << 10


@dataclass(eq=False)
class Progress:
    """The progress of the hook's own thunks: the latest updates from runners, up to a bound."""

    updates: deque[progrock_pb2.StatusUpdate] = field(default_factory=deque)
    _size: int = 0

    def add(self, update: progrock_pb2.StatusUpdate) -> None:
        """Add an update, and drop the oldest that there is no room for."""
        self.updates.append(update)
        self._size += update.ByteSize()
        while self._size > MAX_PROGRESS and len(self.updates) > 1:
            self._size -= self.updates.popleft().ByteSize()


@dataclass(eq=False)
class LoopHost:
    """The :class:`bassloop.evaluator.hook_process.HookHost` of one hook. All that a hook does, it does through this.

    Args:
        hook: the hook's name, which none of its checks may have.
        progress: what to show of the hook's own thunks if it fails.
    """

    context: DeliveryContext
    hook: str
    progress: Progress = field(default_factory=Progress)
    _output: list[str] = field(default_factory=list)

    @property
    def tree(self) -> str:
        """The name that a path into the repository prints with."""
        return f"{self.context.repository.full_name}@{self.context.hook_sha[:12]}"

    def output(self) -> str:
        """Return what the hook has logged so far, in lines."""
        return "".join(f"{line}\n" for line in self._output)

    def log(self, message: str, fields: str) -> None:
        """Keep what the hook logs, for its check run if it fails."""
        self._output.append(f"{message} {fields}".rstrip())
        log.info("hook says", said=message[:500], fields=fields[:500])

    async def payload(self) -> bytes:
        """Return the event's payload, as GitHub sent it."""
        return await self.context.loop.store.deliveries.body(self.context.delivery)

    # --- files ---

    async def read_file(self, path: str) -> bytes:
        """Return the content of a file at the hook's commit. Raises HostRefusal."""
        try:
            content = await self.context.repo.file(path, self.context.hook_sha)
        except GitHubError as error:
            raise self._not_read(error) from error
        if content is None:
            raise HostRefusal(f"{self.tree} has no file ./{path}")
        return content

    async def list_directory(self, path: str) -> list[tuple[str, bool]]:
        """Return the files and directories in a directory, without submodules. Raises HostRefusal."""
        try:
            entries = await self.context.repo.directory(path, self.context.hook_sha)
        except GitHubError as error:
            raise self._not_read(error) from error
        if entries is None:
            raise HostRefusal(f"{self.tree} has no directory ./{path}")
        return [
            (entry.name, entry.type == "dir") for entry in entries if entry.type in ("dir", "file")
        ]

    def _not_read(self, error: GitHubError) -> HostRefusal:
        """Return the hook's error. A transient failure isn't the hook's fault: its delivery is tried again."""
        if retry_after(error) is not None:
            self.context.note_retryable(error)
        return HostRefusal(str(error))

    # --- checks ---

    async def start_check(
        self, thunk: bytes, name: str, sha: str, after: Sequence[str], limit: float | None
    ) -> Callable[[], Awaitable[None]]:
        """Start a check, and return what waits until it has succeeded. Both raise HostRefusal."""
        if name == self.hook:
            raise HostRefusal(f"a check can't be named {name}: that name is the hook's own")
        requested = await read_thunk(self.context, thunk)
        request = CheckRequest(
            name=name,
            sha=sha,
            thunk=requested.message,
            record=requested.record(),
            platform=requested.platform,
            after=tuple(after),
            limit=limit,
        )
        try:
            handle = await start_check(self.context, request)
        except CheckRefused as error:
            raise HostRefusal(str(error)) from error

        async def wait() -> None:
            self.context.slot.release()
            await handle.finished.wait()
            self.context.note_retryable(handle.retryable_error)
            run = handle.run
            if run.state != RunState.SUCCEEDED:
                raise HostRefusal(run.message or f"the check {run.state}")

        return wait

    # --- thunks of the hook's own ---

    async def run(self, thunk: bytes) -> None:
        """Run a thunk on the sender's runtime. Raises HostRefusal."""
        async with (
            self._call(thunk) as (requested, runtime, metadata),
            runtime.run(requested.message, metadata) as updates,
        ):
            async for update in updates:
                self.progress.add(update)

    @asynccontextmanager
    async def read(self, thunk: bytes) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Run a thunk and stream what it prints, up to a bound. Raises HostRefusal."""
        async with (
            self._call(thunk) as (requested, runtime, metadata),
            runtime.read(requested.message, metadata) as answers,
        ):
            yield _bounded(requested, answers, self.progress)

    @asynccontextmanager
    async def export(self, thunk: bytes) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Stream a thunk as an OCI archive, up to a bound. Raises HostRefusal."""
        async with (
            self._call(thunk) as (requested, runtime, metadata),
            runtime.export(requested.message, metadata) as answers,
        ):
            yield _bounded(requested, answers, self.progress)

    @asynccontextmanager
    async def export_path(self, thunk: bytes, path: bytes) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Stream a path in a thunk's output as a tar archive, up to a bound. Raises HostRefusal."""
        where = _decode(bass_pb2.FilesystemPath, path)
        async with self._call(thunk) as (requested, runtime, metadata):
            message = bass_pb2.ThunkPath(thunk=requested.encoded, path=where)
            async with runtime.export_path(message, metadata) as answers:
                yield _bounded(requested, answers, self.progress)

    async def resolve(self, reference: bytes) -> bytes:
        """Resolve an image to a thunk on the sender's runtime. Raises HostRefusal."""
        if len(reference) > MAX_REFERENCE:
            raise HostRefusal(f"an image's name of {len(reference):,} bytes is too long")
        message = _decode(bass_pb2.ImageRef, reference)
        platform = Platform(message.platform.os, message.platform.arch)
        try:
            trusted = self.context.policy.trust.is_demanding
            runtime = await self._runtime(platform, trusted=trusted)
            about = self.context.metadata("", trusted=trusted)
            thunk = await runtime.resolve(message, about)
        except (NoRuntime, RunFailed, RuntimeLost) as error:
            raise self._not_run(error) from error
        return thunk.SerializeToString()

    @asynccontextmanager
    async def _call(
        self, thunk: bytes
    ) -> AsyncGenerator[tuple[RequestedThunk, Runtime, dict[str, str]]]:
        """Provide a runtime for a thunk, and the call's metadata. Raises HostRefusal for failures of runners."""
        requested = await read_thunk(self.context, thunk)
        try:
            trusted = self.context.policy.trust.is_demanding
            runtime = await self._runtime(requested.platform, trusted=trusted)
            calling = self.context.call_metadata(runtime, trusted=trusted, thunk=requested.sha256)
            async with calling as metadata:
                yield requested, runtime, metadata
        except (NoRuntime, RunFailed, RuntimeLost) as error:
            raise self._not_run(error) from error

    async def _runtime(self, platform: Platform | None, *, trusted: bool) -> Runtime:
        """Wait for a runtime. Raises NoRuntime.

        If it is connected to another node, that one handles the delivery from the start, unless one of its
        checks runs here.
        """
        context, loop = self.context, self.context.loop
        wait = RunnerWait(context.policy.runner_wait)
        while True:
            found = await context.runtime_or_node(platform, trusted=trusted, wait=wait)
            if not isinstance(found, str):
                return found
            if await loop.store.deliveries.hand_over(context.delivery, found):
                context.is_handed_over = True
                context.nursery.cancel_scope.cancel()
                await trio.sleep_forever()
            loop.other_runtimes.refuse(found)

    def _not_run(self, error: Exception) -> HostRefusal:
        if isinstance(error, NoRuntime):
            connect = self.context.loop.connect(self.context.choice.owner.login)
            return HostRefusal(f"{error}. The hook needs one; connect it with: {connect}")
        return HostRefusal(str(error))


async def _bounded(
    thunk: RequestedThunk,
    answers: AsyncIterator[bytes | progrock_pb2.StatusUpdate],
    progress: Progress,
) -> AsyncGenerator[bytes]:
    size = 0
    async for answer in answers:
        if not isinstance(answer, bytes):
            progress.add(answer)
        else:
            size += len(answer)
            if size > MAX_OUTPUT:
                raise HostRefusal(f"{thunk.command} gave more than {MAX_OUTPUT:,} bytes")
            yield answer


def _decode(kind: type[M], encoded: bytes) -> M:
    try:
        return kind.FromString(encoded)
    except DecodeError as error:
        raise HostRefusal(f"this is no {kind.DESCRIPTOR.name}: {error}") from error
