"""After a restart: no check spins for ever.

A run that was being carried out when the daemon ended is over (its command may have run; it is not
started anew in silence). A run that still waited is left to its delivery, which is handled again. A
check run that could not be concluded is concluded now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from bassloop.dispatch.checks import conclude, end_run

if TYPE_CHECKING:
    from bassloop.dispatch.loop import Loop

log = structlog.get_logger(__name__)


async def interrupt_lost_runs(loop: Loop) -> None:
    """End the runs that an earlier process was carrying out. Before the inbox begins to resume."""
    for _, run in await loop.store.unfinished_check_runs():
        if run.state == "running":
            message = "the loop was restarted while this check ran; run it again"
            await end_run(loop, run.id, "interrupted", message)


async def conclude_lost_checks(loop: Loop) -> None:
    """Conclude on GitHub what has ended here. A check that GitHub refuses is logged and stays for later."""
    for check, run in await loop.store.unfinished_check_runs():
        if run.ended_at is not None:
            log.info("check run concluded late", run=run.id, check=check.name, state=run.state)
            await conclude(loop, run)
