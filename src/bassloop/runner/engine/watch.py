"""A command watched while it runs: what it prints is logged as it comes, and what is output is kept."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import trio

from bassloop.runner.engine.coalesce import LogBatcher
from bassloop.runner.errors import DriverError
from bassloop.runner.process import GRACE_SECONDS, run_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import RawIOBase
    from pathlib import Path

    from bassloop.runner.cache.outputs import ThunkOutput
    from bassloop.runner.engine.progress import StepReporter

MAX_STDOUT = 256 << 20
"""How much of a command's standard output is kept for `Read`."""


async def watch(
    words: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: bytes,
    vertex: StepReporter,
    output: ThunkOutput,
    mark: str | None = "",
    called: str | None = None,
    inherited: tuple[int, ...] = (),
    grace: float = GRACE_SECONDS,
) -> int:
    """Run a process to its end, its output logged and kept, secrets hidden. Returns its exit status.

    Cancelled, nothing of it is left. Raises DriverError when it can't be started, and when there is no
    room for what it prints; then it is ended.

    Args:
        mark: what it is known by, see `run_command`; None for a container engine's program, whose helpers
            outlive it and end by themselves.
        grace: seconds that it has for its own cleanup when this is cancelled.
        inherited: open files that it gets.
        called: the command's name in messages, when it is not the first word.
    """
    batcher = LogBatcher(vertex.logged)
    masked = {stream: vertex.mask.stream() for stream in (1, 2)}
    kept = 0
    running = trio.CancelScope()
    full: OSError | None = None

    async def on_bytes(stream: int, data: bytes) -> None:
        await add(stream, masked[stream].feed(data))

    async def add(stream: int, data: bytes) -> None:
        nonlocal kept, full
        if not data:
            return
        if stream == 1:
            kept += len(data)
            if kept <= MAX_STDOUT:
                try:
                    _write(printed, data)
                except OSError as error:
                    full = error
                    running.cancel()
        await batcher.add(stream, data)

    # What goes wrong is noted, and raised outside of the nurseries, which would wrap it.
    status, failure = 0, None
    with output.stdout.open("wb", buffering=0) as printed:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(batcher.run)
            with running:
                try:
                    status = await run_command(
                        words,
                        cwd=cwd,
                        env=env,
                        stdin=stdin,
                        on_bytes=on_bytes,
                        grace=grace,
                        mark=mark,
                        inherited=inherited,
                    )
                except OSError as error:
                    failure = error
            for stream, rest in masked.items():
                await add(stream, rest.rest())
            batcher.close()
    if failure is not None:
        raise DriverError(f"{failure.strerror}: {called or words[0]}")
    if full is not None:
        raise DriverError(f"the runner can't keep what it prints ({full.strerror})")
    if kept > MAX_STDOUT:
        output.stdout.unlink()
    return status


def _write(file: RawIOBase, data: bytes) -> None:
    """Write all of it, at once: nothing is left to fail when the file is closed."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def ended(status: int, *, contained: bool) -> str:
    """How a command failed; a container tells a signal as an exit status, as shells do."""
    if status < 0:
        return f"ended by signal {-status}"
    if contained and 128 < status < 128 + signal.NSIG:
        return f"exit status {status}, as after signal {status - 128}"
    return f"exit status {status}"
