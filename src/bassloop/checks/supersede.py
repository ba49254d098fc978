"""Superseding: a push that replaces a head cancels the old head's checks, on that branch only.

Events arrive in any order, and a check may be about to start when its head is replaced. So the replacement is stored
as soon as the event is accepted (:mod:`bassloop.deliveries.inbox`). When the event is handled, the old head's running
checks are cancelled, and each check looks for such a record once it can be cancelled. Checks that still wait for
their turn aren't started at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from bassloop.checks.check_output import VERIFICATION, is_verification
from bassloop.checks.conclude import cancel_anywhere
from bassloop.github import MalformedEvent

if TYPE_CHECKING:
    from bassloop.access.policy import Policy
    from bassloop.checks.loop_state import LoopState
    from bassloop.github import Event
    from bassloop.store import Delivery, Run

log = structlog.get_logger(__name__)


async def supersede(loop: LoopState, event: Event, policy: Policy) -> None:
    """Cancel the checks of the head that an event replaced, unless it is also the head of another branch."""
    before = event.replaced_head if policy.supersede else None
    if before is None or event.head is None or event.repository is None:
        return
    place, repository = event.head.place, event.repository
    if place is None:
        return
    found = [
        run
        for run in await loop.store.runs.unfinished()
        if run.repository_id == repository.id and run.head_sha == before and _place(run) == place
    ]
    if not found or await _is_head_elsewhere(loop, f"{repository.id}:{before}", place):
        return
    for run in found:
        if await must_finish(loop, run):
            continue
        check_run = await loop.store.checks.of_run(run.id)
        if check_run is None:
            continue
        if await cancel_anywhere(loop, run, _why(place, event.head.sha), end=False):
            log.info("run superseded", run=run.id, check=run.check_name, by=event.head.sha)
            await loop.store.checks.supersede(check_run.row)


async def superseded(loop: LoopState, event: Event, received_at: float) -> str | None:
    """Return why the checks of an event's head don't need to run any more, or None if it is still a head.

    The policy decides whether that matters.

    Args:
        received_at: when the event arrived. A head that was replaced before that has come back.
    """
    if event.head is None or event.repository is None:
        return None
    place, sha, repository_id = event.head.place, event.head.sha, event.repository.id
    if place is None:
        return None
    found = await loop.store.heads.superseded(repository_id, sha, place)
    if found is None or found.at < received_at:
        return None
    if await _is_head_elsewhere(loop, f"{repository_id}:{sha}", place):
        return None
    return _why(place, found.by_sha)


async def must_finish(loop: LoopState, run: Run) -> bool:
    """Return whether a run has to continue although its head was replaced, because it's a spot check.

    Otherwise, a cheater could push another head as soon as they see that they were selected.
    """
    if not is_verification(run.check_name):
        return False
    name = run.check_name.removesuffix(VERIFICATION)
    return await loop.store.heads.is_drawn(run.repository_id, run.head_sha, name)


def _why(place: str, sha: str) -> str:
    return f"superseded: {place} is at {sha[:12]} now"


def _place(run: Run) -> str | None:
    if run.head_branch is not None:
        return run.head_branch
    return f"#{run.pull_request}" if run.pull_request is not None else None


async def _is_head_elsewhere(loop: LoopState, order_key: str, place: str) -> bool:
    """Return whether a commit is also the head of another branch or pull request, according to its deliveries."""
    for delivery in await loop.store.deliveries.of_head(order_key):
        other = await _place_in(loop, delivery)
        if other is not None and other != place:
            return True
    return False


async def _place_in(loop: LoopState, delivery: Delivery) -> str | None:
    try:
        head = (await loop.read_event(delivery)).head
    except MalformedEvent:
        return None
    return None if head is None else head.place
