"""`bassloop` in processes of its own that needn't import it: they're forked from one that has.

For tests of what a program does, not of how it starts. `tests/forking_program.py` says what differs.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio

from tests.forking_program import LONGEST_COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from io import TextIOWrapper
    from pathlib import Path

END_SECONDS = 100.0
"""How long the forking program may take to end: a guard against hanging."""


class ForkingProgram:
    """A running `tests.forking_program`."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        paths = os.pathsep.join(path for path in sys.path if path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tests.forking_program"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": paths},
            )

    def fork(self, command: bytes, streams: tuple[int, int, int]) -> Forked:
        """Start a process with standard streams."""
        return fork(self._control, command, streams)

    def end(self) -> None:
        self._control.close()
        self._process.wait(END_SECONDS)


def fork(control: socket.socket, command: bytes, streams: tuple[int, int, int]) -> Forked:
    """Have a process forked by the one at the other end of a socket. Any number of processes may have the socket."""
    assert len(command) <= LONGEST_COMMAND
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        ours.send(command)
        socket.send_fds(control, [b"-"], [*streams, theirs.fileno()])
    pid, pidfds, _, _ = socket.recv_fds(ours, 20, 1)
    assert pid, "the forking program has ended"
    return Forked(int(pid), pidfds[0], ours)


def encode_command(arguments: Sequence[str], environment: Mapping[str, str], folder: str) -> bytes:
    """Return what a forked process is sent first."""
    message = {"arguments": [*arguments], "environment": {**environment}, "folder": folder}
    return json.dumps(message).encode()


class Forked:
    """A forked process: like `trio.Process`, but its parent is the forking program."""

    def __init__(self, pid: int, pidfd: int, report: socket.socket) -> None:
        self.pid = pid
        self.stdin: trio.lowlevel.FdStream | None = None
        self.stdout: trio.lowlevel.FdStream | None = None
        self.stderr: trio.lowlevel.FdStream | None = None
        self._pidfd = pidfd
        self._report = report
        self._status: int | None = None

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal, or None if it hasn't ended."""
        if self._status is None:
            try:
                status = self._report.recv(20, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            assert status, "the forking program has ended"
            self._status = int(status)
            self._report.close()
            os.close(self._pidfd)
        return self._status

    async def wait(self) -> int:
        """Wait until it has ended, and return its exit status."""
        await trio.lowlevel.checkpoint()
        while (status := self.returncode) is None:
            await trio.lowlevel.wait_readable(self._report)
        return status

    def wait_blocking(self, seconds: float = END_SECONDS) -> int:
        """Wait until it has ended, in a test without an event loop, and return its exit status."""
        while (status := self.returncode) is None:
            readable, _, _ = select.select([self._report], [], [], seconds)
            assert readable, f"it hasn't ended after {seconds:g} s"
        return status

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                pass  # it has just ended

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


_started: list[ForkingProgram] = []


async def open_bassloop(
    *arguments: str,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = None,
    stderr: int | None = None,
) -> Forked:
    """Start `bassloop` with arguments. The streams are as in `trio.lowlevel.open_process`."""
    forked, ours = _fork(arguments, env, cwd, (stdin, stdout, stderr))
    forked.stdin, forked.stdout, forked.stderr = (
        None if end is None else trio.lowlevel.FdStream(end) for end in ours
    )
    return forked


@contextmanager
def running_bassloop(
    *arguments: str,
    env: Mapping[str, str],
    stdout: int | None = subprocess.DEVNULL,
    stderr: int | None = subprocess.DEVNULL,
) -> Iterator[tuple[Forked, TextIOWrapper]]:
    """Run `bassloop`, for tests without an event loop, with one of its streams as a pipe (`subprocess.PIPE`).

    Yields the process, and what it writes to the pipe. It's killed at the end, if it hasn't ended by then.
    """
    forked, ours = _fork(arguments, env, None, (subprocess.DEVNULL, stdout, stderr))
    [pipe] = filter(None, ours)
    try:
        with open(pipe, encoding="utf-8") as printed:
            try:
                yield forked, printed
            finally:
                forked.kill()
    finally:
        forked.wait_blocking()


def _fork(
    arguments: tuple[str, ...],
    env: Mapping[str, str],
    cwd: Path | None,
    given: tuple[int | None, int | None, int | None],
) -> tuple[Forked, list[int | None]]:
    """Start `bassloop`. Return the process, and the ends of those streams that are pipes."""
    if not _started:
        _started.append(ForkingProgram())
    command = encode_command(arguments, env, str(cwd or os.getcwd()))
    ours: list[int | None] = []
    with ExitStack() as theirs:
        streams: list[int] = []
        for number, each in enumerate(given):
            end = None
            if each == subprocess.PIPE:
                pair = os.pipe()
                other, end = pair if number == 0 else pair[::-1]
                theirs.callback(os.close, other)
            elif each == subprocess.DEVNULL:
                other = os.open(os.devnull, os.O_RDWR)
                theirs.callback(os.close, other)
            elif each == subprocess.STDOUT:
                other = streams[1]
            else:
                other = number if each is None else each
            streams.append(other)
            ours.append(end)
        forked = _started[0].fork(command, (streams[0], streams[1], streams[2]))
    return forked, ours


async def run_bassloop(
    *arguments: str, env: Mapping[str, str], cwd: Path | None = None, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run `bassloop` with arguments, and return its status and output. It's killed when this is cancelled."""
    pipe = subprocess.PIPE
    process = await open_bassloop(
        *arguments, env=env, cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    printed: dict[str, bytes] = {}

    async def read(name: str, stream: trio.lowlevel.FdStream) -> None:
        async with stream:
            printed[name] = b"".join([piece async for piece in stream])

    async def write(stream: trio.lowlevel.FdStream) -> None:
        async with stream:
            try:
                await stream.send_all(stdin)
            except trio.BrokenResourceError:
                pass  # it didn't read all of it

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, "stdout", process.stdout)
            nursery.start_soon(read, "stderr", process.stderr)
            nursery.start_soon(write, process.stdin)
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
    return subprocess.CompletedProcess(arguments, status, printed["stdout"], printed["stderr"])


def run_in_folder(
    folder: Path, *arguments: str, env: Mapping[str, str], stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `bassloop` in a folder, for tests without an event loop."""
    done = trio.run(partial(run_bassloop, *arguments, env=env, cwd=folder, stdin=stdin.encode()))
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def end_forking_program() -> None:
    """End the forking program, after the last test."""
    while _started:
        _started.pop().end()
