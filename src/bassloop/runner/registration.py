"""Keep a runner registered: dial in, and dial in again whenever the connection is gone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import trio

from bassloop.concurrency import Backoff
from bassloop.runner.errors import RunnerError
from bassloop.runner.options import this_platform
from bassloop.runner.runner_events import Connecting, Disconnected, Registered, RunnerEvent, Said
from bassloop.runner.ssh import DialError, UnknownHost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from bassloop.runner.host_keys import HostKey

SETTLED_SECONDS = 30.0
"""After this time a connection counts as good, and the next delay is the first one again."""


class Serves(Protocol):
    """A connection that is logged in."""

    async def serve(self, on_line: Callable[[str], None]) -> None: ...


class Dials(Protocol):
    """Makes connections."""

    def dial(self) -> AbstractAsyncContextManager[Serves]: ...


@dataclass(eq=False)
class RunnerClient:
    """Keeps a runner registered with one loop.

    Args:
        ask: awaited with a host key that is not known; returns whether it is to be trusted. Without
            it, such a host is refused.
    """

    dialler: Dials
    address: str
    on_event: Callable[[RunnerEvent], None]
    ask: Callable[[HostKey], Awaitable[bool]] | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.5, longest=60.0))
    _has_started: bool = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, serve, and connect again, until cancelled.

        Has started once the runner is registered for the first time. Raises RunnerError if another
        attempt would be useless: a key can't be read, or a host is not known.
        """
        failures = 0
        while True:
            began = trio.current_time()
            try:
                reason = await self._connect(task_status)
            except UnknownHost as error:
                if self.ask is None or not await self.ask(error.key):
                    raise RunnerError(str(error)) from error
                continue
            if trio.current_time() - began >= SETTLED_SECONDS:
                failures = 0
            failures += 1
            delay = self.backoff.delay(failures)
            self.on_event(Disconnected(reason, delay))
            await trio.sleep(delay)

    async def _connect(self, task_status: trio.TaskStatus[None]) -> str:
        """Connect and serve once. Returns why the connection ended. Raises UnknownHost."""
        self.on_event(Connecting(self.address))
        registered = False

        def on_line(line: str) -> None:
            nonlocal registered
            if not registered:
                registered = True
                self.on_event(Registered(self.address, "/".join(this_platform())))
                if not self._has_started:
                    self._has_started = True
                    task_status.started()
            self.on_event(Said(line))

        try:
            async with self.dialler.dial() as connection:
                await connection.serve(on_line)
        except UnknownHost:
            raise
        except DialError as error:
            return str(error)
        return "the loop closed the connection"
