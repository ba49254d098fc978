"""The host driver: a thunk's command as an ordinary process group in a private folder.

Images are ignored; a chain of thunks works on one folder after the other. A thunk's output is what its
command left in its work directory.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.runner.cache import Cache, Output, copy, remove
from bassloop.runner.coalesce import Coalescer
from bassloop.runner.drivers import layout
from bassloop.runner.drivers.progress import DriverError, Send, Vertex
from bassloop.runner.events import RunnerEvent, ThunkEnded, ThunkStarted
from bassloop.runner.identity import Scope, command_line, key, written
from bassloop.runner.process import run_command

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from bassloop.wire import bass_pb2 as pb

MAX_CHAIN = 200
MAX_STDOUT = 64 << 20
INPUTS = ".bass-inputs"


@dataclass(eq=False)
class HostDriver:
    """Carries thunks out on this machine, as this user. Made with :meth:`open`."""

    cache: Cache
    on_event: Callable[[RunnerEvent], None] = lambda event: None
    allow_host_path: bool = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        state_dir: Path,
        *,
        on_event: Callable[[RunnerEvent], None] = lambda event: None,
        allow_host_path: bool = False,
    ) -> AsyncGenerator[HostDriver]:
        """A driver that keeps outputs in `state_dir`. Raises DriverError when it can't."""
        try:
            cache = await trio.to_thread.run_sync(Cache, state_dir)
        except OSError as error:
            raise DriverError(f"outputs can't be kept in {state_dir}: {error.strerror}") from error
        yield cls(cache, on_event, allow_host_path)

    async def run(self, thunk: pb.Thunk, scope: Scope, send: Send) -> Output:
        """Carry a thunk out, and what it needs before it; an output that is kept is used again.

        `send` is awaited with progress; while it waits, so does the command. Cancelled, the command
        and all its children are gone when this returns. Raises DriverError when a thunk fails.
        """
        return await self._ensure(thunk, scope, send, 0)

    async def _ensure(self, thunk: pb.Thunk, scope: Scope, send: Send, depth: int) -> Output:
        if depth > MAX_CHAIN:
            raise DriverError(f"thunks are chained more than {MAX_CHAIN} deep")
        needs = _needs(thunk)
        for needed in needs.values():
            await self._ensure(needed, scope, send, depth + 1)
        name = key(scope, thunk)
        inputs = [f"sha256:{key(scope, needed)}" for needed in needs.values()]
        vertex = Vertex(send, name, command_line(thunk), inputs)
        async with self.cache.alone(name):
            kept = self.cache.find(name)
            if kept is not None:
                await vertex.cached()
                return kept
            return await self._make(thunk, scope, name, vertex)

    async def _make(self, thunk: pb.Thunk, scope: Scope, name: str, vertex: Vertex) -> Output:
        began = time.monotonic()
        error: str | None = "cancelled"
        self.on_event(ThunkStarted(command_line(thunk), scope.repository))
        await vertex.started()
        try:
            async with self.cache.making() as output:
                await _Work(self, thunk, scope, output, vertex).carry_out()
                kept = await self.cache.keep(output, name)
            error = None
        except DriverError as failure:
            error = str(failure)
            await vertex.completed(error)
            raise
        except OSError as failure:
            error = f"{failure.strerror or failure}: {failure.filename or command_line(thunk)}"
            await vertex.completed(error)
            raise DriverError(error) from failure
        finally:
            self.on_event(ThunkEnded(command_line(thunk), time.monotonic() - began, error))
        await vertex.completed(None)
        return kept


