"""Run a runner, from its options to its end."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import trio

from bassloop.bridge import open_bridge
from bassloop.bridge.grpc import open_grpc_server
from bassloop.concurrency import open_flat_nursery
from bassloop.runner.driver_choice import open_driver, served_rules
from bassloop.runner.errors import DriverError, RunnerError
from bassloop.runner.host_keys import HostKey, KnownHosts
from bassloop.runner.registration import RunnerClient
from bassloop.runner.runner_events import RunnerEvent, Warned
from bassloop.runner.service import RuntimeService
from bassloop.runner.signing import ConnectionSigner
from bassloop.runner.ssh import Dialler
from bassloop.telemetry.heartbeat import Heart
from bassloop.telemetry.service_manager import Notifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bassloop.runner.options import RunnerOptions

STOP_SECONDS = 30.0
"""How long commands and the connection may take to end."""


async def run_runner(
    options: RunnerOptions,
    on_event: Callable[[RunnerEvent], None] = lambda event: None,
    *,
    ask: Callable[[HostKey], Awaitable[bool]] | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a loop until cancelled; then end the commands, and close the connection.

    Needs an open bridge. Has started once registered for the first time. Raises RunnerError.

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

    A service manager is notified of the start, of what happens, and that the runner is alive.
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
