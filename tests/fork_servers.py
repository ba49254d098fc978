"""Fork servers that tests share: starting one takes longer than most tests that need one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import shielded
from bassloop.evaluator.server_process import ServerProcess
from tests.forked_programs import encode_command, fork

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.evaluator.messages import Ready
    from bassloop.evaluator.server_process import Job

END_SECONDS = 100.0
"""How long a fork server may take to end, which is of low priority: a guard against hanging."""


@dataclass(eq=False)
class _Kept:
    """A running fork server, and its report when it was ready."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    ready: Ready | None = None

    def end(self) -> None:
        self.control.close()
        self.process.wait(END_SECONDS)


_idle: defaultdict[tuple[float, int], list[_Kept]] = defaultdict(list)


class _Server(ServerProcess):
    """A test's use of a fork server."""

    def __init__(self, kept: _Kept) -> None:
        super().__init__(trio.socket.from_stdlib_socket(kept.control.dup()))
        self._sent: list[Job] = []

    async def send(self, job: Job, *, ahead: bool = False) -> None:
        await super().send(job, ahead=ahead)
        self._sent.append(job)

    async def until_unused(self) -> None:
        """Wait until all processes have ended, so that none is reported to the next test."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.listen, lambda ready: None)
            for job in self._sent:
                await job.over.wait()
            nursery.cancel_scope.cancel()


async def run_forked_server(
    forking: socket.socket,
    cpu_seconds: float,
    memory: int,
    *,
    on_ready: Callable[[ServerProcess, Ready], None],
    on_end: Callable[[], None],
) -> None:
    """Run a fork server that the forking program forks: it needn't import the language.

    Args:
        forking: the socket of the process that forks fork servers.
    """
    ours, theirs = socket.socketpair()
    with ours:
        nothing = os.open(os.devnull, os.O_RDWR)
        with theirs:
            command = encode_command([str(cpu_seconds), str(memory)], {}, "/")
            forked = fork(forking, command, (theirs.fileno(), nothing, nothing))
        os.close(nothing)
        server = ServerProcess(trio.socket.from_stdlib_socket(ours))
        try:
            await server.listen(partial(on_ready, server))
        finally:
            on_end()
            server.close()
            with shielded(END_SECONDS):
                await forked.wait()


async def run_shared_server(
    cpu_seconds: float,
    memory: int,
    *,
    on_ready: Callable[[ServerProcess, Ready], None],
    on_end: Callable[[], None],
) -> None:
    """Use a fork server that an earlier test has left, or a new one, and leave it to the next."""
    idle = _idle[cpu_seconds, memory]
    kept = idle.pop() if idle else _start(cpu_seconds, memory)
    server = _Server(kept)

    def note_ready(ready: Ready) -> None:
        kept.ready = ready
        on_ready(server, ready)

    unused = False
    try:
        if kept.ready is not None:
            note_ready(kept.ready)
        await server.listen(note_ready)
    finally:
        on_end()
        if kept.ready is not None:
            with shielded(END_SECONDS):
                await server.until_unused()
                unused = kept.process.poll() is None
        server.close()
        if unused:
            idle.append(kept)
        else:
            kept.end()


def _start(cpu_seconds: float, memory: int) -> _Kept:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-P", "-m", "bassloop.evaluator.fork_server"]
    with theirs:
        process = subprocess.Popen(
            [*command, str(cpu_seconds), str(memory)],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            process_group=0,
        )
    return _Kept(process, ours)


def end_shared_servers() -> None:
    """End the fork servers that are left, after the last test."""
    for servers in _idle.values():
        while servers:
            servers.pop().end()