@dataclass(eq=False)
class _Work:
    """One thunk being carried out."""

    driver: HostDriver
    thunk: pb.Thunk
    scope: Scope
    output: Output
    vertex: Vertex
    _inputs: dict[str, str] = field(default_factory=dict)
    _printed: int = 0

    async def carry_out(self) -> None:
        """Lay out the work directory, run the command in it, and leave its output."""
        self._refuse_what_needs_a_container()
        thunk, files = self.thunk, self.output.files
        if thunk.image.WhichOneof("image") == "thunk":
            base = self._kept(thunk.image.thunk)
            await copy(base.files, files)
        for mount in thunk.mounts:
            await self._mount(mount)
        if not thunk.args:
            self.output.stdout.touch()
            return
        cwd = await self._directory()
        command = [await self._word(arg) for arg in thunk.args]
        stdin = layout.standard_input([layout.data(value) for value in thunk.stdin])
        home = self.output.path / "home"
        home.mkdir()
        env = await self._environment(home)
        try:
            status = await self._run(command, cwd, env, stdin)
        finally:
            with trio.CancelScope(shield=True):
                await remove(home)
                await remove(files / INPUTS)
        if status:
            ended = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
            raise DriverError(f"{ended}: {command_line(thunk)}")

    async def _run(
        self, command: list[str], cwd: Path, env: Mapping[str, str], stdin: bytes
    ) -> int:
        program = _find(command[0], cwd, env)
        with self.output.stdout.open("wb") as printed:
            coalescer = Coalescer(self.vertex.logged)

            async def on_bytes(stream: int, data: bytes) -> None:
                if stream == 1 and self._printed < MAX_STDOUT:
                    printed.write(data[: MAX_STDOUT - self._printed])
                    self._printed += len(data)
                await coalescer.add(stream, data)

            # What can't be started is noted, and raised outside of the nursery, which would wrap it.
            status, failure = 0, None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(coalescer.run)
                try:
                    status = await run_command(
                        [program, *command[1:]], cwd=cwd, env=env, stdin=stdin, on_bytes=on_bytes
                    )
                except OSError as error:
                    failure = error
                coalescer.close()
        if failure is not None:
            raise failure
        return status

    def _refuse_what_needs_a_container(self) -> None:
        thunk = self.thunk
        wrong = {
            "rights beyond a container's (insecure)": thunk.insecure,
            "ports": bool(thunk.ports),
            "TLS certificates": thunk.HasField("tls"),
            "an image's entrypoint": thunk.use_entrypoint,
            "an image from an archive": thunk.image.WhichOneof("image") == "archive",
            "an image from a Dockerfile": thunk.image.WhichOneof("image") == "docker_build",
        }
        for what, asked in wrong.items():
            if asked:
                raise DriverError(f"this thunk needs {what}, which the host driver has not")

    def _kept(self, thunk: pb.Thunk) -> Output:
        found = self.driver.cache.find(key(self.scope, thunk))
        if found is None:
            raise DriverError(f"the output of {command_line(thunk)} is gone; run the check again")
        return found

    async def _mount(self, mount: pb.ThunkMount) -> None:
        target = layout.inside(layout.filesystem(mount.target), "the mount")
        place = self._place(target)
        match mount.source.WhichOneof("source"):
            case "thunk":
                await self._copy_output(mount.source.thunk, place)
            case "logical":
                await self._write(
                    mount.source.logical, place, mount.target.WhichOneof("path") == "file"
                )
            case "cache":
                await self._cache(mount.source.cache, place)
            case "host":
                await self._host_path(mount.source.host, place)
            case "secret":
                raise layout.secret(mount.source.secret)
            case _:
                raise DriverError("a mount has no source that this runner knows")

    def _place(self, path: str) -> Path:
        """A path in the work directory, with no symbolic link on its way that leads out of it."""
        place = self.output.files / path
        real = Path(os.path.realpath(place.parent if path != "." else place))
        if not real.is_relative_to(Path(os.path.realpath(self.output.files))):
            raise DriverError(f"{path} leads out of the work directory through a link")
        return place

    async def _copy_output(self, path: pb.ThunkPath, place: Path) -> None:
        within = layout.inside(layout.filesystem(path.path), "the path")
        kept = self._kept(path.thunk)
        source = kept.files / within
        real, root = Path(os.path.realpath(source)), Path(os.path.realpath(kept.files))
        if not real.is_relative_to(root):
            raise DriverError(f"{within} leads out of the output of {command_line(path.thunk)}")
        if not source.exists():
            raise DriverError(f"{command_line(path.thunk)} left no {within}")
        await copy(source, place)

    async def _write(self, logical: pb.LogicalPath, place: Path, as_file: bool) -> None:
        if as_file and logical.WhichOneof("path") == "file":
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(logical.file.content)
            return
        for path, content in layout.logical_files(logical):
            target = place / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    async def _cache(self, cache: pb.CachePath, place: Path) -> None:
        scope = f"{self.scope.repository}\n{self.scope.fork}\n{cache.id}"
        kept = self.driver.cache.cache_dir(hashlib.sha256(scope.encode()).hexdigest())
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            raise DriverError(f"the cache {cache.id} can't be put where there is something already")
        place.symlink_to(kept, target_is_directory=True)

    async def _host_path(self, path: pb.HostPath, place: Path) -> None:
        if not self.driver.allow_host_path:
            raise DriverError("this runner's owner does not let thunks name files of the machine")
        source = Path(path.context) / layout.inside(layout.filesystem(path.path), "the path")
        await copy(source, place)

    async def _directory(self) -> Path:
        thunk, files = self.thunk, self.output.files
        match thunk.dir.WhichOneof("dir"):
            case None:
                return files
            case "local":
                cwd = self._place(layout.inside(thunk.dir.local.path, "the directory"))
                cwd.mkdir(parents=True, exist_ok=True)
                return cwd
            case "thunk":
                await self._copy_output(thunk.dir.thunk, files)
                return files
        raise DriverError("a thunk can't run in a directory of the machine here")

    async def _word(self, value: pb.Value) -> str:
        """One argument, or a variable's value, as text; a path is put where the text says."""
        match value.WhichOneof("value"):
            case "string":
                return value.string.value
            case "command_path":
                return value.command_path.name
            case "file_path":
                return written(value.file_path.path)
            case "dir_path":
                return written(value.dir_path.path.rstrip("/") + "/")
            case "int":
                return str(value.int.value)
            case "bool":
                return "true" if value.bool.value else "false"
            case "thunk_path":
                return await self._input(value.thunk_path)
            case "logical_path":
                place = f"{INPUTS}/{len(self._inputs)}"
                self._inputs[place] = place
                as_file = value.logical_path.WhichOneof("path") == "file"
                if as_file:
                    place = f"{place}/{layout.name_of(value.logical_path.file.name)}"
                await self._write(value.logical_path, self._place(place), as_file)
                return f"./{place}" if as_file else f"./{place}/"
            case "array":
                return "".join([await self._word(each) for each in value.array.values])
            case "secret":
                raise layout.secret(value.secret)
            case "thunk_addr":
                raise DriverError("this thunk needs a service, which the host driver can't start")
        raise DriverError("an argument is neither text nor a path that this runner knows")

    async def _input(self, path: pb.ThunkPath) -> str:
        within = layout.inside(layout.filesystem(path.path), "the path")
        name = key(self.scope, path.thunk)[:32]
        place = f"{INPUTS}/{name}/{within}" if within != "." else f"{INPUTS}/{name}"
        if place not in self._inputs:
            self._inputs[place] = place
            await self._copy_output(path, self._place(place))
        is_file = path.path.WhichOneof("path") == "file"
        return f"./{place}" if is_file else f"./{place}/"

    async def _environment(self, home: Path) -> dict[str, str]:
        """A clean environment: nothing of the owner's but where programs are."""
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "TMPDIR": str(home),
            "LANG": "C.UTF-8",
            "CI": "true",
        }
        for binding in self.thunk.env:
            if not binding.symbol or "=" in binding.symbol or "\0" in binding.symbol:
                raise DriverError(f"{binding.symbol!r} is no name of an environment variable")
            env[binding.symbol] = await self._word(binding.value)
        return env


