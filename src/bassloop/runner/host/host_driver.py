"""The host driver runs commands as processes of this machine, in a private folder.

Images aren't used: each one that a thunk names is reported as a step, or such thunks are refused. Each thunk of a chain
starts with a copy of the files of the one before it. A thunk's output is the content of its work directory; its home
is passed on to the thunks after it, as in an image. Commands run in a sandbox if there is one.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.runner import file_trees
from bassloop.runner.engine.command import Command, Environment, base_of, image_of
from bassloop.runner.engine.execution import Execution, Launch, Launcher
from bassloop.runner.engine.graph import CallResources, ThunkGraph
from bassloop.runner.engine.mounts import BindMount, MountSupport, make_nested_mount_point
from bassloop.runner.engine.thunk_driver import DriverOptions, ThunkDriver
from bassloop.runner.errors import DriverError, Unsupported
from bassloop.runner.host import sandbox
from bassloop.runner.host.own_programs import OwnPrograms, caller_path, mount_rustup
from bassloop.runner.output_cache import OutputCache
from bassloop.runner.secrets import SecretFiles
from bassloop.wire import bass_pb2 as pb
from bassloop.wire.conventions import CHECKOUT_IMAGE, WORK_FOLDER, step_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from bassloop.runner.call_context import CallContext
    from bassloop.runner.engine.step_progress import Send, StepReporter
    from bassloop.runner.engine.thunk_driver import SendBytes
    from bassloop.runner.host.sandbox import Sandbox
    from bassloop.runner.output_cache import ThunkOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions(DriverOptions):
    """The options of a host driver.

    Args:
        sandbox: contains commands; None runs them without containment.
        refuse_images: refuse thunks that name an image.
        own_programs: the user's own programs that commands may use.
    """

    sandbox: Sandbox | None = None
    refuse_images: bool = False
    own_programs: OwnPrograms = field(default_factory=OwnPrograms)


@dataclass(eq=False, kw_only=True)
class HostDriver(ThunkDriver["HostGraph"]):
    """Runs thunks on this machine, as this user. Made with :meth:`open`.

    async with HostDriver.open(folder) as driver:
        output = await driver.run(thunk, LOCAL, show)
    """

    options: HostOptions

    @classmethod
    @asynccontextmanager
    async def open(
        cls, state_dir: Path, options: HostOptions | None = None
    ) -> AsyncGenerator[HostDriver]:
        """Open a driver that stores outputs in `state_dir`. Raises DriverError if it can't."""
        async with OutputCache.open(state_dir) as cache:
            yield cls(cache=cache, options=options or HostOptions())

    @property
    def is_contained(self) -> bool:
        return self.options.sandbox is not None

    @property
    def engine_name(self) -> str:
        return "host" if self.options.sandbox is None else "bubblewrap"

    @property
    def uses_images(self) -> bool:
        return False

    def graph(self, call: CallResources) -> HostGraph:
        return HostGraph(self, call)

    async def resolve(self, ref: pb.ImageRef, context: CallContext) -> pb.Thunk:
        """Accept any name, since images aren't used."""
        return pb.Thunk(image=pb.ThunkImage(ref=ref))

    async def export(
        self, thunk: pb.Thunk, context: CallContext, send: Send, send_bytes: SendBytes
    ) -> None:
        raise Unsupported("this runner has no images to export: it uses the host driver")

    async def publish(
        self, ref: pb.ImageRef, thunk: pb.Thunk, context: CallContext, send: Send
    ) -> pb.ImageRef:
        raise Unsupported("this runner has no images to publish: it uses the host driver")


