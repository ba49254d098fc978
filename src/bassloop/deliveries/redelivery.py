"""Deliveries that GitHub tried and we never had: found through the App's deliveries API, and fetched.

At start, because we were away, and every hour, because a network was. What the inbox has is not
fetched, and a delivery that arrives while it is fetched is stored once, for it has one guid.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.deliveries.retry import advised, pause
from bassloop.github import GitHubError, MalformedEvent, missed
from bassloop.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.deliveries.inbox import Inbox
    from bassloop.github import Attempt, GitHub

log = structlog.get_logger(__name__)

LISTED_SECONDS = 7 * 86400.0
"""How long GitHub lists a delivery, at most: an Enterprise Server's week."""

EVERY_SECONDS = 3600.0
OVERLAP_SECONDS = 3600.0
"""How far each look goes back before the last one, for clocks differ."""


async def keep_fetching(github: GitHub, inbox: Inbox, *, every: float = EVERY_SECONDS) -> None:
    """Fetch what was missed, now and then every so many seconds. Until cancelled.

    A look that GitHub does not answer is taken again sooner, and covers the time of both.
    """
    since, failed = time.time() - LISTED_SECONDS, 0
    while True:
        began = time.time()
        try:
            await fetch_missed(github, inbox, since=since)
        except (GitHubError, StoreError) as error:
            seconds = min(max(advised(error) or 0.0, pause(failed)), every)
            failed += 1
            log.warning("missed deliveries not fetched", error=str(error), seconds=round(seconds))
            await trio.sleep(seconds)
        else:
            since, failed = began - OVERLAP_SECONDS, 0
            await trio.sleep(every)


async def fetch_missed(github: GitHub, inbox: Inbox, *, since: float) -> int:
    """Put what GitHub delivered since a time, and the inbox has not, into the inbox, oldest first.

    Returns how many there were. What an earlier loop, with another database, answered is not ours.
    Raises GitHubError when GitHub can't be asked; what was fetched before is kept.
    """
    hook = github.hook
    attempts = await hook.attempts(since)
    known = await inbox.store.known_deliveries({attempt.guid for attempt in attempts})
    taken = 0
    for attempt in missed(attempts, known | _others(attempts, await inbox.store.born())):
        try:
            body = await hook.body(attempt)
            taken += await inbox.take(attempt.guid, attempt.event, body)
        except (GitHubError, MalformedEvent) as error:
            if isinstance(error, GitHubError) and error.passing:
                raise
            log.error("missed delivery not fetched", delivery=attempt.guid, error=str(error))
    log.info("missed deliveries fetched", listed=len(attempts), fetched=taken)
    return taken


def _others(attempts: Sequence[Attempt], born: float) -> set[str]:
    """The deliveries that were taken before our database was made: by another loop."""
    return {attempt.guid for attempt in attempts if attempt.arrived and attempt.delivered_at < born}
