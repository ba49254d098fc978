"""One command as a process group: started, read, and gone with all that it started, however it ends.

Whoever leaves the group (a daemon makes a session of its own) is known by a variable in its environment
and ended too; Linux shows those.
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
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trio._subprocess import Process

GRACE_SECONDS = 3.0
"""How long a command that is ended has for its own cleanup."""
QUIET_SECONDS = 1.0
"""How long after the end of a command its pipes may stay open and silent."""
COOKIE = "BASSLOOP_COMMAND"
_CHUNK = 64 * 1024
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
    mark: str | None = "",
    inherited: Sequence[int] = (),
) -> int:
    """Run a command to its end, and return its exit status (negative: the signal that ended it).

    `on_bytes` is awaited with 1 or 2 and what was written there; while it waits, the command does.
    When the command is over, all that it started is ended with SIGKILL; when this is cancelled, with
    SIGTERM, and `grace` seconds later with SIGKILL. Either way nothing of it is left when this
    returns. Raises OSError when the command can't be started.

    Args:
        inherited: open files that it gets, under the same numbers.
        mark: begins what all that it starts is known by, so that what has left the process group is
            ended too, wherever it went; None when that is not wanted. See :func:`end_marked`.
    """
    cookie = None if mark is None else f"{mark}{secrets.token_hex(16)}"
    process = await trio.lowlevel.open_process(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=str(cwd),
        env=dict(env) if cookie is None else {**env, COOKIE: cookie},
        start_new_session=True,
        pass_fds=inherited,
    )
    return await _Running(process, cookie, grace).finish(stdin, on_bytes)


class _Running:
    def __init__(self, process: Process, cookie: str | None, grace: float) -> None:
        self._process = process
        self._cookie = cookie
        self._grace = grace
        self._reads: list[trio.CancelScope] = []
        self._over = False

    async def finish(self, stdin: bytes, on_bytes: OnBytes) -> int:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_feed, process.stdin, stdin)
                async with trio.open_nursery() as readers:
                    readers.start_soon(self._drain, process.stdout, 1, on_bytes)
                    readers.start_soon(self._drain, process.stderr, 2, on_bytes)
                    await process.wait()
                    await self._end_rest()
                    self._over = True
                    for read in self._reads:
                        read.deadline = trio.current_time() + QUIET_SECONDS
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
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
                data = await pipe.receive_some(_CHUNK)
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
            await self._end_rest()
        await self._process.wait()

    async def _end_rest(self) -> None:
        self._signal_group(signal.SIGKILL)
        if self._cookie is None:
            return
        await trio.to_thread.run_sync(end_marked, self._cookie)

    def _signal_group(self, number: signal.Signals) -> None:
        # The group's id is the process's; it stays taken as long as the group has a member.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


async def _feed(pipe: trio.abc.SendStream, data: bytes) -> None:
    """Write all of the standard input; a command that does not read it is no error."""
    with suppress(trio.BrokenResourceError):
        await pipe.send_all(data)
    await pipe.aclose()


def end_marked(mark: str) -> None:
    """SIGKILL all that was started with a mark that begins so, until nothing is left: it may fork meanwhile."""
    entry = f"{COOKIE}={mark}".encode()
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
        with suppress(OSError):  # it has ended, or is another user's
            if any(each.startswith(entry) for each in path.read_bytes().split(b"\0")):
                found.append(int(path.parent.name))
    return found
