"""Notices: the loop's own check runs.

A hook that failed, a head that waits for approval, or a policy file that can't be used is stored as a run without a
command, and shown as a check run.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from bassloop.access.runner_choice import hold_reason
from bassloop.checks.check_output import APPROVAL, HOOK
from bassloop.checks.conclude import conclude, end_run
from bassloop.checks.recorder import recording
from bassloop.lifecycle import CheckState, RunState
from bassloop.store import StoreConflict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bassloop.checks.delivery_context import DeliveryContext
    from bassloop.wire import progrock_pb2


async def post_notice(
    context: DeliveryContext,
    name: str,
    message: str,
    output: str = "",
    *,
    state: RunState = RunState.FAILED,
    progress: Iterable[progrock_pb2.StatusUpdate] = (),
) -> None:
    """Post a notice, once for an event, however often that is handled. Raises StoreError.

    Args:
        name: the check run's name.
        output: the hook's log.
        state: the run's final state.
        progress: the runners' updates about thunks that the hook ran itself.
    """
    loop = context.loop
    check_run, created = await loop.store.checks.get_or_create(
        repository_id=context.repository.id,
        repository=context.repository.full_name,
        installation_id=context.event.installation_id or 0,
        head_sha=context.head.sha,
        name=name,
        delivery=context.delivery,
        rerun=context.rerun,
        run=context.new_run(name, context.head.sha, None),
    )
    is_another = check_run.delivery != context.delivery or check_run.state == CheckState.CONCLUDED
    if not created and is_another:
        return
    run = await loop.store.runs.get(check_run.run_id)
    assert run is not None
    if not run.ended:
        quota = loop.quotas.of_run(run)
        async with recording(loop.store, loop.live_runs, run.id, quota) as recorder:
            with suppress(StoreConflict):  # keeps what was written before a crash
                for update in progress:
                    await recorder.record(update)
                error = None if state == RunState.SUCCEEDED else message
                text = f"{output}{message}\n"
                await recorder.add_step(f"{HOOK}{name}", f"[hook] {name}", text, error=error)
        run = await end_run(loop, run.id, state, message)
    await conclude(loop, run)


async def hold_for_approval(context: DeliveryContext) -> str | None:
    """Return why a head needs an approval before anything runs, or None if it may run.

    If the policy holds heads like this one, a notice is posted in both cases.
    """
    why = hold_reason(context.choice, context.policy.hold)
    if why is None:
        return None
    approver = context.choice.approver
    if approver is None:
        await post_notice(context, APPROVAL, why, state=RunState.ACTION_REQUIRED)
        return why
    message = f"{approver.login} approved this head"
    await post_notice(context, APPROVAL, message, state=RunState.SUCCEEDED)
    return None
