"""The daemon's side of the fork server, and its spare processes. Needs Trio.

Forking a process, confining it, and copying the memory that every hook writes to takes longer than evaluating a
typical hook. A spare has done all that, and waits on its socket. It is used for one hook, like any other process.
Preparing itself counts towards its limits, but uses less than a hundredth of its CPU time.

Spares are forked while no hook is being evaluated, since preparing them takes CPU time. If hooks arrive faster than
that, a process is forked for each.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
from array import array
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog
import trio

from bassloop.concurrency import AutoResetEvent, shielded
from bassloop.evaluator import EvaluatorLost
from bassloop.evaluator.messages import Ended, Fork, FromServer, MessageReader, Ready, frames

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator


log = structlog.get_logger(__name__)

_ENVIRONMENT: Final = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
"""Variables that Python may need to find its modules. Nothing else of the daemon's environment is passed on."""

_END_SECONDS: Final = 5.0
"""How long a fork server may take to end before it is killed, in seconds."""

_MOST_OUTPUT: Final = 64 << 10
"""The maximum number of bytes of a fork server's standard error that are logged."""

_READ: Final = 1 << 16


@dataclass(eq=False)
class Job:
    """A process of the fork server. `over` is set when it has ended; `end` is None if the server ended first."""

    number: int
    socket: socket.socket
    over: trio.Event = field(default_factory=trio.Event)
    end: Ended | None = None


class ServerProcess:
    """A running fork server."""

    def __init__(self, control: trio.socket.SocketType) -> None:
        self._control = control
        self._jobs: dict[int, Job] = {}
        self._numbers = itertools.count(1)
        self._sending = trio.Lock()
        self._reader: MessageReader[FromServer] = MessageReader(FromServer)

    async def listen(self, started: Callable[[Ready], None]) -> None:
        """Receive the server's messages until it ends."""
        with suppress(ConnectionError):
            while data := await self._control.recv(_READ):
                for message in self._reader.feed(data):
                    if isinstance(message, Ready):
                        started(message)
                    elif (job := self._jobs.pop(message.job, None)) is not None:
                        job.end = message
                        job.over.set()

    @contextmanager
    def fork(self) -> Generator[tuple[Job, trio.SocketStream]]:
        """Make a job, and the socket to its process. The process is killed on exit.

        Raises EvaluatorLost if there is no socket left.
        """
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise EvaluatorLost(f"another process needs a socket: {error.strerror}") from error
        with ours, theirs:
            job = Job(next(self._numbers), theirs)
            self._jobs[job.number] = job
            yield job, trio.SocketStream(trio.socket.from_stdlib_socket(ours))

    async def send(self, job: Job, *, ahead: bool = False) -> None:
        """Have a job's process forked. Raises EvaluatorLost.

        Args:
            ahead: whether it is a spare, which has time to prepare itself.
        """
        [message] = frames(Fork(job.number, ahead))
        rights = array("i", [job.socket.fileno()])
        try:
            async with self._sending:
                sent = await self._control.sendmsg(
                    [message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
                )
                while sent < len(message):
                    sent += await self._control.send(message[sent:])
        except OSError as error:
            raise EvaluatorLost("the fork server has ended") from error
        job.socket.close()

    def close(self) -> None:
        """Note that the server is gone, and all its processes."""
        self._control.close()
        for job in self._jobs.values():
            job.over.set()
        self._jobs.clear()


class RunServer(Protocol):
    """The type of `run_server`, which runs one fork server until it ends."""

    async def __call__(
        self,
        cpu_seconds: float,
        memory: int,
        *,
        on_ready: Callable[[ServerProcess, Ready], None],
        on_end: Callable[[], None],
    ) -> None: ...


async def run_server(
    cpu_seconds: float,
    memory: int,
    *,
    on_ready: Callable[[ServerProcess, Ready], None],
    on_end: Callable[[], None],
) -> None:
    """Run one fork server until it ends, or until cancelled. Its processes end with it.

    Args:
        cpu_seconds: the limit on CPU time for each process.
        memory: the limit on memory for each process, in bytes.
        on_ready: called when the server is ready.
        on_end: called as soon as the server is known to end.
    """
    arguments = ["-P", "-m", "bassloop.evaluator.fork_server", str(cpu_seconds), str(memory)]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = await trio.lowlevel.open_process(
            [sys.executable, *arguments],
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            # Out of the terminal's reach, but in the daemon's session: Linux divides CPU time between sessions first,
            # so in another one, the server's niceness would have no effect on the daemon.
            process_group=0,
        )
        theirs.close()
        server = ServerProcess(trio.socket.from_stdlib_socket(ours))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_log_output, process)
                await server.listen(partial(on_ready, server))
                nursery.cancel_scope.cancel()
        finally:
            on_end()
            server.close()
            await _end(process)


