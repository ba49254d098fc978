"""Runners' signed statements about runs, which are checked against the loop's own observations and stored."""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from bassloop.github import GitHubError
from bassloop.store import StatementRecord
from bassloop.trust import UntrustedStatement
from bassloop.trust.envelope import ExpectedRun, SignedStatement, check_signed
from bassloop.trust.sshsig import fingerprint
from bassloop.trust.statement import CallDigests
from bassloop.wire.conventions import digest_of_given

if TYPE_CHECKING:
    from bassloop.checks.loop_state import LoopState
    from bassloop.runtimes import Runtime
    from bassloop.store import Run

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
