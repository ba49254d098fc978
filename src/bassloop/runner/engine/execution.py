"""Run one thunk's command: prepare its files, run it, and store its output."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import open_flat_nursery, shielded
from bassloop.runner import file_trees
from bassloop.runner.engine import path_rules
from bassloop.runner.engine.command import INPUTS
from bassloop.runner.engine.mounts import BindMount, Mounts, MountSupport
from bassloop.runner.engine.sent_files import send_artifacts, send_reports
from bassloop.runner.engine.step_progress import STDERR, STDOUT, LogBatcher, LogChunk
from bassloop.runner.errors import DriverError
from bassloop.runner.process import GRACE_SECONDS, OnBytes, run_command
from bassloop.wire import bass_pb2 as pb
from bassloop.wire.conventions import ARTIFACTS_LABEL, GIVEN_FOLDER, REPORTS_LABEL, label_texts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
    from io import FileIO
    from pathlib import Path

    from bassloop.runner.call_context import CallContext
    from bassloop.runner.engine.command import Command
    from bassloop.runner.engine.step_progress import StepReporter
    from bassloop.runner.output_cache import OutputCache, ThunkOutput
    from bassloop.runner.secrets import SecretFiles

MAX_STDOUT = 256 << 20
"""The most bytes of standard output to store for `Read`. If there are more, none are stored."""
CLEANUP_SECONDS = 60.0
DISK_SECONDS = 1.0
_STORED = ("files", "home", "stdout", "container", "image")
"""The parts of an output's folder that aren't removed after the command."""
_TAIL = 2_000


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start the process that runs a command.

    Args:
        inherited: open files that it inherits.
        marker: the beginning of its processes' marker (see `run_command`); None for a container engine's program,
            whose helpers outlive it and end by themselves.
        name: the command's name in errors, if it isn't the first word.
        grace: seconds that it has to clean up if it's cancelled.
        alongside: runs while the process does, see `run_command`.
        fresh_keyring: give it a session keyring of its own.
    """

    words: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    inherited: tuple[int, ...] = ()
    marker: str | None = ""
    name: str | None = None
    grace: float = GRACE_SECONDS
    alongside: Callable[[], Awaitable[None]] | None = None
    fresh_keyring: bool = False

    async def run(self, on_bytes: OnBytes, stdin: bytes = b"") -> int:
        """Run the process to its end, as `run_command` does."""
        return await run_command(
            self.words,
            cwd=self.cwd,
            env=self.env,
            stdin=stdin,
            on_bytes=on_bytes,
            grace=self.grace,
            marker=self.marker,
            inherited=self.inherited,
            alongside=self.alongside,
            fresh_keyring=self.fresh_keyring,
        )


class Launcher(ABC):
    """Starts the command of one execution: as a plain process, in a sandbox, or in a container."""

    mount_support: MountSupport
    is_contained: bool
    """Whether commands are contained. If so, a signal is reported as an exit status, as shells do."""

    @abstractmethod
    def launching(
        self, execution: Execution, start: str, mounts: Sequence[BindMount]
    ) -> AbstractAsyncContextManager[Launch]:
        """Yield how to start the process; its resources exist until the block ends. Raises DriverError.

        Args:
            start: the directory to start in, absolute or in the work directory.
        """

    async def discard(self) -> None:  # noqa: B027 - there may be nothing to do
        """Remove what a failed or cancelled command has left."""

    def complete(self, output: ThunkOutput, mounts: Sequence[BindMount]) -> None:  # noqa: B027
        """Record in the output what a successful command has left."""


