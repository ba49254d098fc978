"""Checks that other nodes hand over to this one, because a runner that may run them is connected here.

The other node keeps handling the delivery, and waits for the run to end. If the runner is gone before the run began,
the other node gets the run back.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.checks.check import CheckTask
from bassloop.checks.delivery_context import DeliveryContext
from bassloop.checks.delivery_handler import apply_approval, choose_runners_of_head
from bassloop.checks.handover import HandoverRequest
from bassloop.checks.loop_state import ActiveHead, CheckHandle
from bassloop.checks.starting import request_again, start_verification
from bassloop.concurrency import open_flat_nursery
from bassloop.deliveries.inbox import Slot
from bassloop.github import Head
from bassloop.lifecycle import RunState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.checks.loop_state import LoopState
    from bassloop.store import Delivery, Run

log = structlog.get_logger(__name__)

RETRY_SECONDS = 5.0
"""How long a run is kept that can't be executed now, for example because GitHub is down, before it is given back."""


async def run_handed_over(loop: LoopState, body: Mapping[str, str]) -> None:
    """Run a check for another node. If that fails, the run is given back."""
    run_id = body["run"]
    with structlog.contextvars.bound_contextvars(run=run_id):
        try:
            await _run_handed_over(loop, run_id, HandoverRequest.from_body(body))
        except Exception:  # one check's failure must not affect others; its delivery tries again
            log.exception("check of another node not run")
            await trio.sleep(RETRY_SECONDS)
            await loop.store.runs.hand_back(run_id)


async def _run_handed_over(loop: LoopState, run_id: str, request: HandoverRequest) -> None:
    store = loop.store
    run, check_run = await store.runs.get(run_id), await store.checks.of_run(run_id)
    is_ours = run is not None and run.node == store.nodes.own_id and run.state == RunState.QUEUED
    if run is None or check_run is None or not is_ours or run_id in loop.active_checks:
        return
    delivery = await store.deliveries.get(run.delivery)
    if delivery is None or not loop.pool.is_offering:
        await store.runs.hand_back(run_id)
        return
    handle = loop.active_checks[run_id] = CheckHandle(run)
    is_begun = False
    try:
        async with open_flat_nursery() as nursery:
            context = await _context(loop, delivery, request, nursery)
            requested = replace(await request_again(context, run), limit=request.limit)
            earlier = await store.runs.get(request.earlier) if request.earlier else None
            verification = None
            if request.verification is not None:
                verification = await _follow(loop, request.verification, nursery)
            check = CheckTask(
                context=context,
                check_run=check_run,
                request=requested,
                needs=(),
                handle=handle,
                start_verification=partial(start_verification, context, requested),
                trusted=request.trusted,
                verification=verification,
                earlier=earlier,
                sources={name: await _ended(loop, each) for name, each in request.sources.items()},
                is_handed_over=True,
            )
            is_begun = True
            loop.active_heads.add(context.active)
            try:
                await check.run(created=False)
            finally:
                loop.active_heads.discard(context.active)
            nursery.cancel_scope.cancel()
    finally:
        if not is_begun:
            del loop.active_checks[run_id]
            handle.finished.set()


async def _context(
    loop: LoopState, delivery: Delivery, request: HandoverRequest, nursery: trio.Nursery
) -> DeliveryContext:
    event = await loop.read_event(delivery)
    assert event.repository is not None, "a delivery with a check has one"
    repository = event.repository
    if event.head is None:
        event = replace(event, head=Head(request.head, repository.default_branch, fork=False))
    event = replace(event, name=request.event, action=request.action)
    assert event.head is not None
    repo = loop.github.repository(event.installation_id or 0, repository.owner, repository.name)
    policy = await loop.policies.policy_for(repository, repo)
    choice = await choose_runners_of_head(loop, event, policy, repo)
    trusted = await loop.named_users.find(policy.trust.runners, repo)
    context = DeliveryContext(
        loop=loop,
        event=event,
        delivery=delivery.guid,
        received_at=delivery.received_at,
        rerun=request.rerun,
        rerun_of=request.rerun_of,
        active=ActiveHead(repository.id, event.head.sha, choice),
        policy=policy,
        hook_sha=request.hook_sha,
        repo=repo,
        nursery=nursery,
        slot=Slot(_nothing, _nothing),
        trusted=trusted.users,
        not_trusted=trusted.problems,
    )
    await apply_approval(context)
    return context


def _nothing() -> None:
    """Do nothing: the other node holds the delivery's slot."""


async def _ended(loop: LoopState, run_id: str) -> CheckHandle:
    """Return the handle of a run that has ended."""
    run = await loop.store.runs.get(run_id)
    assert run is not None, "a run whose artifacts are used is kept"
    handle = CheckHandle(run)
    handle.finished.set()
    return handle


async def _follow(loop: LoopState, run_id: str, nursery: trio.Nursery) -> CheckHandle:
    """Return the handle of a run that the other node has started."""
    run: Run | None = await loop.store.runs.get(run_id)
    assert run is not None, "a run that is waited for is kept"
    handle = loop.active_checks.get(run_id) or CheckHandle(run)

    async def follow() -> None:
        handle.run = await loop.other_runs.wait_for_end(run_id)
        handle.finished.set()

    if run_id not in loop.active_checks:
        nursery.start_soon(follow)
    return handle
