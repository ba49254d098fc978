"""What SIGTERM and its kin do, and how the daemon ends."""

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
"""How long the daemon may take to end once nothing is at work any more."""


async def until_drained(
    inbox: Inbox, stopping: trio.Event, seconds: float, notifier: Notifier
) -> None:
    """Handle deliveries; when told to stop, give those at work `seconds` to end."""
    async with trio.open_nursery() as deliveries:
        await deliveries.start(inbox.run)
        notifier.ready()
        await stopping.wait()
        notifier.stopping(seconds + ENDING_SECONDS)
        log.info("draining", **inbox.statistics(), seconds=seconds)
        inbox.close()
        deliveries.cancel_scope.deadline = trio.current_time() + seconds


@asynccontextmanager
async def signals(
    stopping: trio.Event | None, everything: trio.CancelScope, reload: Callable[[], None]
) -> AsyncGenerator[None]:
    """The first SIGTERM or SIGINT drains, the second ends everything, and SIGHUP reloads; none are
    heard without `stopping`."""
    if stopping is None:
        yield
        return

    async def listen(task_status: trio.TaskStatus[None]) -> None:
        heard = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        with trio.open_signal_receiver(*heard) as received:
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
        yield
        nursery.cancel_scope.cancel()
