"""Run a command as a process group, and leave none of its processes behind, however it ends.

Processes that leave the group, as daemons do, are found by a variable in their environment, the marker, and killed as
well. This needs Linux; elsewhere, such processes stay.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import platform
import secrets
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import trio

from bassloop.concurrency import open_flat_nursery, shielded

GRACE_SECONDS = 3.0
"""How long a cancelled command may clean up, in seconds."""
KILL_SECONDS = 10.0
"""How long killed processes may take to end, in seconds."""
QUIET_SECONDS = 1.0
"""How long the pipes of an ended command may stay open and silent, in seconds."""
MARKER_VARIABLE = "BASSLOOP_COMMAND"
_READ_SIZE = 64 * 1024
_PROC = Path("/proc")
_KEYCTL_CALLS = {"x86_64": 250, "aarch64": 219}
_JOIN_SESSION_KEYRING = 1

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
    alongside: Callable[[], Awaitable[None]] | None = None,
    fresh_keyring: bool = False,
) -> int:
    """Run a command to its end; return its exit status, or the negated signal that ended it.

    When the command ends, its remaining processes are killed. If this is cancelled, its process group gets SIGTERM
    and, after `grace` seconds, SIGKILL. None of its processes is left when this returns. Raises OSError if it can't
    be started.

    Args:
        on_bytes: awaited with a descriptor, 1 or 2, and what was written to it; the command waits meanwhile.
        marker: the prefix of its processes' marker; None if processes that leave the group may stay.
        inherited: open files that it gets, with the same numbers.
        alongside: runs while the command does, and is cancelled when that ends; its errors end the command.
        fresh_keyring: whether to give the command a session keyring of its own instead of this process's (Linux).
    """
    unique = None if marker is None else f"{marker}{secrets.token_hex(16)}"
    process = await _Child.start(
        list(command),
        cwd=str(cwd),
        env=dict(env) if unique is None else {**env, MARKER_VARIABLE: unique},
        inherited=inherited,
        fresh_keyring=fresh_keyring,
    )
    return await _Running(process, unique, grace).finish(stdin, on_bytes, alongside)


def as_argument(text: str) -> bytes:
    """Return the bytes of an argument or variable: in this process's locale, or in UTF-8 if that lacks a character."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode(errors="surrogateescape")


class _Child:
    """A child process, the leader of a new session, with pipes. Made with :meth:`start`.

    Trio's own starts children in any thread, but a session keyring belongs to the thread that starts one.
    """

    def __init__(self, child: subprocess.Popen[bytes], *pipes: int) -> None:
        self._child = child
        self.pid = child.pid
        self.stdin, self.stdout, self.stderr = map(trio.lowlevel.FdStream, pipes)

    @classmethod
    async def start(
        cls,
        words: list[str],
        *,
        cwd: str,
        env: dict[str, str],
        inherited: Sequence[int],
        fresh_keyring: bool,
    ) -> _Child:
        """Start a process. Raises OSError."""
        with ExitStack() as theirs, ExitStack() as ours:
            ends = []
            for is_input in (True, False, False):
                read, write = os.pipe()
                ours.callback(os.close, write if is_input else read)
                theirs.callback(os.close, read if is_input else write)
                ends.append((read, write) if is_input else (write, read))

            def start() -> subprocess.Popen[bytes]:
                if fresh_keyring:
                    join_new_keyring()
                return subprocess.Popen(
                    list(map(as_argument, words)),
                    stdin=ends[0][0],
                    stdout=ends[1][0],
                    stderr=ends[2][0],
                    cwd=cwd,
                    env={as_argument(name): as_argument(value) for name, value in env.items()},
                    start_new_session=True,
                    pass_fds=inherited,
                )

            def start_in_new_thread() -> subprocess.Popen[bytes]:
                with ThreadPoolExecutor(1) as thread:
                    return thread.submit(start).result()

            child = await trio.to_thread.run_sync(start_in_new_thread if fresh_keyring else start)
            ours.pop_all()
            return cls(child, *(end for _, end in ends))

    @property
    def returncode(self) -> int | None:
        """The exit status, or the negated signal that ended it; None while it runs."""
        return self._child.poll()

    async def wait(self) -> int:
        """Wait until it ends, and return its exit status."""
        if self._child.poll() is None:
            try:
                handle = os.pidfd_open(self.pid)
            except (AttributeError, OSError):  # macOS, or an old kernel
                wait = self._child.wait
                return await trio.to_thread.run_sync(wait, abandon_on_cancel=True)
            try:
                await trio.lowlevel.wait_readable(handle)
            finally:
                os.close(handle)
        return self._child.wait()