@dataclass(eq=False)
class Execution:
    """One execution of a thunk's command, whose output goes to the empty `output`.

    Args:
        slots: limits how many commands run at the same time.
        cached: returns the output of a thunk that ran before. Raises DriverError.
        base: the output whose files are the initial content of the work directory.
        extra_mounts: mounts besides the command's own.
        disks: folders on other disks that the command writes to.
        interactive: let the command use this process's terminal.
    """

    thunk: pb.Thunk
    command: Command
    output: ThunkOutput
    step: StepReporter
    launcher: Launcher
    cache: OutputCache
    context: CallContext
    slots: trio.CapacityLimiter
    cached: Callable[[pb.Thunk], Awaitable[ThunkOutput]]
    secret_files: SecretFiles
    base: ThunkOutput | None = None
    allow_host_path: bool = False
    extra_mounts: list[BindMount] = field(default_factory=list)
    disks: tuple[Path, ...] = ()
    interactive: bool = False

    async def run(self) -> None:
        """Run the command to its end. Raises DriverError if it fails, OSError if its files can't be prepared.

        If this is cancelled, all its processes have ended when it returns.
        """
        async with self.prepared() as launch:
            async with self.slots:
                status = await self.run_process(launch)
            has_succeeded = False
            try:
                await self._send_outputs(has_failed=bool(status))
                if status:
                    raise DriverError(describe_exit(status, contained=self.launcher.is_contained))
                has_succeeded = True
            finally:
                if not has_succeeded:
                    await self.launcher.discard()
        await file_trees.settle(self.output.files)

    async def _send_outputs(self, *, has_failed: bool) -> None:
        """Send the test reports and, if the command has failed, the artifacts."""
        files, start = self.output.files, self.command.dir
        reports = label_texts(self.thunk, REPORTS_LABEL)
        if reports and self.context.repository is not None:
            await send_reports(self.step, files, start, reports)
        artifacts = label_texts(self.thunk, ARTIFACTS_LABEL)
        limits = self.context.artifact_limits
        if has_failed and artifacts and limits is not None:
            await send_artifacts(self.step, files, start, artifacts, limits)

    async def store_unchanged(self) -> None:
        """Store the command's initial files as the output, without running anything. Raises like :meth:`run`."""
        async with self._laid_out():
            self.output.stdout.touch()
        await file_trees.settle(self.output.files)

    @asynccontextmanager
    async def prepared(self) -> AsyncGenerator[Launch]:
        """Yield how to start the process, with everything it needs in place."""
        async with self._laid_out() as mounts:
            start = await trio.to_thread.run_sync(self._start)
            async with (
                mounts.mount_points(),
                self.launcher.launching(self, start, [*mounts.binds, *self.extra_mounts]) as launch,
            ):
                yield launch
                self.launcher.complete(self.output, [*mounts.binds, *self.extra_mounts])

    async def run_process(self, launch: Launch) -> int:
        """Run the process and return its exit status. If cancelled, all its processes have ended."""
        finished = False
        try:
            guarded = replace(launch, alongside=partial(self._guard_disks, launch.alongside))
            done = await run_logged(
                guarded, self.step, stdin=self.command.stdin, stdout=self.output.stdout
            )
            finished = True
            return done.status
        finally:
            if not finished:
                await self.launcher.discard()

    async def _guard_disks(self, alongside: Callable[[], Awaitable[None]] | None) -> None:
        """Raise DriverError when a disk that the command writes to is nearly full.

        The kernel has no event for that, so the free space is checked every second.
        """
        async with open_flat_nursery() as nursery:
            if alongside is not None:
                nursery.start_soon(alongside)
            while True:
                for folder in (self.cache.folder, *self.disks):
                    await trio.to_thread.run_sync(file_trees.check_disk, folder)
                await trio.sleep(DISK_SECONDS)

    @asynccontextmanager
    async def _laid_out(self) -> AsyncGenerator[Mounts]:
        caches = [each.source.cache for each in self.command.mounts if each.kind == "cache"]
        names = {each.id: self._cache_folder(each) for each in caches}
        async with self.cache.folders(names.values()) as folders, AsyncExitStack() as stack:
            stack.push_async_exit(self._clean_up)
            is_replaced = any(mount.target == "." for mount in self.command.mounts)
            if self.base is not None and not is_replaced:
                await file_trees.copy(self.base.files, self.output.files)
            mounts = Mounts(
                output=self.output,
                caches={each: folders[name] for each, (name, _) in names.items()},
                cached=self.cached,
                secret=self.secret_files.file,
                support=self.launcher.mount_support,
                allow_host_path=self.allow_host_path,
            )
            await mounts.lay_out(self.command.mounts)
            for each in self.context.given_to(self.thunk):
                await mounts.add_file(each.file, f"{GIVEN_FOLDER}/{each.name}")
            for target in mounts.left_out:
                note = f"the cache at {target} can't be used on this machine, so it isn't saved\n"
                await self.step.log([LogChunk(STDERR, note.encode())])
            yield mounts

    def _cache_folder(self, cache: pb.CachePath) -> tuple[str, str]:
        mode = pb.ConcurrencyMode.Name(cache.concurrency).rpartition("_")[2].lower()
        return self.context.namespaced(f"cache\n{cache.id}"), mode

    def _start(self) -> str:
        """Return the directory that the command starts in; create it if it's in the work directory."""
        start = self.command.dir
        if start.startswith(("/", f"{INPUTS}/")):
            return start
        place = file_trees.follow(self.output.files, path_rules.inside(start, "the directory"))
        if place.is_symlink():
            raise DriverError(f"the directory {start} is a symbolic link")
        place.mkdir(parents=True, exist_ok=True)
        return start

    async def _clean_up(self, _type: object, error: BaseException | None, _trace: object) -> None:
        """Remove everything from the folder that isn't part of the output. Raises DriverError if it takes too long."""
        with shielded(CLEANUP_SECONDS) as cleaning:
            await file_trees.remove(self.output.files / INPUTS)
            for path in list(self.output.path.iterdir()):
                if path.name not in _STORED:
                    await file_trees.remove(path)
        if cleaning.cancelled_caught and error is None:
            raise DriverError(f"its inputs weren't removed within {CLEANUP_SECONDS:.0f} s")


