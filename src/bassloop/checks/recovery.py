"""After a restart: no check spins for ever.

A run that was being carried out when the daemon ended is over (its command may have run; it is not
started anew in silence). A run that still waited is left to its delivery, which is handled again. A
check run whose end GitHub did not take, then or now, is concluded as soon as it does.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.checks.conclude import conclude, end_run

if TYPE_CHECKING:
    from bassloop.checks.loop import Loop
    from bassloop.store import Delivery, Run

log = structlog.get_logger(__name__)

AT_ONCE = 8

LONGEST_WAIT = 2 * 3600.0
"""A check run that is to be concluded later than this waits for a clock that was set."""


async def interrupt_lost_runs(loop: Loop) -> None:
    """End the runs that an earlier process was carrying out. Before the inbox begins to resume."""
    for _, run in await loop.store.unfinished_check_runs():
        if run.state == "running":
            message = "the loop was restarted while this check ran; run it again"
            await end_run(loop, run.id, "interrupted", message)


async def keep_concluding(loop: Loop) -> None:
    """Conclude on GitHub what has ended here and GitHub does not know: what an earlier process left,
    and from then on what GitHub did not take, each at its time. Until cancelled."""
    first, limiter = True, trio.CapacityLimiter(AT_ONCE)
    while True:
        following = math.inf
        async with trio.open_nursery() as nursery:
            for check, run in await loop.store.unfinished_check_runs():
                if run.ended_at is None or not (first or check.tries):
                    continue
                if not 0 < (check.try_after or 0.0) - time.time() <= LONGEST_WAIT:
                    nursery.start_soon(_conclude_late, loop, run, limiter)
                else:
                    following = min(following, check.try_after or 0.0)
        first = False
        with trio.move_on_after(max(following - time.time(), 0.0)):
            await loop.late.wait()


async def _conclude_late(loop: Loop, run: Run, limiter: trio.CapacityLimiter) -> None:
    async with limiter:
        log.info("check run concluded late", run=run.id, check=run.check_name, state=run.state)
        try:
            await conclude(loop, run)
        except Exception:
            # One check's trouble is not another's; the next start tries it again.
            log.exception("check run not concluded", run=run.id)


async def end_set_aside(loop: Loop, delivery: Delivery, why: str) -> None:
    """End the runs that a delivery which was set aside did not begin. A replay makes new ones."""
    mend = f"bassloop deliveries replay {delivery.guid}"
    message = f"the event that asked for this check was set aside: {why} ({mend})"
    for run in await loop.store.unfinished_runs():
        check = await loop.store.check_run_of(run.id) if run.delivery == delivery.guid else None
        if check is None or run.state != "queued":
            continue
        await loop.store.void_check_run(check.row)
        ended = await end_run(loop, run.id, "interrupted", message)
        if check.github_id is not None:
            await conclude(loop, ended)
        else:  # GitHub did not take it, and will not take its end either
            await loop.store.conclude_check_run(check.row, "cancelled")
