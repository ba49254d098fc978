"""What a hook's script may ask for: its repository's files, and thunks on its sender's runtimes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from bassloop import bass
from bassloop.dispatch.thunks import platform_of
from bassloop.github import GitHubError
from bassloop.runtimes import NoRuntime, Platform, RunFailed, Runtime, RuntimeLost

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bassloop.dispatch.work import Work

log = structlog.get_logger(__name__)

MAX_OUTPUT = 16 << 20
MAX_LISTED = 500


@dataclass(frozen=True, slots=True)
class Tree:
    """A repository at a commit, as scripts see it printed."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(eq=False)
class LoopHost:
    """A :class:`bassloop.bass.Host` for one delivery."""

    work: Work
    _files: dict[str, bytes | None] = field(default_factory=dict)
    _said: list[str] = field(default_factory=list)

    def directory(self, script: str) -> bass.RepositoryPath:
        """The folder that a script is in, as its `*dir*`."""
        folder = script.rpartition("/")[0] or "."
        name = f"{self.work.repository.full_name}@{self.work.head.sha[:12]}"
        return bass.RepositoryPath(Tree(name), bass.DirPath(folder))

    def output(self) -> str:
        """What the script has logged by now, a line each."""
        return "".join(f"{line}\n" for line in self._said)

    async def read_file(self, tree: Any, path: str) -> bytes | None:
        """A file of the repository, asked for once."""
        if path not in self._files:
            try:
                self._files[path] = await self.work.repo.file(path, self.work.head.sha)
            except GitHubError as error:
                raise bass.BassError(str(error)) from error
        return self._files[path]

    async def list_files(self, tree: Any, path: str) -> dict[str, bytes] | None:
        """All files below a folder of the repository, up to a bound."""
        files: dict[str, bytes] = {}
        folders, first = [""], True
        while folders:
            folder = folders.pop()
            where = "/".join(filter(None, (path, folder)))
            entries = await self.work.repo.directory(where, self.work.head.sha)
            if entries is None and first:
                return None
            first = False
            for entry in entries or ():
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.type == "dir":
                    folders.append(name)
                elif entry.type == "file":
                    if len(files) >= MAX_LISTED:
                        message = (
                            f"{where} has more than {MAX_LISTED} files; clone it in a thunk instead"
                        )
                        raise bass.BassError(message)
                    content = await self.read_file(tree, "/".join(filter(None, (path, name))))
                    files[name] = content or b""
        return files

    async def run(self, thunk: bass.Thunk) -> None:
        """Run a thunk of the hook's own on the sender's runtime; what it logs is not kept."""
        async with (
            self._asked(thunk) as runtime,
            runtime.run(bass.encode_thunk(thunk), self.work.metadata("")) as updates,
        ):
            async for _ in updates:
                pass

    async def read(self, thunk: bass.Thunk) -> bytes:
        """What a thunk prints, up to a bound."""
        output = bytearray()
        async with (
            self._asked(thunk) as runtime,
            runtime.read(bass.encode_thunk(thunk), self.work.metadata("")) as pieces,
        ):
            async for piece in pieces:
                if isinstance(piece, bytes):
                    output += piece
                    if len(output) > MAX_OUTPUT:
                        raise bass.BassError(
                            f"{thunk.cmdline()} printed more than {MAX_OUTPUT:,} bytes"
                        )
        return bytes(output)

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
    async def _asked(self, thunk: bass.Thunk) -> AsyncGenerator[Runtime]:
        """The runtime for a thunk; what goes wrong with it is the script's to hear."""
        try:
            yield await self.work.runtime(platform_of(thunk))
        except (NoRuntime, RunFailed, RuntimeLost) as error:
            raise bass.BassError(self._explained(error)) from error

    def _explained(self, error: Exception) -> str:
        if isinstance(error, NoRuntime):
            connect = self.work.loop.connect(self.work.owner.login)
            return f"{error}. The hook needs one; connect it with: {connect}"
        return str(error)

    def log(self, message: str, fields: dict[str, bass.Value]) -> None:
        """Keep what the script says, for its check should it fail."""
        named = " ".join(f"{name}={bass.show(value)}" for name, value in fields.items())
        self._said.append(f"{message} {named}".rstrip())
        log.info("hook says", said=message[:500], fields=named[:500])