# --- logged processes ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """A process's exit status, or its negated signal, and the end of its standard error."""

    status: int
    stderr: bytes


async def run_logged(
    launch: Launch, step: StepReporter, *, stdin: bytes = b"", stdout: Path | None = None
) -> ProcessEnd:
    """Run a process to its end, and log its output with secrets masked.

    If this is cancelled, all its processes have ended. Raises DriverError if it can't be started, or if its output
    can't be stored; then it's ended.

    Args:
        stdout: a file for its standard output, removed if that gets too large.
    """
    batcher = LogBatcher(step.log)
    masks = {stream: step.mask.stream() for stream in (STDOUT, STDERR)}
    stored, tail = 0, b""

    async def on_bytes(stream: int, data: bytes) -> None:
        nonlocal tail
        if stream == STDERR:
            tail = (tail + data)[-_TAIL:]
        await log(stream, masks[stream].feed(data))

    async def log(stream: int, data: bytes) -> None:
        nonlocal stored
        if stream == STDOUT and file is not None:
            stored += len(data)
            if stored <= MAX_STDOUT:
                _write_all(file, data)
        await batcher.add(stream, data)

    with nullcontext() if stdout is None else stdout.open("wb", buffering=0) as file:
        async with open_flat_nursery() as nursery:
            nursery.start_soon(batcher.run)
            try:
                status = await launch.run(on_bytes, stdin)
            except OSError as error:
                name = launch.name or launch.words[0]
                raise DriverError(f"{error.strerror}: {name}") from error
            except ExceptionGroup as group:
                # The output and the disk's guard may both find the disk full.
                reasons, others = group.split(DriverError)
                if reasons is None or others is not None:
                    raise
                raise DriverError("; ".join(map(str, reasons.exceptions))) from group
            for stream, mask in masks.items():
                await log(stream, mask.rest())
            batcher.close()
    if stdout is not None and stored > MAX_STDOUT:
        await trio.to_thread.run_sync(stdout.unlink)
    return ProcessEnd(status, tail)


def _write_all(file: FileIO, data: bytes) -> None:
    """Write without a buffer, so that closing the file can't fail."""
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise DriverError(f"the runner can't store the output ({error.strerror})") from error


def describe_exit(status: int, *, contained: bool) -> str:
    """Return how a command failed. A container reports a signal as an exit status, as shells do."""
    if status < 0:
        return f"ended by signal {-status}"
    if contained and 128 < status < 128 + signal.NSIG:
        return f"exit status {status}, as after signal {status - 128}"
    return f"exit status {status}"
