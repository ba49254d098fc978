"""Redelivery: fetches deliveries that GitHub sent but the loop never stored, through the App's API.

It looks for them when the loop starts, because the loop was down, and every hour, because the network may have been.
Stored deliveries aren't fetched. One that arrives while it is being fetched is stored once, under its id.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.concurrency import retry
from bassloop.github import (
    GitHubError,
    MalformedEvent,
    Purpose,
    missing_deliveries,
    retry_after,
    spending,
)
from bassloop.store import Duty, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.deliveries.inbox import Inbox
    from bassloop.github import DeliveryAttempt, GitHub
    from bassloop.github.app_registration import AppWebhook

log = structlog.get_logger(__name__)

LISTED_SECONDS = 7 * 86400.0
"""How long GitHub lists a delivery at most, in seconds: a week on an Enterprise Server."""

EVERY_SECONDS = 3600.0
OVERLAP_SECONDS = 3600.0
"""The overlap between the periods of two searches, in seconds, because clocks differ."""

SETTLE_SECONDS = 10.0
"""How long GitHub waits for an answer before it lists a delivery as failed, in seconds."""

FETCHED_AT_ONCE = 8


async def keep_fetching(github: GitHub, inbox: Inbox, *, every: float = EVERY_SECONDS) -> None:
    """Fetch missed deliveries now, and then every so many seconds, until cancelled.

    Only one of several nodes does that regularly. Any node does it when `fetch_soon` is set, because some may have
    been missed. While GitHub doesn't answer, it is asked again sooner.
    """
    backoff = replace(inbox.backoff, longest=min(inbox.backoff.longest, every))

    def delay(error: Exception) -> float | None:
        if isinstance(error, GitHubError | StoreError):
            return min(retry_after(error) or 0.0, every)
        return None

    def log_failure(error: Exception, seconds: float) -> None:
        log.warning("missed deliveries not fetched", error=str(error), seconds=round(seconds))

    since, is_asked = time.time() - LISTED_SECONDS, False
    while True:
        began = time.time()
        fetch = partial(fetch_missed, github, inbox, since=since)
        if is_asked:
            await retry(inbox.queue_stored_late, backoff, retry_after=delay, on_retry=log_failure)
        if is_asked or await inbox.store.nodes.take_duty(Duty.REDELIVERY):
            with spending(Purpose.BACKGROUND):
                await retry(fetch, backoff, retry_after=delay, on_retry=log_failure)
        since, is_asked = began - OVERLAP_SECONDS, False
        with trio.move_on_after(every):
            await inbox.fetch_soon.wait()
            is_asked = True
            await trio.sleep(SETTLE_SECONDS)


async def fetch_missed(github: GitHub, inbox: Inbox, *, since: float) -> int:
    """Add deliveries since a time to the inbox that it doesn't have, oldest first, and return their number.

    Deliveries that another loop, with another database, has answered are left out. Raises GitHubError if GitHub
    gives no answer; those fetched before are kept.
    """
    hook = github.webhook
    attempts = await hook.attempts(since)
    known = await inbox.store.deliveries.stored({attempt.guid for attempt in attempts})
    before_us = _answered_before(attempts, await inbox.store.created_at())
    added, left = 0, missing_deliveries(attempts, known | before_us)
    while left:
        batch, left = left[:FETCHED_AT_ONCE], left[FETCHED_AT_ONCE:]
        bodies = await _bodies(hook, batch)
        for attempt in batch:
            try:
                if isinstance(body := bodies[attempt.guid], GitHubError):
                    raise body
                added += await inbox.add_fetched(attempt.guid, attempt.event, body)
            except (GitHubError, MalformedEvent) as error:
                if retry_after(error) is not None:
                    raise
                log.error("missed delivery not fetched", delivery=attempt.guid, error=str(error))
    log.info("missed deliveries fetched", listed=len(attempts), fetched=added)
    return added


async def _bodies(
    hook: AppWebhook, attempts: Sequence[DeliveryAttempt]
) -> dict[str, bytes | GitHubError]:
    """Fetch the bodies of deliveries concurrently, and return each one's body or error by guid."""
    found: dict[str, bytes | GitHubError] = {}

    async def fetch(attempt: DeliveryAttempt) -> None:
        try:
            found[attempt.guid] = await hook.body(attempt)
        except GitHubError as error:
            found[attempt.guid] = error

    async with trio.open_nursery() as nursery:
        for attempt in attempts:
            nursery.start_soon(fetch, attempt)
    return found


def _answered_before(attempts: Sequence[DeliveryAttempt], born: float) -> set[str]:
    """Return the deliveries that another loop answered before this loop's database was created."""
    return {attempt.guid for attempt in attempts if attempt.arrived and attempt.delivered_at < born}
