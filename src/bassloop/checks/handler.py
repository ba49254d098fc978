"""One delivery, from its payload to the end of its last check."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop import store
from bassloop.access.policy import OWNERS_FILE, Policy, PolicyError
from bassloop.access.runner_choice import RunnerChoice, choose_runners, hold_reason
from bassloop.checks import check_output
from bassloop.checks.actions import NotAllowed, allow, approve, request_cancel
from bassloop.checks.context import Work
from bassloop.checks.hook import PROJECT, SCRIPT, run_hook
from bassloop.checks.notice import tell
from bassloop.checks.supersede import supersede
from bassloop.deliveries.inbox import Outcome
from bassloop.deliveries.routing import Route, Routing, route_event
from bassloop.github import Event, GitHubError, GitHubRepository, Head, User, parse_event

if TYPE_CHECKING:
    from bassloop.checks.loop import Loop
    from bassloop.deliveries.inbox import Slot

log = structlog.get_logger(__name__)

OWN_CHECKS = frozenset({PROJECT, SCRIPT, OWNERS_FILE, check_output.APPROVAL})
"""Check runs by which the loop says something itself."""

WRITERS = frozenset({"admin", "maintain", "write"})


async def handle_delivery(loop: Loop, delivery: store.Delivery, slot: Slot) -> Outcome:
    """Handle a delivery; returns when its hook and all its checks are over, and ends its turn when the
    hook only waits for them.

    What a script does wrong is told on its check run and is a delivery done. Raises for what another
    attempt may mend: GitHub out of reach, a full disk.
    """
    payload = await trio.to_thread.run_sync(json.loads, delivery.body)
    event = parse_event(delivery.event, payload)
    await loop.visibility.apply_event(event)
    routing = route_event(event, app_id=loop.app_id)
    log.info(
        "delivery decided", event_name=event.name, action=event.action, route=routing.route.value
    )
    if routing.route is Route.IGNORE:
        return Outcome("ignored", routing.why)
    if routing.route is Route.LOOP:
        return Outcome("done", routing.why)
    if loop.app_id is None:
        return Outcome("ignored", "no GitHub App is set (GITHUB_APP_ID), so no hook can run")
    if routing.route is Route.BUTTON:
        outcome = await _pressed(loop, event)
        if outcome is not None:
            return outcome
        event, routing = _as_rerun(event), replace(routing, route=Route.HOOK, rerun=True)
    return await _hook(loop, delivery, event, routing, slot)


def _own_check(event: Event) -> str | None:
    """The check of the loop's own that an event wants again; None when it wants one of the script's."""
    subject = event.payload.get("check_run")
    name = subject.get("name") if isinstance(subject, dict) else None
    wanted = (event.name, event.action) == ("check_run", "rerequested")
    return str(name) if wanted and name in OWN_CHECKS else None


def _as_suite(event: Event) -> Event:
    """The event that wants all checks of a head again, for one that wants what no script has a check for."""
    assert event.head is not None
    subject = event.payload["check_run"]
    suite = subject.get("check_suite")
    payload = {name: part for name, part in event.payload.items() if name != "check_run"}
    payload["check_suite"] = {**(suite or {}), "head_sha": event.head.sha}
    return replace(event, name="check_suite", payload=payload)


async def _pressed(loop: Loop, event: Event) -> Outcome | None:
    """Do what a button on one of our check runs asks for; None when it asks for the check again."""
    assert event.sender is not None
    pressed = event.payload.get("requested_action")
    button = pressed.get("identifier") if isinstance(pressed, dict) else None
    subject = event.payload.get("check_run")
    number = subject.get("id") if isinstance(subject, dict) else None
    check = await loop.store.check_run_by_github_id(number) if isinstance(number, int) else None
    run = await loop.store.run(check.run_id) if check is not None else None
    if check is None or run is None:
        return Outcome("ignored", "the button is of a check run that is not known here")
    try:
        match button:
            case check_output.CANCEL.identifier:
                done = await request_cancel(loop, run.id, event.sender)
                return Outcome("done", None if done else "the run was over already")
            case check_output.APPROVE.identifier:
                released = await approve(loop, run.id, event.sender)
                return Outcome("done", f"approved by {event.sender.login}", tuple(released))
            case check_output.RERUN.identifier:
                await allow(loop, check, event.sender, "run this check again", own=run)
                return None
    except NotAllowed as error:
        return Outcome("ignored", str(error))
    return Outcome("ignored", "there is no such button")


def _as_rerun(event: Event) -> Event:
    """The event that GitHub sends for its own button to run a check again."""
    payload = {name: part for name, part in event.payload.items() if name != "requested_action"}
    action = "rerequested"
    return replace(event, action=action, payload={**payload, "action": action})


async def _hook(
    loop: Loop, delivery: store.Delivery, event: Event, routing: Routing, slot: Slot
) -> Outcome:
    """Find out what holds for the event's head, and evaluate the hook for it."""
    if (rerun_of := _own_check(event)) is not None:
        event = _as_suite(event)
    assert event.repository is not None
    repository = event.repository
    repo = loop.github.repository(event.installation_id or 0, repository.owner, repository.name)
    loop.policies.apply_event(event)
    policy, unusable = Policy(), ""
    try:
        policy = await loop.policies.policy_for(repository, repo)
    except PolicyError as error:
        unusable = str(error)
    if routing.route is Route.DEFAULT_BRANCH_HOOK:
        if event.name not in policy.events:
            return Outcome("ignored", f"{event.name} is not among the events of {OWNERS_FILE}")
        event = replace(
            event, head=Head(await repo.head_of(), repository.default_branch, fork=False)
        )
    assert event.head is not None
    choice = await _choose(loop, event, policy, repo)
    hook_at = await _hook_at(event.head, choice, policy, repo)
    await supersede(loop, event, policy)
    # What keeps hook or checks from running is noted, and raised outside of the nursery, which would
    # wrap it.
    with ExitStack() as over:
        async with trio.open_nursery() as checks:
            work = Work(
                loop=loop,
                event=event,
                delivery=delivery.guid,
                received_at=delivery.received_at,
                rerun=routing.rerun,
                rerun_of=rerun_of,
                choice=choice,
                policy=policy,
                hook_at=hook_at,
                repo=repo,
                checks=checks,
                slot=slot,
            )
            if unusable:
                await tell(work, OWNERS_FILE, unusable)
                return Outcome("done", unusable)
            if rerun_of == OWNERS_FILE:
                await tell(work, OWNERS_FILE, "It can be used now.", state="succeeded")
            # From here on an approval finds the work; what came before is looked up after that.
            loop.at_work.add(work)
            over.callback(loop.at_work.discard, work)
            await _look_up_approval(work)
            if (held := await _held(work)) is not None:
                return Outcome("held", held)
            try:
                await run_hook(work)
            except GitHubError as error:
                work.trouble = error
            slot.release()
    if work.trouble is not None:
        raise work.trouble
    return Outcome("done")


