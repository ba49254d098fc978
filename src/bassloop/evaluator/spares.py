"""Processes that are forked before there is a hook for them. Needs Trio.

Forking a process, confining it, and copying the memory that every hook writes to takes longer than evaluating a usual
hook. A spare has done all that, and waits on its socket. It is used once, and then dies like any other. Its limits
count what it uses: the little processor time that it has used itself is less than a hundredth of what a hook may use.

All that takes processor time, so spares are forked while no hook is evaluated. When hooks come faster than that, each
gets a process that is forked for it.
"""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.concurrency import AutoResetEvent
from bassloop.evaluator.errors import EvaluatorLost

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import trio

    from bassloop.evaluator.server_process import Job, ServerProcess


@dataclass(frozen=True, slots=True)
class _Spare:
    """A process that waits. Closing `held` kills it."""

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
        """Keep spares of the server that there is, until cancelled; then kill them."""
        try:
            while True:
                await self._wanted.wait()
                await self._fill()
        finally:
            self.use(None)

    def fill(self) -> None:
        """Fork the spares that are missing, soon."""
        self._wanted.set()

    def use(self, server: ServerProcess | None) -> None:
        """Kill the spares, and keep those of another server from now on, or none."""
        for spare in self._spares:
            spare.held.close()
        self._spares.clear()
        self._server = server
        self.fill()

    @asynccontextmanager
    async def process(self, server: ServerProcess) -> AsyncGenerator[tuple[Job, trio.SocketStream]]:
        """Give a process of a server: a spare, or a new one. It is killed when the context is left.

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
                job, stream = held.enter_context(server.fork())
                try:
                    await server.send(job, ahead=True)
                except EvaluatorLost:
                    return
                if server is self._server:
                    self._spares.append(_Spare(job, stream, held.pop_all()))
