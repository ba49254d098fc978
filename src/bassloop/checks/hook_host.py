"""What a hook may do: read its repository's files, run thunks on its sender's runners, start checks."""

from __future__ import annotations

import time
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from google.protobuf.json_format import MessageToJson

from bassloop import bass
from bassloop.checks.check import CheckRefused, CheckRequest, start_check
from bassloop.github import GitHubError, retry_after
from bassloop.lifecycle import RunState
from bassloop.runtimes import NoRuntime, Platform, RunFailed, Runtime, RuntimeLost
from bassloop.store import ThunkRecord

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from bassloop.checks.context import DeliveryContext
    from bassloop.checks.loop import CheckHandle
    from bassloop.wire import bass_pb2, progrock_pb2

log = structlog.get_logger(__name__)

MAX_OUTPUT = 16 << 20
MAX_PROGRESS = 1 << 20


@dataclass(eq=False)
class RepositoryFiles:
    """The files of the repository at the hook's commit, as a :class:`bassloop.bass.FileSystem`."""

    context: DeliveryContext

    @property
    def name(self) -> str:
        """What a path into it prints as."""
        return f"{self.context.repository.full_name}@{self.context.hook_sha[:12]}"

    async def read_file(self, path: str) -> bytes:
        """Return a file's content. Raises BassError."""
        try:
            content = await self.context.repo.file(path, self.context.hook_sha)
        except GitHubError as error:
            raise self._failed(error) from error
        if content is None:
            raise bass.BassError(f"{self.name} has no file ./{path}")
        return content

    async def list_dir(self, path: str) -> list[bass.Entry]:
        """Return the files and directories in a directory, without submodules. Raises BassError."""
        try:
            entries = await self.context.repo.directory(path, self.context.hook_sha)
        except GitHubError as error:
            raise self._failed(error) from error
        if entries is None:
            raise bass.BassError(f"{self.name} has no directory ./{path}")
        return [
            bass.Entry(entry.name, is_dir=entry.type == "dir")
            for entry in entries
            if entry.type in ("dir", "file")
        ]

    def _failed(self, error: GitHubError) -> bass.BassError:
        """Return the hook's error. A transient failure isn't the hook's fault: its delivery is tried again."""
        if retry_after(error) is not None:
            self.context.note_retryable(error)
        return bass.BassError(str(error))


@dataclass(eq=False)
class Progress:
    """What runners reported of the hook's own thunks: the latest updates, up to a bound."""

    updates: deque[progrock_pb2.StatusUpdate] = field(default_factory=deque)
    _size: int = 0

    def add(self, update: progrock_pb2.StatusUpdate) -> None:
        """Add an update, and drop the oldest that there is no room for."""
        self.updates.append(update)
        self._size += update.ByteSize()
        while self._size > MAX_PROGRESS and len(self.updates) > 1:
            self._size -= self.updates.popleft().ByteSize()