class HostGraph(ThunkGraph):
    """The thunks of one call, run on the host."""

    def __init__(self, driver: HostDriver, call: CallResources) -> None:
        environment = Environment(secret=call.granted.value)
        super().__init__(call, driver.cache, environment, driver.options.on_event)
        self._driver = driver
        self._unused: set[str] = set()

    async def plan(self, thunk: pb.Thunk) -> tuple[Command, list[pb.Thunk], StepReporter]:
        planned = await super().plan(thunk)
        image = image_of(thunk)
        if image.WhichOneof("image") == "ref" and not _only_fetches(image.ref, thunk):
            await self._report_unused(step_name(image.ref))
        return planned

    async def _report_unused(self, name: str) -> None:
        if name not in self._unused:
            self._unused.add(name)
            step = self.step(hashlib.sha256(name.encode()).hexdigest(), name)
            await step.start()
            await step.complete(None)

    def check(self, thunk: pb.Thunk) -> None:
        image = image_of(thunk).WhichOneof("image")
        needs = {
            "rights beyond a container's (insecure)": thunk.insecure,
            "TLS certificates": thunk.HasField("tls"),
            "an image from an archive": image == "archive",
            "an image from a Dockerfile": image == "docker_build",
        }
        ref = image_of(thunk).ref
        if self._driver.options.refuse_images and image == "ref" and not _only_fetches(ref, thunk):
            repository = ref.repository
            raise DriverError(
                f"this thunk needs the image {repository}, but this runner has no container engine. Install Podman "
                "on its machine, or start it with --images ignore to use the machine's own programs"
            )
        for what, needed in needs.items():
            if needed:
                raise DriverError(f"this thunk needs {what}, which the host driver does not have")

    @asynccontextmanager
    async def preparing(
        self, thunk: pb.Thunk, command: Command, output: ThunkOutput, step: StepReporter
    ) -> AsyncGenerator[Execution]:
        base = base_of(thunk)
        with SecretFiles.open(self.call.granted, self.cache.memory_folder) as secret_files:
            yield Execution(
                thunk=thunk,
                command=command,
                output=output,
                step=step,
                launcher=HostLauncher(
                    self._driver.options.sandbox, self._driver.options.own_programs
                ),
                cache=self.cache,
                context=self.context,
                slots=self._driver.slots,
                cached=self.cached,
                secret_files=secret_files,
                base=None if base is None else await self.cached(base),
                allow_host_path=self._driver.options.allow_host_path,
            )


class HostLauncher(Launcher):
    """Starts a command as a process of this machine, in a sandbox if there is one."""

    def __init__(self, box: Sandbox | None, own: OwnPrograms) -> None:
        self._sandbox = box
        self._own = own
        self.is_contained = box is not None
        self.mount_support = MountSupport(binds=False) if box is None else sandbox.MOUNT_SUPPORT

    @asynccontextmanager
    async def launching(
        self, execution: Execution, start: str, mounts: Sequence[BindMount]
    ) -> AsyncGenerator[Launch]:
        """Yield how to start the process, with a home and a folder for temporary files of its own."""
        command, output = execution.command, execution.output
        home, temporary = output.path / "home", output.path / "tmp"
        if execution.base is not None and (earlier := execution.base.path / "home").is_dir():
            await file_trees.copy(earlier, home)
        home.mkdir(mode=0o700, exist_ok=True)
        temporary.mkdir()
        temporary.chmod(0o1777)
        box = self._sandbox
        if box is None and start.startswith("/") and not os.path.isdir(start):
            raise DriverError(f"the directory {start} doesn't exist on this runner's machine")
        inside_home = sandbox.HOME if box else str(home)
        rustup = self._own.variables.get("RUSTUP_HOME") if box else None
        own_rustup = {"RUSTUP_HOME": f"{inside_home}/.rustup"} if rustup else {}
        programs = [*self._own.path, sandbox.PATH] if box else [caller_path(os.environ)]
        env = {
            "PATH": ":".join([f"{inside_home}/.local/bin", f"{inside_home}/.gems/bin", *programs]),
            "HOME": inside_home,
            "TMPDIR": "/tmp" if box else str(temporary),  # noqa: S108
            "LANG": "C.UTF-8",
            "CI": "true",
            # Global installations of pip, npm and gem go to the home.
            "GEM_HOME": f"{inside_home}/.gems",
            "NPM_CONFIG_PREFIX": f"{inside_home}/.local",
            "PIP_BREAK_SYSTEM_PACKAGES": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
            **({} if box else {"PIP_USER": "1"}),
            **self._own.variables,
            **own_rustup,
            **command.env,
            **command.secret_env,
        }
        words = [self._program(execution, start, env["PATH"], home, mounts), *command.words[1:]]
        if box is None:
            yield Launch(
                words=words,
                cwd=output.files / start,
                env=env,
                marker=execution.cache.marker,
                name=command.words[0],
            )
            return
        folder = output.path / "sandbox"
        folder.mkdir(mode=0o700)
        inside = start if start.startswith("/") else f"{WORK_FOLDER}/{start}".removesuffix("/.")
        binds = [
            BindMount(output.files, WORK_FOLDER),
            BindMount(home, sandbox.HOME),
            BindMount(temporary, "/tmp"),  # noqa: S108
            BindMount(temporary, "/var/tmp"),  # noqa: S108
            *(BindMount(each, str(each), read_only=True) for each in self._own.folders),
            *await self._own_shims(output.path / "shims"),
            *(
                await trio.to_thread.run_sync(
                    mount_rustup, Path(rustup), home / ".rustup", own_rustup["RUSTUP_HOME"]
                )
                if rustup
                else ()
            ),
            *(
                BindMount(each, f"{sandbox.HOME}/{each.name}", read_only=True)
                for each in self._own.files
            ),
            *mounts,
        ]
        await trio.to_thread.run_sync(_make_mount_points, home, binds)
        marker = execution.cache.marker
        async with box.launching(
            words, env=env, binds=binds, cwd=inside, folder=folder, marker=marker
        ) as launch:
            yield replace(launch, name=command.words[0])

    async def _own_shims(self, folder: Path) -> list[BindMount]:
        """Return mounts of copies of the user's shims, in a new folder, which the command may change."""
        folder.mkdir()
        mounts = []
        for number, shims in enumerate(self._own.shims):
            copy = folder / str(number)
            await file_trees.copy(shims, copy)
            mounts.append(BindMount(copy, str(shims)))
        return mounts

    def _program(
        self, execution: Execution, start: str, path: str, home: Path, mounts: Sequence[BindMount]
    ) -> str:
        """Return the path of the command's program, looking it up in PATH if necessary. Raises DriverError."""
        program = execution.command.words[0]
        if "/" not in program:
            moved = {sandbox.HOME: home, WORK_FOLDER: execution.output.files}
            found = _find_program(program, path, moved if self._sandbox else {})
            if found is None:
                raise DriverError(f"there is no command {program} on this runner's machine")
            return found
        if program.startswith("/") or start.startswith("/"):
            return program
        path = posixpath.normpath(f"{start}/{program}")
        place = _locate(execution.output.files, path, mounts if self._sandbox else ())
        if place is not None and not os.path.lexists(place):
            raise DriverError(f"there is no {program} in the work directory")
        if place is not None and not place.is_symlink() and not os.access(place, os.X_OK):
            raise DriverError(f"{program} can't be executed; is it marked as executable?")
        return program if self._sandbox else str(execution.output.files / start / program)


