"""Keeps a runner registered: dials in, and when the connection is gone dials in again, for ever."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import trio

from bassloop.runner.events import Connecting, Disconnected, Registered, RunnerEvent, Said
from bassloop.runner.options import RunnerError
from bassloop.runner.ssh import DialError, UnknownHost, this_platform

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from bassloop.runner.known_hosts import HostKey

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0
SETTLED_SECONDS = 30.0
"""A connection that lasted so long was a good one."""


class Serving(Protocol):
    """A connection, as far as it matters here."""

    async def serve(self, on_line: Callable[[str], None]) -> None: ...


class Dials(Protocol):
    """Makes connections."""

    def dial(self) -> AbstractAsyncContextManager[Serving]: ...


@dataclass(eq=False)
class RunnerClient:
    """Keeps one runtime registered with one loop.

    Args:
        ask: asked about a host key that is not known; True means that it is now. Without it, such a
            host is refused.
        jitter: a factor for each pause.
    """

    dialler: Dials
    address: str
    on_event: Callable[[RunnerEvent], None]
    ask: Callable[[HostKey], Awaitable[bool]] | None = None
    jitter: Callable[[], float] = field(default=lambda: random.uniform(0.5, 1.5))  # noqa: S311

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, serve, and when the connection is gone connect again, until cancelled.

        Started once it is registered for the first time. Raises RunnerError for what no new attempt
        would mend: a key that can't be read, a host that is not known.
        """
        started = _Once(task_status)
        pause = FIRST_PAUSE
        while True:
            began = trio.current_time()
            try:
                reason = await self._once(started)
            except UnknownHost as error:
                if self.ask is None or not await self.ask(error.key):
                    raise RunnerError(str(error)) from error
                continue
            if trio.current_time() - began >= SETTLED_SECONDS:
                pause = FIRST_PAUSE
            wait = pause * self.jitter()
            self.on_event(Disconnected(reason, wait))
            await trio.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _once(self, started: _Once) -> str:
        """One connection, from dialling to its end. Returns why it ended."""
        self.on_event(Connecting(self.address))
        registered = False

        def on_line(line: str) -> None:
            nonlocal registered
            if not registered:
                registered = True
                self.on_event(Registered(self.address, "/".join(this_platform())))
                started()
            self.on_event(Said(line))

        try:
            async with self.dialler.dial() as connection:
                await connection.serve(on_line)
        except UnknownHost:
            raise
        except DialError as error:
            return str(error)
        return "the loop closed the connection"


class _Once:
    """Says that a task has started, the first time that it is called."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status: trio.TaskStatus[None] | None = task_status

    def __call__(self) -> None:
        if self._task_status is not None:
            self._task_status.started()
            self._task_status = None
