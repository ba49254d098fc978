"""The effect of a trusted runner's answer on the check that it confirms, and on its own check run."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from bassloop.checks.conclude import Ending
from bassloop.lifecycle import RunState
from bassloop.trust.envelope import SignedStatement
from bassloop.trust.errors import UntrustedStatement
from bassloop.trust.statement import FAILED

if TYPE_CHECKING:
    from bassloop.checks.loop import Loop
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


async def contrary_answer(loop: Loop, run: Run) -> str | None:
    """Return the page of an earlier run of the same check, head and thunk that a runner has signed as failed."""
    earlier = await loop.store.runs.newest(
        EARLIER_RUNS,
        public_only=False,
        repository=run.repository,
        head_sha=run.head_sha,
        check_name=run.check_name,
        thunk_digest=run.thunk_digest,
    )
    for each in earlier.items:
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