@dataclass(eq=False)
class LoopHost(bass.Host):
    """The :class:`bassloop.bass.Host` of one hook. All that a hook does, it does through this.

    Args:
        hook: the hook's name, which none of its checks may have.
        progress: what to show of the hook's own thunks if it fails.
    """

    context: DeliveryContext
    hook: str
    progress: Progress = field(default_factory=Progress)
    _output: list[str] = field(default_factory=list)

    def directory(self, script: str) -> bass.FSPath:
        """Return the directory of a script, as its `*dir*`."""
        folder = script.rpartition("/")[0] or "."
        return bass.repository_dir(RepositoryFiles(self.context), bass.DirPath(folder))

    def output(self) -> str:
        """Return what the hook has logged so far, in lines."""
        return "".join(f"{line}\n" for line in self._output)

    async def start_check(
        self, thunk: bass.Thunk, proto: bass_pb2.Thunk, name: str, sha: str
    ) -> CheckHandle:
        """Start a check. Raises BassError if it can't be."""
        if name == self.hook:
            raise bass.BassError(f"a check can't be named {name}: that name is the hook's own")
        record = _thunk_record(thunk, proto)
        request = CheckRequest(name, sha, proto, record, _platform_of(thunk))
        try:
            return await start_check(self.context, request)
        except CheckRefused as error:
            raise bass.BassError(str(error)) from error

    async def wait_for_check(self, handle: CheckHandle) -> None:
        """Wait until a check has ended. Raises BassError if it did not succeed."""
        self.context.slot.release()
        await handle.finished.wait()
        self.context.note_retryable(handle.retryable_error)
        run = handle.run
        if run.state != RunState.SUCCEEDED:
            raise bass.BassError(run.message or f"the check {run.state}")

    async def run(self, thunk: bass.Thunk) -> None:
        """Run a thunk on the sender's runtime. Raises BassError."""
        async with (
            self._call(thunk) as (runtime, metadata),
            runtime.run(bass.encode_thunk(thunk), metadata) as updates,
        ):
            async for update in updates:
                self.progress.add(update)

    @asynccontextmanager
    async def read(self, thunk: bass.Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Run a thunk and stream what it prints, up to a bound. Raises BassError."""
        async with (
            self._call(thunk) as (runtime, metadata),
            runtime.read(bass.encode_thunk(thunk), metadata) as answers,
        ):
            yield _bounded(thunk, answers, self.progress)

    @asynccontextmanager
    async def export(self, thunk: bass.Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Stream a thunk as an OCI archive, up to a bound. Raises BassError."""
        async with (
            self._call(thunk) as (runtime, metadata),
            runtime.export(bass.encode_thunk(thunk), metadata) as answers,
        ):
            yield _bounded(thunk, answers, self.progress)

    @asynccontextmanager
    async def export_path(self, path: bass.ThunkPath) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Stream a path in a thunk's output as a tar archive, up to a bound. Raises BassError."""
        async with (
            self._call(path.thunk) as (runtime, metadata),
            runtime.export_path(bass.encode_thunk_path(path), metadata) as answers,
        ):
            yield _bounded(path.thunk, answers, self.progress)

    async def resolve(self, ref: bass.ImageRef) -> bass.Thunk:
        """Resolve an image to a thunk on the sender's runtime. Raises BassError."""
        platform = Platform(ref.platform.os, ref.platform.arch)
        try:
            runtime = await self.context.runtime(platform)
            message = await runtime.resolve(bass.encode_ref(ref), self.context.metadata(""))
        except (NoRuntime, RunFailed, RuntimeLost) as error:
            raise self._failed(error) from error
        return bass.decode_thunk(message)

    @asynccontextmanager
    async def _call(self, thunk: bass.Thunk) -> AsyncGenerator[tuple[Runtime, dict[str, str]]]:
        """Provide a runtime for a thunk, and the call's metadata. Raises BassError for failures of runners."""
        try:
            runtime = await self.context.runtime(_platform_of(thunk))
            async with self.context.call_metadata(runtime) as metadata:
                yield runtime, metadata
        except (NoRuntime, RunFailed, RuntimeLost) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> bass.BassError:
        if isinstance(error, NoRuntime):
            connect = self.context.loop.connect(self.context.choice.owner.login)
            return bass.BassError(f"{error}. The hook needs one; connect it with: {connect}")
        return bass.BassError(str(error))

    def log(self, message: str, fields: Mapping[str, Any]) -> None:
        """Keep what the hook logs, for its check run if it fails."""
        named = " ".join(f"{name}={value}" for name, value in fields.items())
        self._output.append(f"{message} {named}".rstrip())
        log.info("hook says", said=message[:500], fields=named[:500])

    def write_error(self, text: str) -> None:
        """Keep what `dump` and `doc` print, likewise."""
        self._output.append(text.rstrip("\n"))


async def _bounded(
    thunk: bass.Thunk,
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
                raise bass.BassError(f"{thunk.cmdline()} gave more than {MAX_OUTPUT:,} bytes")
            yield answer


def _thunk_record(thunk: bass.Thunk, proto: bass_pb2.Thunk) -> ThunkRecord:
    """Return a thunk as the store keeps it."""
    return ThunkRecord(
        digest=bass.thunk_digest(thunk),
        sha256=bass.thunk_sha256(proto),
        json=MessageToJson(proto, preserving_proto_field_name=True, indent=2),
        proto=proto.SerializeToString(deterministic=True),
        cmdline=thunk.cmdline(),
        created_at=time.time(),
    )


def _platform_of(thunk: bass.Thunk) -> Platform | None:
    """Return the platform that a thunk asks for, or None for any."""
    platform = thunk.platform()
    return None if platform is None else Platform(platform.os, platform.arch)