def _make_mount_points(home: Path, binds: Sequence[BindMount]) -> None:
    """Create what is mounted in the home, in which an earlier command may have left links. Raises like `Mounts`."""
    outer = BindMount(home, sandbox.HOME, copied=True)
    for bind in binds:
        if bind.target.startswith(f"{sandbox.HOME}/"):
            make_nested_mount_point(outer, bind)


def _only_fetches(ref: pb.ImageRef, thunk: pb.Thunk) -> bool:
    """Return whether a thunk only runs Git in the image that the loop uses to fetch a repository's files.

    Any Git fetches the same files, so this machine's is used. A thunk without a command stands for the image itself,
    so others may run other commands in it.
    """
    programs = (each.command_path.name or each.string.value for each in thunk.args[:1])
    return ref.repository == CHECKOUT_IMAGE and all(name == "git" for name in programs)


def _find_program(program: str, path: str, moved: Mapping[str, Path]) -> str | None:
    """Return the path of a program, as its command sees it; None if PATH doesn't lead to one.

    Args:
        moved: the folders that a sandbox shows elsewhere, by where the command sees them.
    """
    for folder in map(posixpath.normpath, filter(None, path.split(":"))):
        target = next((each for each in moved if f"{folder}/".startswith(f"{each}/")), None)
        if target is None:
            if (found := shutil.which(program, path=folder)) is not None:
                return found
            continue
        found = f"{folder}/{program}"
        with suppress(OSError):  # it leads through a link, which a command has left
            place = file_trees.follow(moved[target], found.removeprefix(f"{target}/"))
            if place.is_symlink() or (place.is_file() and os.access(place, os.X_OK)):
                return found
    return None


def _locate(work: Path, path: str, mounts: Sequence[BindMount]) -> Path | None:
    """Return where a path in the work directory is on this machine; None if it leads through a link."""
    root, within = work, path
    for mount in sorted(mounts, key=lambda each: len(each.target)):
        if f"{WORK_FOLDER}/{path}/".startswith(f"{mount.target}/"):
            root, within = (
                mount.source,
                f"{WORK_FOLDER}/{path}".removeprefix(mount.target).lstrip("/"),
            )
    try:
        return file_trees.follow(root, within)
    except OSError:
        return None
