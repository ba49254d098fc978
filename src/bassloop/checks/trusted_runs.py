"""The effect of a trusted runner's answer on the check that it confirms, and on its own check run."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from bassloop.checks.conclude import Ending
from bassloop.lifecycle import RunState
from bassloop.trust.envelope import SignedStatement
from bassloop.trust.errors import UntrustedStatement
from bassloop.trust.statement import FAILED

if TYPE_CHECKING:
    from collections.abc import Collection

    from bassloop.checks.context import DeliveryContext
    from bassloop.checks.loop import CheckHandle, Loop
    from bassloop.store import Run

EARLIER_RUNS = 50
"""The newest runs of a check of a head that are searched for a contrary answer."""

_RANDOM = random.SystemRandom()


def combine(ending: Ending, run: Run, verification: Run, url: str) -> Ending:
    """Return how a check ends that a trusted runner has run too. Pure.

    It succeeds only if both did.

    Args:
        ending: how it ended on its sender's runner.
        verification: the trusted runner's run, which has ended.
        url: the address of the verification's page.
    """
    sender = run.runner_login or run.login
    if verification.state not in (RunState.SUCCEEDED, RunState.FAILED):
        if ending.state != RunState.SUCCEEDED:
            return ending
        why = verification.message or verification.state.replace("_", " ")
        message = f"it passed on {sender}'s runner, and no trusted runner has verified that: {why} ({url})"
        return Ending(RunState.ACTION_REQUIRED, message)
    trusted = verification.runner_login or "a trusted runner"
    if ending.state == verification.state:
        message = f"verified by {trusted}: same thunk, same outcome ({url})"
        return Ending(
            ending.state, "\n".join(filter(None, (ending.message, message))), ending.output
        )
    if ending.state == RunState.SUCCEEDED:
        message = (
            f"differs: it passed on {sender}'s runner, and the same thunk failed on {trusted}'s ({url}): "
            f"{verification.message or 'it gave no reason'}"
        )
        return Ending(RunState.FAILED, message)
    if ending.state == RunState.FAILED:
        message = f"differs: the same thunk passed on {trusted}'s runner ({url})"
        return Ending(
            ending.state, "\n".join(filter(None, (ending.message, message))), ending.output
        )
    return ending


def compare(ending: Ending, run: Run, earlier: Run, url: str) -> Ending:
    """Return how a check ends that a trusted runner has run at somebody's request. Pure.

    Args:
        ending: how it ended on the trusted runner.
        run: the trusted runner's run.
        earlier: the run that it is to confirm, which ended as succeeded or failed.
        url: the address of the earlier run's page.
    """
    if ending.state not in (RunState.SUCCEEDED, RunState.FAILED):
        return ending
    trusted, sender = run.runner_login or "a trusted runner", earlier.runner_login or earlier.login
    if ending.state == earlier.state:
        message = f"verified by {trusted}: same thunk, same outcome as on {sender}'s runner ({url})"
        return _with_message(ending, message)
    if ending.state == RunState.FAILED:
        message = f"differs: it passed on {sender}'s runner ({url}), and the same thunk failed on {trusted}'s"
        return _with_message(ending, message)
    message = (
        f"differs: it failed on {sender}'s runner ({url}), and the same thunk passed on {trusted}'s"
    )
    return _with_message(ending, message)


def _with_message(ending: Ending, message: str) -> Ending:
    return replace(ending, message="\n".join(filter(None, (message, ending.message))))


async def confirmed_by(
    context: DeliveryContext, ending: Ending, run: Run, handle: CheckHandle, thunk: str
) -> Ending:
    """Wait for the check that verifies a run, and return how the run's check ends with regard to it.

    Args:
        ending: how it ended on its sender's runner.
        thunk: the SHA-256 of the run's thunk.
    """
    loop = context.loop
    context.slot.release()
    await handle.finished.wait()
    context.note_retryable(handle.retryable_error)
    verification = await loop.store.runs.get(handle.run.id)
    assert verification is not None
    url = loop.run_url(verification.id)
    combined = combine(ending, run, verification, url)
    is_signed = combined.state == RunState.SUCCEEDED and await has_signed_thunk(
        loop, verification, thunk
    )
    if combined.state == RunState.SUCCEEDED and not is_signed:
        message = f"the trusted runner ran another thunk ({url}); run the check again"
        combined = Ending(RunState.ACTION_REQUIRED, message)
    await _note(loop, run, verification, same=combined.state == ending.state)
    return combined


async def confirming(loop: Loop, ending: Ending, run: Run, earlier: Run) -> Ending:
    """Return how a trusted runner's run ends that is to confirm an earlier one."""
    compared = compare(ending, run, earlier, loop.run_url(earlier.id))
    if compared != ending:
        await _note(loop, earlier, run, same=ending.state == earlier.state)
    return compared


async def _note(loop: Loop, run: Run, verification: Run, *, same: bool) -> None:
    """Write a verification down."""
    action = "verified" if same else "not verified"
    about = f"{run.check_name}, in {verification.id}"
    await loop.store.journals.append(run, verification.runner_login or "nobody", action, about)


async def has_signed_thunk(loop: Loop, run: Run, thunk: str) -> bool:
    """Return whether a run's runner has signed that it ran the thunk with this SHA-256.

    A verification may be of an earlier event of the head, for which the hook made another thunk.
    """
    record = await loop.store.statements.get(run.id)
    if record is None or record.problem is not None:
        return False
    try:
        signed = SignedStatement.decode(record.payload, record.signature)
        return signed.statement().thunk == thunk
    except UntrustedStatement:
        return False


async def contrary_answer(loop: Loop, run: Run, trusted: Collection[str]) -> str | None:
    """Return the page of an earlier run of the same check, head and thunk that is signed as failed, or None.

    Args:
        trusted: the logins of the users whose word counts.
    """
    logins = {login.lower() for login in trusted}
    earlier = await loop.store.runs.newest(
        EARLIER_RUNS,
        public_only=False,
        repository=run.repository,
        head_sha=run.head_sha,
        check_name=run.check_name,
        thunk_digest=run.thunk_digest,
    )
    for each in earlier.items:
        if (each.runner_login or "").lower() not in logins:
            continue
        record = await loop.store.statements.get(each.id) if each.id != run.id else None
        if record is None or record.problem is not None:
            continue
        try:
            signed = SignedStatement.decode(record.payload, record.signature)
            if signed.statement().result == FAILED:
                return loop.run_url(each.id)
        except UntrustedStatement:
            continue
    return None


async def is_spot_checked(loop: Loop, run: Run, share: float) -> bool:
    """Return whether a run that succeeded is to be run by a trusted runner too.

    It is drawn when the outcome is known already, so that nobody can behave for it. A head's check is drawn
    once: it can't be run again until the draw is another.
    """
    if share <= 0:
        return False
    drawn = _RANDOM.random() < share
    return await loop.store.heads.draw_spot_check(
        run.repository_id, run.head_sha, run.check_name, drawn
    )