async def _log_output(process: trio.Process) -> None:
    """Log the standard error of the fork server and its processes, up to a limit."""
    assert process.stderr is not None
    left = _MOST_OUTPUT
    async for data in process.stderr:
        if left > 0:
            log.warning("the fork server says", output=data[:left].decode(errors="replace"))
        left -= len(data)


async def _end(process: trio.Process) -> None:
    """Wait for the fork server to end, which it does when its socket is closed; kill it if it doesn't."""
    with shielded(_END_SECONDS):
        await process.wait()
    if process.returncode is None:
        process.kill()
        with shielded(_END_SECONDS):
            await process.wait()
    if process.stderr is not None:
        with shielded(_END_SECONDS):
            await process.stderr.aclose()


@dataclass(frozen=True, slots=True)
class _Spare:
    """A spare process. Closing `held` kills it."""

    job: Job
    stream: trio.SocketStream
    held: ExitStack


class SpareProcesses:
    """The spares of a fork server.

    Args:
        count: how many are kept.
        is_quiet: returns whether no hook is evaluated now.
    """

    def __init__(self, count: int, is_quiet: Callable[[], bool]) -> None:
        self._count = count
        self._is_quiet = is_quiet
        self._server: ServerProcess | None = None
        self._spares: list[_Spare] = []
        self._wanted = AutoResetEvent()

    def __len__(self) -> int:
        return sum(not spare.job.over.is_set() for spare in self._spares)

    async def run(self) -> None:
        """Keep spares of the current server until cancelled; then kill them."""
        try:
            while True:
                await self._wanted.wait()
                await self._fill()
        finally:
            self.use(None)

    def fill(self) -> None:
        """Arrange for missing spares to be forked."""
        self._wanted.set()

    def use(self, server: ServerProcess | None) -> None:
        """Kill the spares, and switch to another server, or to none."""
        for spare in self._spares:
            spare.held.close()
        self._spares.clear()
        self._server = server
        self.fill()

    @asynccontextmanager
    async def process(self, server: ServerProcess) -> AsyncGenerator[tuple[Job, trio.SocketStream]]:
        """Provide a process of a server, a spare or a new one. It is killed on exit.

        Raises EvaluatorLost.
        """
        with ExitStack() as held:
            spare = self._take(server)
            if spare is None:
                job, stream = held.enter_context(server.fork())
                await server.send(job)
            else:
                job, stream = spare.job, spare.stream
                held.enter_context(spare.held)
            yield job, stream

    def _take(self, server: ServerProcess) -> _Spare | None:
        while self._server is server and self._spares:
            spare = self._spares.pop(0)
            if not spare.job.over.is_set():
                return spare
            spare.held.close()
        return None

    def _is_short(self) -> bool:
        return len(self._spares) < self._count and self._is_quiet()

    async def _fill(self) -> None:
        server = self._server
        while server is not None and server is self._server and self._is_short():
            with ExitStack() as held:
                try:
                    job, stream = held.enter_context(server.fork())
                    await server.send(job, ahead=True)
                except EvaluatorLost:
                    return
                if server is self._server:
                    self._spares.append(_Spare(job, stream, held.pop_all()))
