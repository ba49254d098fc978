"""Superseding: a push that replaces a head cancels what still runs for the old one, on that branch only.

Events come in any order, and a check may be about to start when its head is replaced. So first it is stored
that the head was replaced, then what is known to run is cancelled; and a check looks for such a record once
it can be cancelled.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.github import MalformedEvent, parse_event

if TYPE_CHECKING:
    from bassloop.access.policy import Policy
    from bassloop.checks.context import DeliveryContext
    from bassloop.checks.loop import Loop
    from bassloop.github import Event, Head
    from bassloop.store import Delivery, Run

log = structlog.get_logger(__name__)


def place_of(head: Head) -> str | None:
    """Return where a commit is the head: a branch, or ``#NUMBER`` for a fork's pull request."""
    if head.branch is not None:
        return head.branch
    return f"#{head.pull_request}" if head.fork and head.pull_request else None


def replaced_head(event: Event) -> str | None:
    """Return the commit that was the head before this event's, or None. Pure."""
    if event.head is None or event.before is None or not event.before.strip("0"):
        return None
    return event.before if event.before != event.head.sha else None


async def supersede(loop: Loop, event: Event, policy: Policy) -> None:
    """Cancel what runs for the head that an event replaced, unless it is a head elsewhere too."""
    before = replaced_head(event) if policy.supersede else None
    if before is None or event.head is None or event.repository is None:
        return
    place, repository = place_of(event.head), event.repository
    if place is None:
        return
    await loop.store.heads.supersede(repository.id, before, place, event.head.sha, time.time())
    found = [
        run
        for run in await loop.store.runs.unfinished()
        if run.repository_id == repository.id and run.head_sha == before and _place(run) == place
    ]
    if not found or await _is_head_elsewhere(loop, f"{repository.id}:{before}", place):
        return
    for run in found:
        check_run = await loop.store.checks.of_run(run.id)
        if check_run is not None and loop.cancel(run.id, _why(place, event.head.sha)):
            log.info("run superseded", run=run.id, check=run.check_name, by=event.head.sha)
            await loop.store.checks.supersede(check_run.row)


async def superseded(context: DeliveryContext) -> str | None:
    """Return why a delivery's checks need not run any more, or None if its head is still one."""
    place = place_of(context.head)
    if not context.policy.supersede or context.rerun or place is None:
        return None
    loop, repository_id, sha = context.loop, context.repository.id, context.head.sha
    found = await loop.store.heads.superseded(repository_id, sha, place)
    if found is None or found.at < context.received_at:
        return None
    if await _is_head_elsewhere(loop, f"{repository_id}:{sha}", place):
        return None
    return _why(place, found.by_sha)


def _why(place: str, sha: str) -> str:
    return f"superseded: {place} is at {sha[:12]} now"


def _place(run: Run) -> str | None:
    if run.head_branch is not None:
        return run.head_branch
    return f"#{run.pull_request}" if run.pull_request is not None else None


async def _is_head_elsewhere(loop: Loop, order_key: str, place: str) -> bool:
    """Return whether a commit is the head of another branch or pull request too, going by its deliveries."""
    for delivery in await loop.store.deliveries.of_head(order_key):
        other = await trio.to_thread.run_sync(_place_in, delivery)
        if other is not None and other != place:
            return True
    return False


def _place_in(delivery: Delivery) -> str | None:
    try:
        head = parse_event(delivery.event, delivery.body).head
    except MalformedEvent:
        return None
    return None if head is None else place_of(head)