def join_new_keyring() -> None:
    """Give this thread, and the processes that it starts, a new session keyring. Raises OSError.

    Does nothing if the kernel has no keyrings, or doesn't let this process use them, since its children can't use
    them either.
    """
    number = _KEYCTL_CALLS.get(platform.machine())
    if number is None or platform.system() != "Linux":
        return
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(ctypes.c_long(number), ctypes.c_long(_JOIN_SESSION_KEYRING), None) < 0:
        reason = ctypes.get_errno()
        if reason not in (errno.ENOSYS, errno.EPERM):
            raise OSError(reason, os.strerror(reason), "the session keyring")


class _Running:
    def __init__(self, process: _Child, marker: str | None, grace: float) -> None:
        self._process = process
        self._marker = marker
        self._grace = grace
        self._reads: list[trio.CancelScope] = []
        self._over = False

    async def finish(
        self, stdin: bytes, on_bytes: OnBytes, alongside: Callable[[], Awaitable[None]] | None
    ) -> int:
        process = self._process
        try:
            async with open_flat_nursery() as nursery:
                nursery.start_soon(_feed, process.stdin, stdin)
                if alongside is not None:
                    nursery.start_soon(alongside)
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
        status = process.returncode
        if status is None:
            raise OSError(errno.EBUSY, f"process {process.pid} does not end")
        return status

    async def _drain(self, pipe: trio.lowlevel.FdStream, stream: int, on_bytes: OnBytes) -> None:
        """Read to the end; after the command has ended, only as long as there is something to read."""
        while True:
            until = trio.current_time() + QUIET_SECONDS if self._over else math.inf
            data: bytes | bytearray = b""
            with trio.CancelScope(deadline=until) as read:
                self._reads.append(read)
                data = await pipe.receive_some(_READ_SIZE)
            self._reads.remove(read)
            if read.cancelled_caught:
                # If the machine stalled for so long, there may be output that couldn't be read yet.
                with suppress(BlockingIOError):
                    data = os.read(pipe.fileno(), _READ_SIZE)
            if not data:
                return
            await on_bytes(stream, bytes(data))

    async def _end(self) -> None:
        if self._process.returncode is None:
            self._signal_group(signal.SIGTERM)
            with trio.move_on_after(self._grace):
                async with open_flat_nursery() as nursery:
                    if self._marker is not None:
                        # What a sandbox contains outlives its program, and has the pipes until it ends.
                        nursery.start_soon(_discard, self._process.stdout)
                        nursery.start_soon(_discard, self._process.stderr)
                    await self._process.wait()
        if not self._over:
            await self._kill_rest()
        await self._process.wait()

    async def _kill_rest(self) -> None:
        self._signal_group(signal.SIGKILL)
        if self._marker is not None:
            await trio.to_thread.run_sync(kill_marked, self._marker)

    def _signal_group(self, number: signal.Signals) -> None:
        # The group has the process's id, which isn't reused while the group has a member.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


async def _discard(pipe: trio.abc.ReceiveStream) -> None:
    """Read until the last process that writes to a pipe has closed it, or has ended."""
    async for _ in pipe:
        pass


async def _feed(pipe: trio.abc.SendStream, data: bytes) -> None:
    """Write the standard input, which the command may leave unread."""
    with suppress(trio.BrokenResourceError):
        await pipe.send_all(data)
    await pipe.aclose()


PROBE_PREFIX = "bassloop-probe-"
"""The prefix of the names of what a process makes to try something; its id and a hyphen follow."""


def is_left_probe(name: str) -> bool:
    """Return whether what has this name was made to try something, by a process of this machine that has ended."""
    pid = name.removeprefix(PROBE_PREFIX).partition("-")[0]
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # it belongs to another user
    return False


def kill_marked(marker: str) -> None:
    """Kill all processes whose marker has this prefix, repeatedly, since they may fork meanwhile."""
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