def _needs(thunk: pb.Thunk) -> dict[str, pb.Thunk]:
    """The thunks whose output a thunk uses, once each."""
    found: dict[str, pb.Thunk] = {}

    def add(needed: pb.Thunk) -> None:
        found.setdefault(needed.SerializeToString(deterministic=True).hex(), needed)

    def add_value(value: pb.Value) -> None:
        if value.WhichOneof("value") == "thunk_path":
            add(value.thunk_path.thunk)
        for each in value.array.values:
            add_value(each)

    if thunk.image.WhichOneof("image") == "thunk":
        add(thunk.image.thunk)
    for mount in thunk.mounts:
        if mount.source.WhichOneof("source") == "thunk":
            add(mount.source.thunk.thunk)
    if thunk.dir.WhichOneof("dir") == "thunk":
        add(thunk.dir.thunk.thunk)
    for value in (*thunk.args, *(binding.value for binding in thunk.env)):
        add_value(value)
    return found


def _find(program: str, cwd: Path, env: Mapping[str, str]) -> str:
    """A program by its name, or its path in the work directory. Raises DriverError."""
    if "/" in program:
        path = cwd / program
        if not path.exists():
            raise DriverError(f"there is no {program} in the work directory")
        if not os.access(path, os.X_OK):
            raise DriverError(f"{program} can't be executed; is it marked as executable?")
        return str(path)
    found = shutil.which(program, path=env["PATH"])
    if found is None:
        raise DriverError(f"there is no command {program} on this runner's machine")
    return found
