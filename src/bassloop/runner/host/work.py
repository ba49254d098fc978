"""One thunk being carried out: its work directory laid out, its command run in it, its output left.

What is mounted is copied in, and taken out again afterwards: it is no part of the output, as in a
container. The exception is a mount on the work directory itself, which is then what the command works
on. No file is ever written through a symbolic link that a command has left.
"""

from __future__ import annotations

import os
import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import trio

from bassloop.runner import file_trees
from bassloop.runner.engine import layout
from bassloop.runner.engine.command import INPUTS
from bassloop.runner.engine.sources import copy_inside, write_logical
from bassloop.runner.engine.watch import ended, watch
from bassloop.runner.errors import DriverError, host_path_refused
from bassloop.runner.host import sandbox
from bassloop.wire import bass_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bassloop.runner.cache.outputs import OutputCache, ThunkOutput
    from bassloop.runner.context import CallContext
    from bassloop.runner.engine.command import Command, Mount
    from bassloop.runner.engine.progress import StepReporter
    from bassloop.runner.host.sandbox import Sandbox
    from bassloop.runner.secrets import SecretFiles


@dataclass(frozen=True, slots=True)
class Place:
    """What a command's work is allowed to use.

    Args:
        kept: finds the output of a thunk that ran; raises DriverError when it is gone.
        slots: how many commands may run at the same time.
    """

    cache: OutputCache
    scope: CallContext
    kept: Callable[[pb.Thunk], Awaitable[ThunkOutput]]
    slots: trio.CapacityLimiter
    sandbox: Sandbox | None = None
    allow_host_path: bool = False


