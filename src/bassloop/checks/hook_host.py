"""What a hook's script may ask for: its repository's files, and thunks on its sender's runtimes."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from bassloop import bass
from bassloop.checks.thunk_records import platform_of
from bassloop.github import GitHubError
from bassloop.runtimes import NoRuntime, Platform, RunFailed, Runtime, RuntimeLost

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from bassloop.checks.context import Work
    from bassloop.wire import progrock_pb2

log = structlog.get_logger(__name__)

MAX_OUTPUT = 16 << 20
MAX_PROGRESS = 1 << 20


@dataclass(eq=False)
class Tree:
    """The files of a repository at a commit, as a :class:`bassloop.bass.FileSystem`."""

    work: Work

    @property
    def name(self) -> str:
        """What a path into it prints as."""
        return f"{self.work.repository.full_name}@{self.work.hook_at[:12]}"

    async def read_file(self, path: str) -> bytes:
        """A file of the repository."""
        try:
            content = await self.work.repo.file(path, self.work.hook_at)
        except GitHubError as error:
            self._note(error)
            raise bass.BassError(str(error)) from error
        if content is None:
            raise bass.BassError(f"{self.name} has no file ./{path}")
        return content

    async def list_dir(self, path: str) -> list[bass.Entry]:
        """The members of a folder of the repository; submodules are left out."""
        try:
            entries = await self.work.repo.directory(path, self.work.hook_at)
        except GitHubError as error:
            self._note(error)
            raise bass.BassError(str(error)) from error
        if entries is None:
            raise bass.BassError(f"{self.name} has no directory ./{path}")
        return [
            bass.Entry(entry.name, is_dir=entry.type == "dir")
            for entry in entries
            if entry.type in ("dir", "file")
        ]

    def _note(self, error: GitHubError) -> None:
        """What passes is no fault of the script: its delivery is tried again."""
        if error.passing and self.work.trouble is None:
            self.work.trouble = error


@dataclass(eq=False)
class Progress:
    """What runners said of a hook's own thunks, the newest of it up to a bound: who asks for it is told
    when the hook fails."""

    updates: deque[progrock_pb2.StatusUpdate] = field(default_factory=deque)
    _size: int = 0

    def add(self, update: progrock_pb2.StatusUpdate) -> None:
        """Keep an update, and let go of the oldest that there is no room for."""
        self.updates.append(update)
        self._size += update.ByteSize()
        while self._size > MAX_PROGRESS and len(self.updates) > 1:
            self._size -= self.updates.popleft().ByteSize()


@dataclass(eq=False)
class LoopHost(bass.Host):
    """A :class:`bassloop.bass.Host` for one delivery."""

    work: Work
    progress: Progress = field(default_factory=Progress)
    _said: list[str] = field(default_factory=list)

    def directory(self, script: str) -> bass.FSPath:
        """The folder that a script is in, as its `*dir*`."""
        folder = script.rpartition("/")[0] or "."
        return bass.repository_dir(Tree(self.work), bass.DirPath(folder))

    def output(self) -> str:
        """What the script has logged by now, a line each."""
        return "".join(f"{line}\n" for line in self._said)

    async def run(self, thunk: bass.Thunk) -> None:
        """Run a thunk of the hook's own on the sender's runtime."""
        async with (
            self._asked(thunk) as (runtime, told),
            runtime.run(bass.encode_thunk(thunk), told) as updates,
        ):
            async for update in updates:
                self.progress.add(update)

    @asynccontextmanager
    async def read(self, thunk: bass.Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
        """What a thunk prints, up to a bound."""
        async with (
            self._asked(thunk) as (runtime, told),
            runtime.read(bass.encode_thunk(thunk), told) as answers,
        ):
            yield _bounded(thunk, answers, self.progress)

    @asynccontextmanager
    async def export(self, thunk: bass.Thunk) -> AsyncGenerator[AsyncIterator[bytes]]:
        """A thunk as an OCI archive, up to a bound."""
        async with (
            self._asked(thunk) as (runtime, told),
            runtime.export(bass.encode_thunk(thunk), told) as answers,
        ):
            yield _bounded(thunk, answers, self.progress)

    @asynccontextmanager
    async def export_path(self, path: bass.ThunkPath) -> AsyncGenerator[AsyncIterator[bytes]]:
        """A path out of a thunk, as a tar stream up to a bound."""
        async with (
            self._asked(path.thunk) as (runtime, told),
            runtime.export_path(bass.encode_thunk_path(path), told) as answers,
        ):
            yield _bounded(path.thunk, answers, self.progress)

    async def resolve(self, ref: bass.ImageRef) -> bass.Thunk:
        """An image's thunk, from the sender's runtime."""
        wanted = Platform(ref.platform.os, ref.platform.arch)
        try:
            runtime = await self.work.runtime(wanted)
            message = await runtime.resolve(bass.encode_ref(ref), self.work.metadata(""))
        except (NoRuntime, RunFailed, RuntimeLost) as error:
            raise bass.BassError(self._explained(error)) from error
        return bass.decode_thunk(message)

    @asynccontextmanager
    async def _asked(self, thunk: bass.Thunk) -> AsyncGenerator[tuple[Runtime, dict[str, str]]]:
        """The runtime for a thunk, and what it is told beside the call; what goes wrong with it is the
        script's to hear."""
        try:
            runtime = await self.work.runtime(platform_of(thunk))
            async with self.work.calling(runtime) as told:
                yield runtime, told
        except (NoRuntime, RunFailed, RuntimeLost) as error:
            raise bass.BassError(self._explained(error)) from error

    def _explained(self, error: Exception) -> str:
        if isinstance(error, NoRuntime):
            connect = self.work.loop.connect(self.work.owner.login)
            return f"{error}. The hook needs one; connect it with: {connect}"
        return str(error)

    def log(self, message: str, fields: Mapping[str, Any]) -> None:
        """Keep what the script says, for its check should it fail."""
        named = " ".join(f"{name}={value}" for name, value in fields.items())
        self._said.append(f"{message} {named}".rstrip())
        log.info("hook says", said=message[:500], fields=named[:500])

    def write_error(self, text: str) -> None:
        """Keep what `dump` and `doc` print, likewise."""
        self._said.append(text.rstrip("\n"))


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
