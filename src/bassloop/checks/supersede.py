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
    branch_or_pull, repository = event.head.branch_or_pull, event.repository
    if branch_or_pull is None:
        return
    runs = [
        run
        for run in await loop.store.runs.unfinished()
        if run.repository_id == repository.id
        and run.head_sha == before
        and _branch_or_pull(run) == branch_or_pull
    ]
    if not runs or await _is_head_elsewhere(loop, f"{repository.id}:{before}", branch_or_pull):
        return
    for run in runs:
        if await must_finish(loop, run):
            continue
        check_run = await loop.store.checks.of_run(run.id)
        if check_run is None:
            continue
        if await cancel_anywhere(loop, run, _why(branch_or_pull, event.head.sha), end=False):
            log.info("run superseded", run=run.id, check=run.check_name, by=event.head.sha)
            await loop.store.checks.supersede(check_run.row)


async def why_superseded(loop: LoopState, event: Event, received_at: float) -> str | None:
    """Return why the checks of an event's head don't need to run any more, or None if it is still a head.

    The policy decides whether that matters.

    Args:
        received_at: when the event arrived. A head that was replaced before that has come back.
    """
    if event.head is None or event.repository is None:
        return None
    head, repository_id = event.head, event.repository.id
    if head.branch_or_pull is None:
        return None
    replacement = await loop.store.heads.superseded(repository_id, head.sha, head.branch_or_pull)
    if replacement is None or replacement.at < received_at:
        return None
    if await _is_head_elsewhere(loop, f"{repository_id}:{head.sha}", head.branch_or_pull):
        return None
    return _why(head.branch_or_pull, replacement.by_sha)


async def must_finish(loop: LoopState, run: Run) -> bool:
    """Return whether a run has to continue although its head was replaced, because it's a spot check.

    Otherwise, a cheater could push another head as soon as they see that they were selected.
    """
    if not is_verification(run.check_name):
        return False
    name = run.check_name.removesuffix(VERIFICATION)
    return await loop.store.heads.is_drawn(run.repository_id, run.head_sha, name)


def _why(branch_or_pull: str, sha: str) -> str:
    return f"superseded: {branch_or_pull} is at {sha[:12]} now"


def _branch_or_pull(run: Run) -> str | None:
    if run.head_branch is not None:
        return run.head_branch
    return f"#{run.pull_request}" if run.pull_request is not None else None


async def _is_head_elsewhere(loop: LoopState, order_key: str, branch_or_pull: str) -> bool:
    """Return whether a commit is also the head of another branch or pull request, according to its deliveries."""
    for delivery in await loop.store.deliveries.of_head(order_key):
        other = await _branch_or_pull_of(loop, delivery)
        if other is not None and other != branch_or_pull:
            return True
    return False


async def _branch_or_pull_of(loop: LoopState, delivery: Delivery) -> str | None:
    try:
        head = (await loop.read_event(delivery)).head
    except MalformedEvent:
        return None
    return None if head is None else head.branch_or_pull