@dataclass(eq=False)
class Work:
    """One thunk being carried out, in `output`, which is empty."""

    place: Place
    command: Command
    output: ThunkOutput
    vertex: StepReporter
    base: ThunkOutput | None = None
    revealed: SecretFiles | None = None
    _taken_out: list[tuple[str, Path | None]] = field(default_factory=list)
    _binds: list[tuple[Path, str]] = field(default_factory=list)
    _made: list[Path] = field(default_factory=list)
    _count: int = 0

    async def carry_out(self) -> None:
        """Do it. Raises DriverError when the command fails, OSError when its files can't be laid out."""
        wanted = [self._cache_of(mount.source.cache) for mount in self._mounts_of("cache")]
        async with self.place.cache.folders(wanted) as folders:
            if self.base is not None and "." not in (mount.target for mount in self.command.mounts):
                await file_trees.copy(self.base.files, self.output.files)
            for mount in self.command.mounts:
                await self._mount(mount, folders)
            async with AsyncExitStack() as stack:
                stack.push_async_callback(self._clean_up)
                await self._run()
        await file_trees.settle(self.output.files)

    def _mounts_of(self, kind: str) -> list[Mount]:
        return [each for each in self.command.mounts if each.source.WhichOneof("source") == kind]

    # --- the command ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        home, temporary = self._private("home"), self._private("tmp")
        if not self.command.words:
            self.output.stdout.touch()
            return
        cwd = self._start()
        box = self.place.sandbox
        env = {
            "PATH": sandbox.PATH if box else os.environ.get("PATH", os.defpath),
            "HOME": sandbox.HOME if box else str(home),
            "TMPDIR": "/tmp" if box else str(temporary),  # noqa: S108
            "LANG": "C.UTF-8",
            "CI": "true",
            **self.command.env,
            **self.command.secret_env,
        }
        words = [self._program(cwd, env["PATH"]), *self.command.words[1:]]
        inherited: tuple[int, ...] = ()
        async with AsyncExitStack() as stack:
            if box is not None:
                inside = cwd if cwd.startswith("/") else f"{sandbox.WORK}/{cwd}".removesuffix("/.")
                wrapping = box.wrapping(
                    words, env=env, work=self.output.files, home=home, cwd=inside, binds=self._binds
                )
                words, told = stack.enter_context(wrapping)
                inherited, env, cwd = (told,), {}, "."
            await stack.enter_async_context(self.place.slots)
            status = await watch(
                words,
                cwd=self.output.files / cwd,
                env=env,
                stdin=self.command.stdin,
                vertex=self.vertex,
                output=self.output,
                called=self.command.words[0],
                inherited=inherited,
                mark=self.place.cache.mark,
            )
        if status:
            raise DriverError(ended(status, contained=box is not None))

    def _start(self) -> str:
        """The directory that the command starts in, made when it is not there."""
        cwd = self.command.dir
        if cwd.startswith("/"):
            if self.place.sandbox is None and not os.path.isdir(cwd):
                raise DriverError(f"there is no directory {cwd} on this runner's machine")
            return cwd
        place = file_trees.follow(self.output.files, layout.inside(cwd, "the directory"))
        if place.is_symlink():
            raise DriverError(f"the directory {cwd} is a symbolic link")
        place.mkdir(parents=True, exist_ok=True)
        return cwd

    def _program(self, cwd: str, path: str) -> str:
        """The command's program: found by its name, or at its path. Raises DriverError."""
        program = self.command.words[0]
        if "/" not in program:
            found = shutil.which(program, path=path)
            if found is None:
                raise DriverError(f"there is no command {program} on this runner's machine")
            return found
        if program.startswith("/") or cwd.startswith("/"):
            return program
        where = Path(os.path.normpath(self.output.files / cwd / program))
        if not os.path.lexists(where):
            raise DriverError(f"there is no {program} in the work directory")
        if not where.is_symlink() and not os.access(where, os.X_OK):
            raise DriverError(f"{program} can't be executed; is it marked as executable?")
        return program if self.place.sandbox else str(where)

    def _private(self, name: str) -> Path:
        path = self.output.path / name
        path.mkdir(mode=0o700)
        return path

    # --- what it is given ----------------------------------------------------------------------------

    async def _mount(self, mount: Mount, folders: dict[str, Path]) -> None:
        target = mount.target
        if target == ".":
            await self._fill(mount.source, self.output.files, folders, target)
            return
        if target.startswith("/"):
            self._count += 1
            place = self.output.path / f"mount-{self._count}"
            self._bindable(target)
            await self._fill(mount.source, place, folders, target)
            self._binds.append((place.resolve(), target))
            return
        place = file_trees.follow(self.output.files, layout.inside(target, "the mount"))
        self._make_parents(place)
        hidden = None
        if place.is_symlink() or place.exists():
            self._count += 1
            hidden = self.output.path / f"hidden-{self._count}"
            place.rename(hidden)
        self._taken_out.append((target, hidden))
        await self._fill(mount.source, place, folders, target)

    def _make_parents(self, place: Path) -> None:
        missing = []
        while not place.parent.is_dir():
            missing.append(place.parent)
            place = place.parent
        for folder in reversed(missing):
            folder.mkdir()
            self._made.append(folder)

    def _bindable(self, target: str) -> None:
        if self.place.sandbox is None:
            raise DriverError(
                f"the mount {target!r} is outside of the work directory, where the host driver can put "
                "something in a sandbox only: install bubblewrap on the runner's machine"
            )
        of_system = any(
            PurePosixPath(target).is_relative_to(path) or path == target for path in sandbox.SYSTEM
        )
        taken = any(
            PurePosixPath(target).is_relative_to(path) for path in ("/bass", "/proc", "/dev")
        )
        if target == "/" or taken or (of_system and not os.path.exists(target)):
            raise DriverError(f"nothing can be mounted at {target!r} in the host driver's sandbox")

    async def _fill(
        self, source: pb.ThunkMountSource, place: Path, folders: dict[str, Path], target: str
    ) -> None:
        match source.WhichOneof("source"):
            case "thunk":
                kept = await self.place.kept(source.thunk.thunk)
                await copy_inside(kept.files, source.thunk.path, place)
            case "logical":
                await write_logical(source.logical, place)
            case "cache":
                self._share(source.cache, place, folders, target)
            case "host":
                if not self.place.allow_host_path:
                    raise host_path_refused()
                await copy_inside(Path(source.host.context), source.host.path, place)
            case "secret":
                self._reveal(source.secret.name, place)
            case _:
                raise DriverError(f"the mount {target!r} has no source that this runner knows")

    def _cache_of(self, cache: pb.CachePath) -> tuple[str, str]:
        mode = pb.ConcurrencyMode.Name(cache.concurrency).rpartition("_")[2].lower()
        return self.place.scope.own(f"cache\n{cache.id}"), mode

    def _share(
        self, cache: pb.CachePath, place: Path, folders: dict[str, Path], target: str
    ) -> None:
        """Put a shared folder, or something in it, where the command finds it.

        In a sandbox a path in the folder is followed inside: other commands may change it meanwhile.
        """
        folder = folders[self._cache_of(cache)[0]]
        within = layout.inside(layout.filesystem(cache.path), "the path")
        if self.place.sandbox is None:
            shared = file_trees.resolved(folder, within)
            place.symlink_to(shared, target_is_directory=shared.is_dir())
            return
        inner = f"{sandbox.CACHES}/{folder.name}"
        if (folder, inner) not in self._binds:
            self._binds.append((folder, inner))
        if place.is_relative_to(self.output.files):
            place.symlink_to(inner if within == "." else f"{inner}/{within}")
        elif within == ".":
            place.symlink_to(folder)  # what is bound is what this leads to
        else:
            raise DriverError(f"a path in the cache {cache.id} can't be mounted at {target!r}")

    def _reveal(self, name: str, place: Path) -> None:
        """Put a link to a file with a secret where the command finds it; the file itself is no output."""
        assert self.revealed is not None
        file = self.revealed.file(name)
        if self.place.sandbox is None or not place.is_relative_to(self.output.files):
            place.symlink_to(file)  # what is bound is what this leads to
            return
        inner = f"{sandbox.SECRETS}/{file.name}"
        if (file, inner) not in self._binds:
            self._binds.append((file, inner))
        place.symlink_to(inner)

    # --- what is left --------------------------------------------------------------------------------

    async def _clean_up(self) -> None:
        """Leave what is output: the files that the command made, and what it printed."""
        with trio.CancelScope(shield=True):
            for target, hidden in reversed(self._taken_out):
                try:
                    place = file_trees.follow(self.output.files, target)
                except OSError:
                    continue  # the command has put a link in the way
                await file_trees.remove(place)
                if hidden is not None and place.parent.is_dir():
                    hidden.rename(place)
            for folder in reversed(self._made):
                if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
                    folder.rmdir()
            await file_trees.remove(self.output.files / INPUTS)
            for path in list(self.output.path.iterdir()):
                if path not in (self.output.files, self.output.stdout):
                    await file_trees.remove(path)
