"""Whose word counts for a run: runners' signed statements, and the results of trusted runners.

A statement is checked against the loop's own observations, and stored. A trusted runner's result affects the check that
it confirms, and its own check run.
"""

from __future__ import annotations

import base64
import hashlib
import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from bassloop.access.policy import PolicyError
from bassloop.checks.check_output import VERIFICATION
from bassloop.checks.conclude import Ending
from bassloop.github import GitHubError
from bassloop.lifecycle import RunState
from bassloop.store import StatementRecord
from bassloop.trust import UntrustedStatement
from bassloop.trust.envelope import ExpectedRun, SignedStatement, check_signed
from bassloop.trust.sshsig import fingerprint
from bassloop.trust.statement import FAILED, PASSED, CallDigests
from bassloop.wire.conventions import digest_of_given

if TYPE_CHECKING:
    from bassloop.access.policy import OnDifference
    from bassloop.checks.delivery_context import DeliveryContext
    from bassloop.checks.loop_state import CheckHandle, LoopState
    from bassloop.runtimes import Runtime
    from bassloop.store import Run
    from bassloop.trust.statement import RunStatement


log = structlog.get_logger(__name__)

STATEMENT, SIGNATURE = "bassloop-statement-bin", "bassloop-signature-bin"
"""The keys of a runner's statement and its signature in the trailing metadata of a run's call."""


@dataclass(eq=False)
class CallObservation:
    """The loop's observations of one call to a runner, and the runner's statement at its end.

    Args:
        received: the digests of what the runner sent.
        given: the names and SHA-256 of other checks' artifacts that were sent to the runner.
        trailers: the trailing metadata.
        has_begun: whether the runner was asked to run the thunk.
    """

    received: CallDigests = field(default_factory=CallDigests)
    trailers: dict[str, str] = field(default_factory=dict)
    given: tuple[tuple[str, str], ...] = ()
    has_begun: bool = False


async def keep_statement(
    loop: LoopState, run: Run, thunk: str, runtime: Runtime, seen: CallObservation, *, passed: bool
) -> StatementRecord | None:
    """Check and store a runner's signed statement about an ended run. Return None if there is none.

    Args:
        thunk: the SHA-256 of the thunk that was sent.
    """
    if STATEMENT not in seen.trailers:
        return None
    expected = ExpectedRun(
        run=run.id,
        login=runtime.login,
        repository=run.repository,
        commit=run.head_sha,
        thunk=thunk,
        log=seen.received.log.hexdigest(),
        artifacts=seen.received.artifacts.listed(),
        given=digest_of_given(seen.given) if seen.given else None,
        passed=passed,
        key=runtime.key,
        at=time.time(),
    )
    record = StatementRecord(
        run_id=run.id,
        payload=_binary(seen.trailers, STATEMENT),
        signature=_binary(seen.trailers, SIGNATURE),
        login=runtime.login,
        fingerprint=fingerprint(runtime.key),
        received_at=time.time(),
        listed=False,
        listed_since=None,
        problem=None,
    )
    try:
        check_signed(SignedStatement.decode(record.payload, record.signature), expected)
        record = await _look_up_key(loop, runtime, record)
    except UntrustedStatement as error:
        log.warning("statement refused", run=run.id, login=runtime.login, why=str(error))
        record = replace(record, problem=str(error))
    await loop.store.statements.put(record)
    digest = hashlib.sha256(record.payload).hexdigest()
    about = f"statement {digest} with key {record.fingerprint}"
    if record.problem is not None:
        about = f"{about}, which is refused: {record.problem}"
    await loop.store.journals.append(run, runtime.login, "signed", about)
    return record


async def _look_up_key(
    loop: LoopState, runtime: Runtime, record: StatementRecord
) -> StatementRecord:
    """Return the record with GitHub's current answer about its key; unchanged, if GitHub gives no answer.

    Raises UntrustedStatement if GitHub doesn't list the key any more, or the login is somebody else's now.
    """
    try:
        user = await loop.github.user(runtime.login)
        lines = await loop.github.keys.keys(runtime.login)
    except GitHubError as error:
        log.warning("key not looked up for a statement", login=runtime.login, error=str(error))
        return record
    key = base64.b64encode(runtime.key).decode()
    if user is None or user.id != runtime.user_id:
        raise UntrustedStatement(f"the login {runtime.login} is somebody else's now")
    listed = next((line for line in lines if key in line.split()), None)
    if listed is None:
        raise UntrustedStatement(
            f"GitHub no longer lists the key {fingerprint(runtime.key)} for {runtime.login}"
        )
    return replace(
        record,
        listed=True,
        listed_since=loop.github.keys.listed_since(runtime.login, listed),
    )


def _binary(trailers: dict[str, str], name: str) -> bytes:
    """Decode binary metadata, which is base64 without padding; return b"" if it's invalid."""
    text = trailers.get(name, "")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""


