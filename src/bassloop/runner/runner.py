"""Run a runner, and keep it registered with its loop.

After the end of a registration, the loop is most likely being restarted. So for some minutes, the runner reconnects
every few seconds, beginning when the loop asked it to. If the loop was never reached, or stays away for longer,
attempts become less frequent.
"""

from __future__ import annotations

import math
import re
import signal
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import trio

from bassloop.bridge import open_bridge
from bassloop.bridge.grpc import open_grpc_server
from bassloop.concurrency import Backoff, open_flat_nursery
from bassloop.runner.driver_choice import open_driver, served_rules
from bassloop.runner.errors import DriverError, RunnerError
from bassloop.runner.options import this_platform
from bassloop.runner.runner_events import (
    Connecting,
    Disconnected,
    Registered,
    RunnerEvent,
    Said,
    Warned,
)
from bassloop.runner.service import RuntimeService
from bassloop.runner.signing import ConnectionSigner
from bassloop.runner.ssh_client import DialError, Dialler, HostKey, KnownHosts, UnknownHost
from bassloop.telemetry.watchdog import Heart, Notifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from bassloop.runner.options import RunnerOptions


RESTART_SECONDS = 900.0
"""How long the loop counts as restarting after a registration ended, in seconds."""

RESTART_LONGEST = 2.0
"""The longest delay, in seconds and without jitter, while it does."""

COME_AGAIN = re.compile(r"connect again in (\d{1,3}) s\b")
"""The end of the last line from a loop that shuts down in an orderly way."""

LONGEST_ASKED = 60.0
"""The longest time, in seconds, that a runner stays away at a loop's request."""

STOP_SECONDS = 30.0
"""How long commands and the connection may take to end, in seconds."""


class ServingConnection(Protocol):
    """A connection that is logged in."""

    async def serve(self, on_line: Callable[[str], None]) -> None: ...


class ConnectionMaker(Protocol):
    """Makes connections."""

    def dial(self) -> AbstractAsyncContextManager[ServingConnection]: ...


@dataclass(eq=False)
class RunnerClient:
    """Keeps a runner registered with one loop.

    Args:
        ask: awaited with an unknown host key; returns whether to trust it. Without it, unknown hosts are refused.
    """

    dialler: ConnectionMaker
    address: str
    on_event: Callable[[RunnerEvent], None]
    ask: Callable[[HostKey], Awaitable[bool]] | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.5, longest=60.0))
    _has_started: bool = False
    _registered_until: float = -math.inf
    _asked_to_wait: float | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, serve, and reconnect, until cancelled.

        Reports as started when the runner is first registered. Raises RunnerError if another attempt would be
        useless, because a key can't be read, or a host isn't known.
        """
        failures = 0
        while True:
            self._asked_to_wait = None
            registered_before = self._registered_until
            try:
                reason = await self._connect(task_status)
            except UnknownHost as error:
                if self.ask is None or not await self.ask(error.key):
                    raise RunnerError(str(error)) from error
                continue
            failures = 1 if self._registered_until > registered_before else failures + 1
            delay = self._asked_to_wait
            if delay is None:
                delay = self._backoff().delay(failures)
            self.on_event(Disconnected(reason, delay))
            await trio.sleep(delay)

    def _backoff(self) -> Backoff:
        """Return the current delays, which are short while the loop restarts."""
        if trio.current_time() - self._registered_until >= RESTART_SECONDS:
            return self.backoff
        return replace(self.backoff, longest=min(RESTART_LONGEST, self.backoff.longest))

    async def _connect(self, task_status: trio.TaskStatus[None]) -> str:
        """Connect and serve once, and return why the connection ended. Raises UnknownHost."""
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
            if (asked := COME_AGAIN.search(line)) is not None:
                self._asked_to_wait = min(float(asked[1]), LONGEST_ASKED)
            self.on_event(Said(line))

        try:
            async with self.dialler.dial() as connection:
                await connection.serve(on_line)
        except UnknownHost:
            raise
        except DialError as error:
            return str(error)
        finally:
            if registered:
                self._registered_until = trio.current_time()
        return "the loop closed the connection"


async def run_runner(
    options: RunnerOptions,
    on_event: Callable[[RunnerEvent], None] = lambda event: None,
    *,
    ask: Callable[[HostKey], Awaitable[bool]] | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a loop until cancelled; then end the commands, and close the connection.

    Needs an open bridge. Reports as started when first registered. Raises RunnerError.

    Args:
        ask: awaited with a host key that is not known; returns whether to trust it, and then it is
            remembered. Without it, such a host is refused.
    """
    try:
        signer = ConnectionSigner(options.login)
        async with (
            open_driver(options, on_event) as driver,
            RuntimeService.open(driver, served_rules(options, driver), signer) as service,
            open_grpc_server([service]) as session,
        ):
            dialler = Dialler(options, session, signer, lambda text: on_event(Warned(text)))
            client = RunnerClient(dialler, options.address, on_event, _remembering(options, ask))
            await client.run(task_status=task_status)
    except DriverError as error:
        raise RunnerError(str(error)) from error


def _remembering(
    options: RunnerOptions, ask: Callable[[HostKey], Awaitable[bool]] | None
) -> Callable[[HostKey], Awaitable[bool]] | None:
    if ask is None:
        return None

    async def ask_and_remember(key: HostKey) -> bool:
        if not await ask(key):
            return False
        try:
            await trio.to_thread.run_sync(KnownHosts(options.hosts_file).add, key)
        except OSError as error:
            raise RunnerError(f"{options.hosts_file} can't be written: {error.strerror}") from error
        return True

    return ask_and_remember


async def serve_runner(
    options: RunnerOptions,
    on_event: Callable[[RunnerEvent], None] = lambda event: None,
    ask: Callable[[HostKey], Awaitable[bool]] | None = None,
) -> int:
    """Serve a loop until SIGINT or SIGTERM, and return the exit status. Raises RunnerError.

    A service manager is notified of the start, of events, and that the runner is alive.
    """
    notifier = Notifier.of()

    def notify(event: RunnerEvent) -> None:
        on_event(event)
        notifier.status(str(event))

    async def run() -> None:
        await run_runner(options, notify, ask=ask)

    async with open_bridge():
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with open_flat_nursery() as nursery:
                nursery.start_soon(run)
                nursery.start_soon(Heart().beat, notifier.feed)
                notifier.ready()
                async for _ in signals:
                    break
                notifier.stopping(STOP_SECONDS)
                nursery.cancel_scope.cancel()
    return 0