async def _choose(loop: Loop, event: Event, policy: Policy, repo: GitHubRepository) -> RunnerChoice:
    """Whose head it is, and whose runtimes are used, before anybody's approval: the author's, or the
    sender's and the fallbacks'."""
    assert event.head is not None
    assert event.repository is not None
    pulls = await repo.open_pull_requests(event.head.sha) if event.head.fork is None else ()
    choice = choose_runners(event, pulls)
    if not choice.fork and policy.fallback:
        choice = choice.with_fallback(await _fallbacks(loop, policy, repo))
    for user in {user.id: user for user in (event.sender, choice.owner) if user}.values():
        await loop.store.put_user(store.User(user.id, user.node_id, user.login))
    return choice


async def _fallbacks(loop: Loop, policy: Policy, repo: GitHubRepository) -> list[User]:
    """Those of the named whose runners may be used. Whom the owners named must be able to write to the
    repository: that is how they agreed to what it runs."""
    found = []
    for each in policy.fallback:
        user = await loop.github.user(each.login)
        if user is None:
            log.warning("fallback is nobody", login=each.login)
        elif not each.trusted and await repo.permission(each.login, user_id=user.id) not in WRITERS:
            log.warning("fallback may not write to the repository", login=each.login)
        else:
            found.append(user)
    return found


async def _hook_at(head: Head, choice: RunnerChoice, policy: Policy, repo: GitHubRepository) -> str:
    """The commit whose hook is evaluated: the head, or for a fork's the branch that it is for."""
    if policy.hooks_from == "head" or not choice.fork:
        return head.sha
    return await repo.head_of(choice.base)


async def _look_up_approval(work: Work) -> None:
    """Let a fork's head run on the runtimes of whoever approved it, if somebody has."""
    if work.choice.fork:
        approval = await work.loop.store.approval(work.repository.id, work.head.sha)
        if approval is not None:
            work.choice = work.choice.approved(User(approval.user_id, "", approval.login))


async def _held(work: Work) -> str | None:
    """Why nothing may be evaluated for a head before somebody approves it; None when it may.

    Either way its check run says so.
    """
    why = hold_reason(work.choice, work.policy.hold)
    if why is None:
        return None
    if work.choice.approver is None:
        await tell(work, check_output.APPROVAL, why, state="action_required")
        return why
    approved = f"{work.choice.approver.login} approved this head"
    await tell(work, check_output.APPROVAL, approved, state="succeeded")
    return None