FOUND_OUT_SECONDS = 30 * 86_400.0
"""How long all successes of somebody whose spot check differed are verified, in seconds."""

_ON_DIFFERENCE: dict[OnDifference, str] = {
    "fail": 'by this repository\'s policy, such a check fails ([trust] on_difference = "trust" takes the '
    "trusted runner's word)",
    "trust": "by this repository's policy, the trusted runner's word counts ([trust] on_difference)",
}

_RANDOM = random.SystemRandom()


def combine(
    ending: Ending,
    run: Run,
    verification: Run,
    url: str,
    on_difference: OnDifference,
    *,
    is_signed: bool = True,
) -> Ending:
    """Return how a check ends that a trusted runner has run as well.

    It succeeds if both runs did, or if the trusted runner's did and the policy believes that one.

    Args:
        ending: how it ended on its sender's runner.
        verification: the trusted runner's run, which has ended.
        url: the address of the verification's page.
        is_signed: whether the trusted runner has signed the outcome.
    """
    sender = run.runner_login or run.login
    if not is_signed or verification.state not in (RunState.SUCCEEDED, RunState.FAILED):
        if ending.state != RunState.SUCCEEDED:
            return ending
        why = verification.message or verification.state.replace("_", " ")
        message = f"it passed on {sender}'s runner, and no trusted runner has verified that: {why} ({url})"
        return Ending(RunState.ACTION_REQUIRED, message)
    trusted = verification.runner_login or "a trusted runner"
    if ending.state == verification.state:
        message = f"verified by {trusted}: same thunk, same outcome ({url})"
        return _with_message(ending, message, last=True)
    if ending.state == RunState.SUCCEEDED:
        message = (
            f"differs: it passed on {sender}'s runner, and the same thunk failed on {trusted}'s ({url}): "
            f"{verification.message or 'it gave no reason'}"
        )
        return Ending(RunState.FAILED, message)
    if ending.state == RunState.FAILED:
        message = (
            f"differs: it failed on {sender}'s runner, and the same thunk passed on {trusted}'s ({url}); "
            f"{_ON_DIFFERENCE[on_difference]}"
        )
        if on_difference == "trust":
            return Ending(RunState.SUCCEEDED, message)
        return _with_message(ending, message, last=True)
    return ending


