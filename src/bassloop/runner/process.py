"""Run a command as a process group, and leave nothing of it behind, however it ends.

What leaves the group, as a daemon does with a session of its own, is found by a variable in its environment,
the marker, and killed too. Linux shows those of other processes; elsewhere such processes stay.
"""

from __future__ import annotations

import math
import os
import secrets
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import trio

from bassloop.concurrency import open_flat_nursery, shielded

GRACE_SECONDS = 3.0
"""How long a cancelled command may clean up."""
KILL_SECONDS = 10.0
"""How long the kernel may take to end what was killed."""
QUIET_SECONDS = 1.0
"""How long the pipes of a command that has ended may stay open and silent."""
MARKER_VARIABLE = "BASSLOOP_COMMAND"
_READ_SIZE = 64 * 1024
_PROC = Path("/proc")

OnBytes = Callable[[int, bytes], Awaitable[None]]


async def run_command(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: bytes,
    on_bytes: OnBytes,
    grace: float = GRACE_SECONDS,
    marker: str | None = "",
    inherited: Sequence[int] = (),
) -> int:
    """Run a command to its end; return its exit status, or the negated signal that ended it.

    When the command ends, all that it started is killed. Cancelled, the command gets SIGTERM, and after
    `grace` seconds SIGKILL. Nothing of it is left when this returns. Raises OSError if it can't be started.

    Args:
        on_bytes: awaited with 1 or 2 and what was written there; the command waits meanwhile.
        marker: begins the marker of its processes; None if those that leave its process group may stay.
        inherited: open files that it gets, under the same numbers.
    """
    unique = None if marker is None else f"{marker}{secrets.token_hex(16)}"
    process = await trio.lowlevel.open_process(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=str(cwd),
        env=dict(env) if unique is None else {**env, MARKER_VARIABLE: unique},
        start_new_session=True,
        pass_fds=inherited,
    )
    return await _Running(process, unique, grace).finish(stdin, on_bytes)


class _Running:
    def __init__(self, process: trio.Process, marker: str | None, grace: float) -> None:
        self._process = process
        self._marker = marker
        self._grace = grace
        self._reads: list[trio.CancelScope] = []
        self._over = False

    async def finish(self, stdin: bytes, on_bytes: OnBytes) -> int:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with open_flat_nursery() as nursery:
                nursery.start_soon(_feed, process.stdin, stdin)
                async with open_flat_nursery() as readers:
                    readers.start_soon(self._drain, process.stdout, 1, on_bytes)
                    readers.start_soon(self._drain, process.stderr, 2, on_bytes)
                    await process.wait()
                    await self._kill_rest()
                    self._over = True
                    for read in self._reads:
                        read.deadline = trio.current_time() + QUIET_SECONDS
                nursery.cancel_scope.cancel()
        finally:
            with shielded(self._grace + KILL_SECONDS):
                await self._end()
                for pipe in (process.stdin, process.stdout, process.stderr):
                    await pipe.aclose()
        assert process.returncode is not None
        return process.returncode

    async def _drain(self, pipe: trio.abc.ReceiveStream, stream: int, on_bytes: OnBytes) -> None:
        """Read to the end; once the command is over, only as long as there is something to read."""
        while True:
            until = trio.current_time() + QUIET_SECONDS if self._over else math.inf
            data: bytes | bytearray = b""
            with trio.CancelScope(deadline=until) as read:
                self._reads.append(read)
                data = await pipe.receive_some(_READ_SIZE)
            self._reads.remove(read)
            if not data:
                return
            await on_bytes(stream, bytes(data))

    async def _end(self) -> None:
        if self._process.returncode is None:
            self._signal_group(signal.SIGTERM)
            with trio.move_on_after(self._grace):
                await self._process.wait()
        if not self._over:
            await self._kill_rest()
        await self._process.wait()

    async def _kill_rest(self) -> None:
        self._signal_group(signal.SIGKILL)
        if self._marker is not None:
            await trio.to_thread.run_sync(kill_marked, self._marker)

    def _signal_group(self, number: signal.Signals) -> None:
        # The group's id is the process's, and isn't given away while the group has a member.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


async def _feed(pipe: trio.abc.SendStream, data: bytes) -> None:
    """Write the standard input; a command may leave it unread."""
    with suppress(trio.BrokenResourceError):
        await pipe.send_all(data)
    await pipe.aclose()


def kill_marked(marker: str) -> None:
    """Kill all processes whose marker begins so, again until there are none: they may fork meanwhile."""
    entry = f"{MARKER_VARIABLE}={marker}".encode()
    for _ in range(100):
        found = _marked(entry)
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def _marked(entry: bytes) -> list[int]:
    found = []
    for path in _PROC.glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or belongs to another user
            if any(each.startswith(entry) for each in path.read_bytes().split(b"\0")):
                found.append(int(path.parent.name))
    return found
