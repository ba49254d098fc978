"""Handling one delivery, from its payload to the end of its last check."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from bassloop import store
from bassloop.access.policy import Policy, PolicyError
from bassloop.access.policy_lookup import FoundUsers
from bassloop.access.runner_choice import RunnerChoice, choose_runners
from bassloop.checks import check_output
from bassloop.checks.check_request import verifiable_run
from bassloop.checks.delivery_context import DeliveryContext
from bassloop.checks.hook import HOOK_FILES, run_hook
from bassloop.checks.loop_state import ActiveHead
from bassloop.checks.notices import hold_for_approval, post_notice
from bassloop.checks.starting import verify_run
from bassloop.checks.supersede import supersede, why_superseded
from bassloop.checks.user_actions import NotAllowed, approve_head, cancel_run, require_writer
from bassloop.concurrency import open_flat_nursery, run_all
from bassloop.deliveries.inbox import Outcome
from bassloop.deliveries.routing import Route, Routing, route_event
from bassloop.evaluator.messages import PayloadEdit
from bassloop.github import Event, GitHubError, Head, Purpose, RepositoryClient, User, spending
from bassloop.lifecycle import DeliveryState, RunState
from bassloop.repository_files import CONFIG_FILE, PROJECT, SCRIPT

if TYPE_CHECKING:
    from bassloop.checks.loop_state import LoopState
    from bassloop.deliveries.inbox import Slot

log = structlog.get_logger(__name__)

OWN_CHECKS = frozenset(
    {PROJECT, SCRIPT, CONFIG_FILE, check_output.APPROVAL, check_output.SUPERSEDED}
)
"""The names of the loop's own check runs."""


async def handle_delivery(loop: LoopState, delivery: store.Delivery, slot: Slot) -> Outcome:
    """Handle a delivery. Returns when its hook and all its checks are over.

    The head is unblocked when only waiting for checks is left. A hook's errors are reported on its check run, and
    don't affect the delivery. Raises if another attempt may succeed, for example when GitHub is down or the disk is
    full.
    """
    event = await loop.read_event(delivery)
    await loop.visibility.apply_event(event)
    routing, edit = route_event(event, app_id=loop.app_id), PayloadEdit.NONE
    log.info(
        "delivery decided", event_name=event.name, action=event.action, route=routing.route.value
    )
    if routing.route is Route.IGNORE:
        return Outcome(DeliveryState.IGNORED, routing.why)
    if routing.route is Route.LOOP:
        return Outcome(DeliveryState.DONE, routing.why)
    if loop.app_id is None:
        return Outcome(
            DeliveryState.IGNORED, "no GitHub App is set (GITHUB_APP_ID), so no hook can run"
        )
    if routing.route is Route.BUTTON:
        with spending(Purpose.PEOPLE):
            outcome = await _press_button(loop, event)
        if isinstance(outcome, Outcome):
            return outcome
        if isinstance(outcome, store.Run):
            routing = Routing(Route.HOOK, routing.why, rerun=True)
            return await _handle_hook(loop, delivery, event, routing, slot, earlier=outcome)
        # The rest is the same as for GitHub's own button to run a check again.
        event, edit = replace(event, action="rerequested"), PayloadEdit.CHECK_RERUN
        routing = Routing(Route.HOOK, routing.why, rerun=True)
    return await _handle_hook(loop, delivery, event, routing, slot, edit)


