"""One command as a process group: started, read, and gone with all its children, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from pathlib import Path

GRACE_SECONDS = 3.0
_CHUNK = 64 * 1024

OnBytes = Callable[[int, bytes], Awaitable[None]]


async def run_command(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: bytes, on_bytes: OnBytes
) -> int:
    """Run a command to its end, and return its exit status (negative: the signal that ended it).

    `on_bytes` is awaited with 1 or 2 and what was written there; while it waits, the command does.
    When the command is over, or this is cancelled, the whole process group is: SIGTERM, and after
    a grace of seconds SIGKILL. Raises OSError when the command can't be started.
    """
    process = await trio.lowlevel.open_process(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=str(cwd),
        env=dict(env),
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_feed, process.stdin, stdin)
            async with trio.open_nursery() as readers:
                readers.start_soon(_drain, process.stdout, 1, on_bytes)
                readers.start_soon(_drain, process.stderr, 2, on_bytes)
                readers.start_soon(_end_group_after, process)
            nursery.cancel_scope.cancel()
        return process.returncode if process.returncode is not None else -signal.SIGKILL
    finally:
        with trio.CancelScope(shield=True):
            await _end(process)
            for pipe in (process.stdin, process.stdout, process.stderr):
                await pipe.aclose()


async def _feed(pipe: trio.abc.SendStream, data: bytes) -> None:
    """Write all of the standard input; a command that does not read it is no error."""
    with suppress(trio.BrokenResourceError):
        await pipe.send_all(data)
    await pipe.aclose()


async def _drain(pipe: trio.abc.ReceiveStream, stream: int, on_bytes: OnBytes) -> None:
    while data := await pipe.receive_some(_CHUNK):
        await on_bytes(stream, bytes(data))


async def _end_group_after(process: trio.Process) -> None:
    """When the command itself is over, so are those that it left behind, which would hold its pipes."""
    await process.wait()
    _signal_group(process, signal.SIGKILL)


async def _end(process: trio.Process) -> None:
    if process.returncode is None:
        _signal_group(process, signal.SIGTERM)
        with trio.move_on_after(GRACE_SECONDS):
            await process.wait()
    _signal_group(process, signal.SIGKILL)
    await process.wait()


def _signal_group(process: trio.Process, number: signal.Signals) -> None:
    # The group's id is the process's; it stays taken as long as the group has a member.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
