"""A runner, from its options to its end."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import trio

from bassloop.bridge import open_bridge
from bassloop.bridge.h2 import open_grpc_server
from bassloop.runner.client import Client
from bassloop.runner.drivers.host import HostDriver
from bassloop.runner.drivers.progress import DriverError
from bassloop.runner.events import RunnerEvent, Warned
from bassloop.runner.options import RunnerError, RunnerOptions
from bassloop.runner.service import RuntimeService

if TYPE_CHECKING:
    from collections.abc import Callable

UNCONTAINED = (
    "commands run on this machine as you, in a private folder but without a container; images are "
    "ignored. Serve only repositories that you trust (--only OWNER/REPO)"
)


async def run_runner(
    options: RunnerOptions,
    on_event: Callable[[RunnerEvent], None] = lambda event: None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a loop until cancelled; then commands that run are ended, and the connection is closed.

    Needs an open bridge. Started once registered for the first time. Raises RunnerError.
    """
    on_event(Warned(UNCONTAINED))
    try:
        async with HostDriver.open(
            options.state, on_event=on_event, allow_host_path=options.allow_host_path
        ) as driver:
            service = RuntimeService(driver, options.only)
            async with open_grpc_server([service]) as session:
                await Client(options, session, on_event).run(task_status=task_status)
    except DriverError as error:
        raise RunnerError(str(error)) from error


async def serve_runner(
    options: RunnerOptions, on_event: Callable[[RunnerEvent], None] = lambda event: None
) -> int:
    """Serve a loop until SIGINT or SIGTERM. Returns the exit status. Raises RunnerError."""
    async with open_bridge():
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_runner, options, on_event)
                async for _ in signals:
                    break
                nursery.cancel_scope.cancel()
    return 0
