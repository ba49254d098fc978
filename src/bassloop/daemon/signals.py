"""Signals, and how the daemon shuts down."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from bassloop.deliveries.inbox import Inbox
    from bassloop.telemetry.service_manager import Notifier

log = structlog.get_logger(__name__)

ENDING_SECONDS = 30.0
"""How long the daemon may take to end once nothing runs any more; the service manager is told."""


async def run_until_drained(
    inbox: Inbox, stopping: trio.Event, seconds: float, notifier: Notifier
) -> None:
    """Handle deliveries until `stopping` is set, and give those that are running `seconds` to end."""
    async with trio.open_nursery() as deliveries:
        await deliveries.start(inbox.run)
        notifier.ready()
        await stopping.wait()
        notifier.stopping(seconds + ENDING_SECONDS)
        log.info("draining", **inbox.statistics(), seconds=seconds)
        inbox.close()
        deliveries.cancel_scope.deadline = trio.current_time() + seconds


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