async def _press_button(loop: LoopState, event: Event) -> Outcome | store.Run | None:
    """Perform the action of a button on one of the loop's check runs.

    Return the outcome; None if the check has to run again; or the run that a trusted runner should confirm.
    """
    assert event.sender is not None
    number = event.check.id if event.check else None
    check_run = await loop.store.checks.by_github_id(number) if number is not None else None
    run = await loop.store.runs.get(check_run.run_id) if check_run is not None else None
    if check_run is None or run is None:
        return Outcome(
            DeliveryState.IGNORED, "the button belongs to a check run that is not known here"
        )
    try:
        match event.button:
            case check_output.CANCEL.identifier:
                cancelled = await cancel_run(loop, run.id, event.sender)
                return Outcome(
                    DeliveryState.DONE, None if cancelled else "the run was over already"
                )
            case check_output.APPROVE.identifier:
                approved = await approve_head(loop, run.id, event.sender)
                return Outcome(
                    DeliveryState.DONE, f"approved by {event.sender.login}", tuple(approved)
                )
            case check_output.RERUN.identifier:
                await require_writer(loop, check_run, event.sender, "run this check again", own=run)
                return None
            case check_output.VERIFY.identifier:
                await require_writer(loop, check_run, event.sender, "have this check verified")
                if (confirmed := await verifiable_run(loop, run, check_run)) is not None:
                    return confirmed
                why = "no trusted runner can verify this run: none is named, or the run has no outcome"
                return Outcome(DeliveryState.IGNORED, why)
    except NotAllowed as error:
        return Outcome(DeliveryState.IGNORED, str(error))
    return Outcome(DeliveryState.IGNORED, "there is no such button")


def _rerun_of(event: Event) -> str | None:
    """Return the loop's own check that an event asks to run again, or None if it's one of the hook's."""
    rerun = (event.name, event.action) == ("check_run", "rerequested")
    name = event.check.name if event.check else None
    own = name is not None and (name in OWN_CHECKS or check_output.is_verification(name))
    return name if rerun and own else None


async def _handle_hook(
    loop: LoopState,
    delivery: store.Delivery,
    event: Event,
    routing: Routing,
    slot: Slot,
    edit: PayloadEdit = PayloadEdit.NONE,
    earlier: store.Run | None = None,
) -> Outcome:
    """Determine the policy and the runners for the event's head, and run the hook.

    Args:
        edit: the change to make to the payload that the hook gets.
        earlier: the run that a trusted runner should confirm. Then no hook runs.
    """
    rerun_of = _rerun_of(event)
    if rerun_of is not None:
        # No hook knows the loop's own check, so it is asked for all checks of the head.
        event, edit = replace(event, name="check_suite"), PayloadEdit.SUITE_RERUN
    assert event.repository is not None
    repository = event.repository
    repo = loop.github.repository(event.installation_id or 0, repository.owner, repository.name)
    if loop.policies.apply_event(event):
        await loop.store.notifications.publish(store.Topic.POLICIES, str(repository.id))
    replaced = None
    if not routing.rerun and not await loop.store.runs.delivery_has_any(delivery.guid):
        replaced = await why_superseded(loop, event, delivery.received_at)
    policy, unusable = Policy(), ""

    async def read_policy() -> None:
        nonlocal policy, unusable
        try:
            policy = await loop.policies.policy_for(repository, repo)
        except PolicyError as error:
            unusable = str(error)

    async def read_hooks() -> None:
        """Prefetch the hook's files, unless it isn't known yet which hook will run."""
        head = event.head
        if head is not None and not head.fork and replaced is None:
            await loop.hook_files.read_all(repository.id, repo, head.sha, HOOK_FILES)

    await run_all([read_policy, read_hooks])
    if routing.route is Route.DEFAULT_BRANCH_HOOK:
        if event.name not in policy.events:
            return Outcome(
                DeliveryState.IGNORED, f"{event.name} is not among the events of {CONFIG_FILE}"
            )
        sha = await repo.head_of()
        event = replace(event, head=Head(sha, repository.default_branch, fork=False))
    assert event.head is not None
    skipped, trusted = replaced if policy.supersede else None, FoundUsers()
    if skipped is None:
        choice = await choose_runners_of_head(loop, event, policy, repo)
        trusted = await loop.named_users.find(policy.trust.runners, repo)
        hook_sha = await _hook_sha(event.head, choice, policy, repo)
    else:  # without a call to GitHub, except the one that says so
        choice, hook_sha = choose_runners(event, ()), event.head.sha
    await _remember_users(loop, event, choice)
    await supersede(loop, event, policy)
    active = ActiveHead(repository.id, event.head.sha, choice)
    with ExitStack() as deactivate:
        async with open_flat_nursery() as nursery:
            context = DeliveryContext(
                loop=loop,
                event=event,
                delivery=delivery.guid,
                received_at=delivery.received_at,
                rerun=routing.rerun,
                rerun_of=rerun_of,
                active=active,
                policy=policy,
                hook_sha=hook_sha,
                repo=repo,
                nursery=nursery,
                slot=slot,
                trusted=trusted.users,
                not_trusted=trusted.problems,
            )
            if skipped is not None:
                name = check_output.SUPERSEDED
                await post_notice(context, name, skipped, state=RunState.CANCELLED)
                return Outcome(DeliveryState.DONE, skipped)
            if unusable:
                await post_notice(context, CONFIG_FILE, unusable)
                return Outcome(DeliveryState.DONE, unusable)
            if rerun_of == CONFIG_FILE:
                await post_notice(
                    context, CONFIG_FILE, "It can be used now.", state=RunState.SUCCEEDED
                )
            # From here on, an approval reaches this head. One from before is looked up afterwards.
            loop.active_heads.add(active)
            deactivate.callback(loop.active_heads.discard, active)
            await apply_approval(context)
            if earlier is None and (why := await hold_for_approval(context)) is not None:
                return Outcome(DeliveryState.HELD, why)
            if earlier is None and await _hand_over(context):
                return Outcome(DeliveryState.RECEIVED, is_handed_over=True)
            try:
                if earlier is None:
                    await run_hook(context, edit)
                else:
                    await verify_run(context, earlier)
            except GitHubError as error:
                # Raising it here would cancel the checks that the hook has started.
                context.note_retryable(error)
            slot.unblock_head()
    if context.is_handed_over:
        return Outcome(DeliveryState.RECEIVED, is_handed_over=True)
    if context.retryable_error is not None:
        raise context.retryable_error
    return Outcome(DeliveryState.DONE)