def compare(
    ending: Ending, run: Run, earlier: Run, url: str, on_difference: OnDifference
) -> Ending:
    """Return how a check ends that a trusted runner has run at somebody's request.

    Args:
        ending: how it ended on the trusted runner.
        run: the trusted runner's run.
        earlier: the run that it should confirm, which succeeded or failed.
        url: the URL of the earlier run's page.
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
        f"differs: it failed on {sender}'s runner ({url}), and the same thunk passed on {trusted}'s; "
        f"{_ON_DIFFERENCE[on_difference]}"
    )
    if on_difference == "fail":
        ending = replace(ending, state=RunState.FAILED)
    return _with_message(ending, message)


def _with_message(ending: Ending, message: str, *, last: bool = False) -> Ending:
    parts = (ending.message, message) if last else (message, ending.message)
    return replace(ending, message="\n".join(filter(None, parts)))


async def confirmed_by(
    context: DeliveryContext, ending: Ending, run: Run, handle: CheckHandle, thunk: str
) -> Ending:
    """Wait for the check that verifies a run, and return how the run's check ends.

    Args:
        ending: how it ended on its sender's runner.
        thunk: the SHA-256 of the run's thunk.
    """
    loop = context.loop
    context.slot.unblock_head()
    await handle.finished.wait()
    context.note_retryable(handle.retryable_error)
    verification = await loop.store.runs.get(handle.run.id)
    assert verification is not None
    url = loop.run_url(verification.id)
    signed = await _signed_statement(loop, verification)
    combined = combine(
        ending,
        run,
        verification,
        url,
        context.policy.trust.on_difference,
        is_signed=_confirms(signed, verification.state),
    )
    if combined.state == RunState.SUCCEEDED:
        # It may belong to an earlier event of the head, for which the hook made a different thunk.
        if signed is None or signed.thunk != thunk:
            message = f"the trusted runner ran another thunk ({url}); run the check again"
            combined = Ending(RunState.ACTION_REQUIRED, message)
        elif not context.trusts(verification.runner_login):
            message = (
                f"{verification.runner_login}'s runner, which ran {url}, is no trusted one; run the check "
                "again"
            )
            combined = Ending(RunState.ACTION_REQUIRED, message)
    await _note_in_journal(loop, run, verification, same=verification.state == ending.state)
    if verification.state in (RunState.SUCCEEDED, RunState.FAILED):
        combined = await _with_images(loop, combined, run, verification, signed)
    return combined


async def trusted_ending(
    context: DeliveryContext, ending: Ending, run: Run, earlier: Run | None
) -> Ending:
    """Return how a trusted runner's run ends.

    Args:
        earlier: the run that it should confirm, if somebody has asked for that.
    """
    if ending.state == RunState.SUCCEEDED and (why := await _trust_withdrawn(context, run)):
        return Ending(RunState.ACTION_REQUIRED, why)
    if earlier is None:
        return ending
    signed = await _signed_statement(context.loop, run)
    if not _confirms(signed, ending.state):
        return ending
    loop, on_difference = context.loop, context.policy.trust.on_difference
    compared = compare(ending, run, earlier, loop.run_url(earlier.id), on_difference)
    if compared != ending:
        await _note_in_journal(loop, earlier, run, same=ending.state == earlier.state)
        compared = await _with_images(loop, compared, earlier, run, signed)
    return compared


def _confirms(signed: RunStatement | None, state: RunState) -> bool:
    """Return whether a statement confirms that a run ended like this."""
    result = {RunState.SUCCEEDED: PASSED, RunState.FAILED: FAILED}.get(state)
    return signed is not None and signed.result == result


async def _trust_withdrawn(context: DeliveryContext, run: Run) -> str | None:
    """Return why the runner of a run isn't trusted any more, or None.

    A check may wait for days, and the policy or the permissions may have changed since its event. If GitHub gives
    no answer, the earlier one counts.
    """
    login = run.runner_login or ""
    try:
        policy = await context.loop.policies.policy_for(context.repository, context.repo)
        users = [
            each
            for each in policy.trust.runners
            if each.login.startswith("@") or each.login.lower() == login.lower()
        ]
        found = await context.loop.named_users.find(users, context.repo)
    except PolicyError as error:
        return f"the policy can't be used any more: {error}"
    except GitHubError as error:
        log.warning("trust not looked up again", login=login, error=str(error))
        return None
    if login.lower() in {user.login.lower() for user in found.users}:
        return None
    why = f"{login}'s runner has run this, and the policy doesn't trust it any more"
    return "; ".join([why, *found.problems])


async def _with_images(
    loop: LoopState, ending: Ending, run: Run, verification: Run, verified: RunStatement | None
) -> Ending:
    """Return the ending, with a note about images for which the two runners state different digests.

    Args:
        verified: the statement that the verification's runner has signed.
    """
    stated = await _signed_statement(loop, run)
    if stated is None or verified is None:
        return ending
    one, other = dict(stated.images), dict(verified.images)
    differing = [name for name in sorted(one) if other.get(name, one[name]) != one[name]]
    if not differing:
        return ending
    name = differing[0]
    message = (
        f"the images differ: {name} was {one[name]} on {run.runner_login}'s runner, and {other[name]} on "
        f"{verification.runner_login}'s"
    )
    if len(differing) > 1:
        message += f"; so do {len(differing) - 1} more"
    return _with_message(ending, message, last=True)


async def _note_in_journal(loop: LoopState, run: Run, verification: Run, *, same: bool) -> None:
    """Record a verification in the journal."""
    action = "verified" if same else "not verified"
    about = f"{run.check_name}, in {verification.id}"
    await loop.store.journals.append(run, verification.runner_login or "nobody", action, about)


async def trusted_failures(context: DeliveryContext, run: Run) -> list[Run]:
    """Return other runs of the same check and head that a trusted runner has signed as failed, newest first."""
    loop, trusted = context.loop, [user.login for user in context.trusted]
    failed = [each for each in await loop.store.runs.failed_on(run, trusted) if each.id != run.id]
    signed = [(each, await _signed_statement(loop, each)) for each in failed]
    return [run for run, stated in signed if stated is not None and stated.result == FAILED]


async def _signed_statement(loop: LoopState, run: Run) -> RunStatement | None:
    """Return the valid statement that a run's runner has signed, or None."""
    record = await loop.store.statements.get(run.id)
    if record is None or record.problem is not None:
        return None
    try:
        return SignedStatement.decode(record.payload, record.signature).statement()
    except UntrustedStatement:
        return None


async def is_spot_checked(loop: LoopState, run: Run, share: float) -> bool:
    """Return whether a successful run was selected for a repetition on a trusted runner.

    The selection is made when the outcome is known, so that nobody can prepare for it, and once for a head's
    check, so that running it again doesn't change it. All runs of somebody whose spot check differed are repeated
    from then on. Otherwise, they could try their luck with another commit of the same files.
    """
    if share <= 0:
        return False
    since = time.time() - FOUND_OUT_SECONDS
    drawn = _RANDOM.random() < share or await loop.store.heads.was_found_out(
        run.repository_id, run.user_id, VERIFICATION, since
    )
    return await loop.store.heads.draw_spot_check(
        run.repository_id, run.head_sha, run.check_name, drawn
    )
