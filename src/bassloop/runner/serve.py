"""A runner, from its options to its end."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import trio

from bassloop.bridge import open_bridge
from bassloop.bridge.grpc import open_grpc_server
from bassloop.runner.client import RunnerClient
from bassloop.runner.driver_choice import open_driver
from bassloop.runner.errors import DriverError
from bassloop.runner.events import RunnerEvent, Warned
from bassloop.runner.known_hosts import HostKey, KnownHosts
from bassloop.runner.options import RunnerError, RunnerOptions
from bassloop.runner.service import RuntimeService
from bassloop.runner.ssh import Dialler
from bassloop.telemetry.heartbeat import Heart
from bassloop.telemetry.service_manager import Notifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ENDING_SECONDS = 30.0
"""How long commands that run, and the connection, may take to end."""


async def run_runner(
    options: RunnerOptions,
    on_event: Callable[[RunnerEvent], None] = lambda event: None,
    *,
    ask: Callable[[HostKey], Awaitable[bool]] | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a loop until cancelled; then commands that run are ended, and the connection is closed.

    Needs an open bridge. Started once registered for the first time. Raises RunnerError.

    Args:
        ask: whether a host key that is not known is right; it is remembered then. Without it, such a
            host is refused.
    """
    try:
        async with (
            open_driver(options, on_event) as driver,
            RuntimeService.open(driver, options.only) as service,
            open_grpc_server([service]) as session,
        ):
            dialler = Dialler(options, session, lambda text: on_event(Warned(text)))
            client = RunnerClient(dialler, options.address, on_event, _remembering(options, ask))
            await client.run(task_status=task_status)
    except DriverError as error:
        raise RunnerError(str(error)) from error


def _remembering(
    options: RunnerOptions, ask: Callable[[HostKey], Awaitable[bool]] | None
) -> Callable[[HostKey], Awaitable[bool]] | None:
    if ask is None:
        return None

    async def asked(key: HostKey) -> bool:
        if not await ask(key):
            return False
        try:
            await trio.to_thread.run_sync(KnownHosts(options.hosts_file).add, key)
        except OSError as error:
            raise RunnerError(f"{options.hosts_file} can't be written: {error.strerror}") from error
        return True

    return asked


async def serve_runner(
    options: RunnerOptions,
    on_event: Callable[[RunnerEvent], None] = lambda event: None,
    ask: Callable[[HostKey], Awaitable[bool]] | None = None,
) -> int:
    """Serve a loop until SIGINT or SIGTERM. Returns the exit status. Raises RunnerError.

    A service manager hears that it started, what happens, and that its loop turns.
    """
    notifier = Notifier.of()

    def told(event: RunnerEvent) -> None:
        on_event(event)
        notifier.status(str(event))

    async with open_bridge():
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:

                async def run() -> None:
                    await run_runner(options, told, ask=ask)

                nursery.start_soon(run)
                nursery.start_soon(Heart().beat, notifier.feed)
                notifier.ready()
                async for _ in signals:
                    break
                notifier.stopping(ENDING_SECONDS)
                nursery.cancel_scope.cancel()
    return 0
