"""One delivery, from its payload to the end of its last check."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop import store
from bassloop.dispatch.events import Decision, Does, decide
from bassloop.dispatch.hook import run_hook
from bassloop.dispatch.inbox import Outcome
from bassloop.dispatch.supersede import supersede
from bassloop.dispatch.whose import whose_runtimes
from bassloop.dispatch.work import Work
from bassloop.github import Event, GitHubError, parse_event

if TYPE_CHECKING:
    from bassloop.dispatch.inbox import Turn
    from bassloop.dispatch.loop import Loop

log = structlog.get_logger(__name__)


async def handle_delivery(loop: Loop, delivery: store.Delivery, turn: Turn) -> Outcome:
    """Handle a delivery; returns when its hook and all its checks are over, and ends its turn when the
    hook only waits for them.

    What a script does wrong is told on its check run and is a delivery done. Raises for what another
    attempt may mend: GitHub out of reach, a full disk.
    """
    payload = await trio.to_thread.run_sync(json.loads, delivery.body)
    event = parse_event(delivery.event, payload)
    decision = decide(event, app_id=loop.app_id)
    log.info(
        "delivery decided", event_name=event.name, action=event.action, does=decision.does.value
    )
    if decision.does is Does.NOTHING:
        return Outcome("ignored", decision.why)
    if decision.does is Does.LOOP:
        return Outcome("done", decision.why)
    if loop.app_id is None:
        return Outcome("ignored", "no GitHub App is set (GITHUB_APP_ID), so no hook can run")
    await _hook(loop, delivery, event, decision, turn)
    return Outcome("done")


async def _hook(
    loop: Loop, delivery: store.Delivery, event: Event, decision: Decision, turn: Turn
) -> None:
    assert event.repository is not None
    assert event.head is not None
    assert event.sender is not None
    repository = event.repository
    repo = loop.github.repository(event.installation_id or 0, repository.owner, repository.name)
    pulls = await repo.open_pull_requests(event.head.sha) if event.head.fork is None else ()
    whose = whose_runtimes(event, pulls)
    for user in {
        event.sender.id: event.sender,
        (whose.user or event.sender).id: whose.user,
    }.values():
        if user is not None:
            await loop.store.put_user(store.User(user.id, user.node_id, user.login))
    await supersede(loop, event)
    # What keeps hook or checks from running is noted, and raised outside of the nursery, which would
    # wrap it.
    async with trio.open_nursery() as checks:
        work = Work(
            loop=loop,
            event=event,
            delivery=delivery.guid,
            received_at=delivery.received_at,
            rerun=decision.rerun,
            whose=whose,
            repo=repo,
            checks=checks,
            turn=turn,
        )
        try:
            await run_hook(work)
        except GitHubError as error:
            work.trouble = error
        turn.end()
    if work.trouble is not None:
        raise work.trouble
