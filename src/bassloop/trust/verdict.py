"""The verdict about a signed statement: if it is about a run, and signed with the expected key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.trust.errors import UntrustedStatement
from bassloop.trust.statement import FAILED, PASSED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.trust.envelope import SignedStatement
    from bassloop.trust.statement import RunStatement

CLOCK_SECONDS = 86_400.0
"""How far a runner's clock may be from the loop's. Whoever verifies a statement later sees the runner's times only."""
LONGEST_RUN = 7 * 86_400.0
"""As long as a policy may let a check run, in seconds."""


@dataclass(frozen=True, slots=True)
class ExpectedRun:
    """The loop's own knowledge of a run, without the runner's word.

    Args:
        run: the run's id.
        login: whose runner it is.
        thunk: the SHA-256 of the thunk that was sent.
        log: the digest of the log as it came, see `LogDigest`.
        artifacts: the artifacts that came, as `ArtifactDigests.listed` returns them.
        given: the digest of the artifacts of other checks that were sent, or None.
        passed: whether the call ended well.
        key: the public key that the runner connected with, in SSH's binary form.
        at: when the statement came, in seconds since the epoch.
    """

    run: str
    login: str
    repository: str
    commit: str
    thunk: str
    log: str
    artifacts: tuple[tuple[str, str], ...]
    given: str | None
    passed: bool
    key: bytes
    at: float


def check_signed(signed: SignedStatement, expected: ExpectedRun) -> RunStatement:
    """Return what is stated, if it is signed by the expected key and of the expected run.

    Raises UntrustedStatement, which says all that differs.
    """
    if signed.signature.key != expected.key:
        raise UntrustedStatement(
            f"signed by the key {signed.signature.fingerprint}, and the runner connected with another"
        )
    statement = signed.statement()
    if differences := list(_differences(statement, expected)):
        raise UntrustedStatement(f"signed for something else: {', '.join(differences)}")
    return statement


def _differences(statement: RunStatement, expected: ExpectedRun) -> Iterator[str]:
    if statement.run != expected.run:
        yield "another run"
    if statement.login.lower() != expected.login.lower():
        yield "another login"
    if statement.repository.lower() != expected.repository.lower():
        yield "another repository"
    if statement.commit != expected.commit:
        yield "another commit"
    if statement.thunk != expected.thunk:
        yield "another thunk"
    if statement.log != expected.log:
        yield "a log that differs from the one that came"
    if tuple(sorted(statement.artifacts)) != expected.artifacts:
        yield "artifacts that differ from those that came"
    if statement.given != expected.given:
        yield "other artifacts than it was given"
    earliest, latest = expected.at - LONGEST_RUN - CLOCK_SECONDS, expected.at + CLOCK_SECONDS
    if abs(statement.ended_at - expected.at) > CLOCK_SECONDS or not (
        earliest <= statement.started_at <= latest
    ):
        yield "another time (the runner's clock may be more than a day off)"
    if statement.result != (PASSED if expected.passed else FAILED):
        yield f"the outcome {statement.result}, and the run ended otherwise"
