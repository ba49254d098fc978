"""Recovery of runs and check runs after a restart, or after an outage of GitHub.

A run that was running when the daemon ended is ended: its command may have run, so it isn't silently repeated. A run
that was still waiting is left to its delivery, which is handled again. A check run whose conclusion GitHub didn't
accept is concluded as soon as it does.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.checks import check_output
from bassloop.checks.conclude import conclude, end_run, report_lost_logs
from bassloop.deliveries.scheduling import LONGEST_DELAY
from bassloop.lifecycle import RunState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bassloop.checks.loop_state import LoopState
    from bassloop.store import Delivery, Run

log = structlog.get_logger(__name__)

AT_ONCE = 8


async def interrupt_lost_runs(loop: LoopState) -> None:
    """End the runs that an earlier process was running. Must be called before the inbox resumes."""
    own = loop.store.nodes.own_id
    runs = [run for _, run in await loop.store.checks.unfinished() if run.node == own]
    await _interrupt(loop, runs, "the loop was restarted while this check ran; run it again")


async def interrupt_taken_over(loop: LoopState, runs: Iterable[Run]) -> None:
    """End the runs that a lost node was running."""
    await _interrupt(loop, runs, "the node that ran this check was lost; run it again")


async def conclude_taken_over(loop: LoopState, runs: Iterable[Run]) -> None:
    """Conclude the runs that a lost node left unconcluded, as far as they have ended.

    Then wait until their logs are stored, and report those that end early. If this node is lost before that, the next
    one takes over these runs.
    """
    limiter = trio.CapacityLimiter(AT_ONCE)
    async with trio.open_nursery() as nursery:
        for run in runs:
            now = await loop.store.runs.get(run.id)
            if now is not None and now.ended:
                nursery.start_soon(_conclude_taken_over, loop, now, limiter)


async def _conclude_taken_over(loop: LoopState, run: Run, limiter: trio.CapacityLimiter) -> None:
    await _conclude_late(loop, run, limiter)
    await loop.store.logs.wait_for_repaired(run.id)
    async with limiter:
        await report_lost_logs(loop, run)


async def _interrupt(loop: LoopState, runs: Iterable[Run], message: str) -> None:
    """End the runs that may have been running, all at once, so that they share transactions."""
    async with trio.open_nursery() as nursery:
        for run in runs:
            # The runs that it verified have ended as well, and nothing starts it again.
            verifies = not run.ended and check_output.is_verification(run.check_name)
            if run.state == RunState.RUNNING or verifies:
                nursery.start_soon(end_run, loop, run.id, RunState.INTERRUPTED, message)


async def keep_concluding(loop: LoopState) -> None:
    """Conclude the check runs of this node's ended runs that are still open on GitHub, until cancelled.

    It begins with those that an earlier process left, and continues with those that are postponed, when they are
    due.
    """
    first, limiter = True, trio.CapacityLimiter(AT_ONCE)
    own = loop.store.nodes.own_id
    while True:
        next_due = math.inf
        async with trio.open_nursery() as nursery:
            for check_run, run in await loop.store.checks.unfinished():
                if run.node != own or run.ended_at is None or not (first or check_run.tries):
                    continue
                due = check_run.try_after or 0.0
                if 0 < due - time.time() <= LONGEST_DELAY:
                    next_due = min(next_due, due)
                else:
                    nursery.start_soon(_conclude_late, loop, run, limiter)
        first = False
        with trio.move_on_after(max(next_due - time.time(), 0.0)):
            await loop.conclusion_postponed.wait()


async def _conclude_late(loop: LoopState, run: Run, limiter: trio.CapacityLimiter) -> None:
    async with limiter:
        log.info("check run concluded late", run=run.id, check=run.check_name, state=run.state)
        try:
            await conclude(loop, run)
        except Exception:
            # One check run's failure must not affect the others; the next start tries it again.
            log.exception("check run not concluded", run=run.id)


async def end_set_aside(loop: LoopState, delivery: Delivery, why: str) -> None:
    """End the queued runs of a delivery that was set aside. Replaying it creates new ones."""
    fix = f"bassloop deliveries replay {delivery.guid}"
    message = f"the event that asked for this check was set aside: {why} ({fix})"
    for run in await loop.store.runs.unfinished():
        check_run = (
            await loop.store.checks.of_run(run.id) if run.delivery == delivery.guid else None
        )
        if check_run is None or run.state != RunState.QUEUED or run.node != delivery.node:
            continue
        await loop.store.checks.invalidate(check_run.row)
        ended = await end_run(loop, run.id, RunState.INTERRUPTED, message)
        if check_run.github_id is not None:
            await conclude(loop, ended)
        else:  # GitHub did not accept it, and won't accept its conclusion either
            await loop.store.checks.conclude(check_run.row, "cancelled")