async def choose_runners_of_head(
    loop: LoopState, event: Event, policy: Policy, repo: RepositoryClient
) -> RunnerChoice:
    """Choose the runners that the head may use without an approval, including fallbacks."""
    assert event.head is not None
    pulls = await repo.open_pull_requests(event.head.sha) if event.head.fork is None else ()
    choice = choose_runners(event, pulls)
    if not choice.fork and policy.fallback:
        found = await loop.named_users.find(policy.fallback, repo)
        choice = choice.with_fallback(found.users)
    return choice


async def _hand_over(context: DeliveryContext) -> bool:
    """Leave a delivery to the node to which its users' runners are connected, unless one is connected to this node."""
    loop = context.loop
    if not loop.store.nodes.own_id or context.connected_runtime(None) is not None:
        return False
    node = await loop.other_runtimes.find(context.runner_ids(trusted=False), None)
    return node is not None and await loop.store.deliveries.hand_over(context.delivery, node)


async def _remember_users(loop: LoopState, event: Event, choice: RunnerChoice) -> None:
    """Store the event's sender, and the users whose runners its head uses."""
    for user in {user.id: user for user in (event.sender, choice.owner) if user}.values():
        await loop.store.users.put(store.User(user.id, user.node_id, user.login))


async def _hook_sha(
    head: Head, choice: RunnerChoice, policy: Policy, repo: RepositoryClient
) -> str:
    """Return the commit whose hook runs: the head or, for a fork's, that of the base or default branch."""
    if policy.hooks_from == "head" or not choice.fork:
        return head.sha
    return await repo.head_of(choice.base if policy.hooks_from == "base" else None)


async def apply_approval(context: DeliveryContext) -> None:
    """Let a fork's head use the runners of whoever has approved it."""
    active = context.active
    if active.choice.fork:
        approval = await context.loop.store.heads.approval(active.repository_id, active.sha)
        if approval is not None:
            by = User(approval.user_id, "", approval.login)
            active.choice = active.choice.approved(by)
