"""Signals, and how the daemon shuts down."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from bassloop.checks.loop import Loop
    from bassloop.deliveries.inbox import Inbox
    from bassloop.telemetry.service_manager import Notifier

log = structlog.get_logger(__name__)

SETTLE_SECONDS = 2.0
"""How long deliveries have to say on GitHub how their last checks ended. The next process says the rest."""

ENDING_SECONDS = 30.0
"""How long the daemon may take to end once nothing runs any more; the service manager is told."""


async def run_until_drained(
    inbox: Inbox, loop: Loop, stopping: trio.Event, seconds: float, notifier: Notifier
) -> None:
    """Handle deliveries until `stopping` is set, and give the checks that run `seconds` to end.

    What waits for a runner, or for GitHub, is not waited for: the next process goes on with it.
    """
    async with trio.open_nursery() as deliveries:
        await deliveries.start(inbox.run)
        notifier.ready()
        await stopping.wait()
        notifier.stopping(seconds + ENDING_SECONDS)
        log.info("draining", **inbox.statistics(), seconds=seconds)
        inbox.close()
        ends_at = trio.current_time() + seconds
        deliveries.cancel_scope.deadline = ends_at
        await loop.drain()
        deliveries.cancel_scope.deadline = min(ends_at, trio.current_time() + SETTLE_SECONDS)


@asynccontextmanager
async def handle_signals(
    stop: trio.Event | None, everything: trio.CancelScope, reload: Callable[[], None]
) -> AsyncGenerator[trio.Event]:
    """Yield the event that the first SIGTERM or SIGINT sets.

    A second one cancels `everything`, and SIGHUP calls `reload`. With `stop`, signals are left alone, and it
    is that event.
    """
    if stop is not None:
        yield stop
        return
    stopping = trio.Event()

    async def listen(task_status: trio.TaskStatus[None]) -> None:
        handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        with trio.open_signal_receiver(*handled) as received:
            task_status.started()
            async for number in received:
                if number == signal.SIGHUP:
                    reload()
                    continue
                if stopping.is_set():
                    log.warning("ending at once", signal=signal.Signals(number).name)
                    everything.cancel()
                stopping.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(listen)
        yield stopping
        nursery.cancel_scope.cancel()
