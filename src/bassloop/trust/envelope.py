"""DSSE (Dead Simple Signing Envelope): sign and encode a statement, and check whether it's about a run.

What a runner signs is DSSE's pre-authentication encoding of the statement, so one signature serves both the
envelope and `ssh-keygen -Y verify`.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bassloop.trust import UntrustedStatement
from bassloop.trust.sshsig import MAGIC, SSHSignature, decode_signature
from bassloop.trust.statement import FAILED, MAX_STATEMENT, PASSED, RunStatement, read_statement

if TYPE_CHECKING:
    from collections.abc import Iterator

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE = 256 << 10
MAX_SIGNATURES = 16


def signed_bytes(payload: bytes) -> bytes:
    """Return the bytes to sign for a payload: DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A statement as it was signed, and the signature.

    Args:
        payload: the statement's bytes, exactly as the runner made them.
    """

    payload: bytes
    signature: SSHSignature

    @classmethod
    def decode(cls, payload: bytes, signature: bytes) -> SignedStatement:
        """Parse the statement and signature that a runner sent. Raises UntrustedStatement."""
        if len(payload) > MAX_STATEMENT:
            raise UntrustedStatement(
                f"a statement of {len(payload):,} bytes; at most {MAX_STATEMENT:,} are read"
            )
        return cls(payload, decode_signature(signature))

    def statement(self) -> RunStatement:
        """Verify the signature, and return the statement. Raises UntrustedStatement."""
        self.signature.verify(signed_bytes(self.payload))
        return read_statement(self.payload)

    def envelope(self) -> dict[str, Any]:
        """Return the statement as a DSSE envelope."""
        signature = base64.b64encode(self.signature.encode()).decode()
        return {
            "payloadType": PAYLOAD_TYPE,
            "payload": base64.b64encode(self.payload).decode(),
            "signatures": [{"keyid": self.signature.fingerprint, "sig": signature}],
        }


def read_envelope(text: bytes) -> SignedStatement:
    """Read a DSSE envelope: the statement, with the first signature by an SSH key. Raises UntrustedStatement."""
    if len(text) > MAX_ENVELOPE:
        raise UntrustedStatement(f"an envelope of {len(text):,} bytes is too long")
    try:
        envelope = json.loads(text)
        kind, payload = (
            envelope["payloadType"],
            base64.b64decode(envelope["payload"], validate=True),
        )
        signatures = [
            base64.b64decode(each["sig"], validate=True)
            for each in envelope["signatures"][:MAX_SIGNATURES]
        ]
    except (
        binascii.Error,
        KeyError,
        RecursionError,
        TypeError,
        UnicodeDecodeError,
        ValueError,
    ) as error:
        raise UntrustedStatement("this isn't a DSSE envelope") from error
    if kind != PAYLOAD_TYPE:
        raise UntrustedStatement(f"the envelope has {str(kind)[:60]!r}, not a statement")
    for signature in signatures:
        if signature.startswith(MAGIC):
            return SignedStatement.decode(payload, signature)
    raise UntrustedStatement("the envelope has no signature by an SSH key")


CLOCK_SECONDS = 86_400.0
"""The tolerated clock skew between runner and loop in seconds. Later verifications see only the runner's times."""
LONGEST_RUN = 7 * 86_400.0
"""The longest time limit that a policy may set for a check, in seconds."""


@dataclass(frozen=True, slots=True)
class ExpectedRun:
    """What the loop itself knows about a run, independently of the runner's statement.

    Args:
        run: the run's id.
        login: the runner's owner.
        thunk: the SHA-256 of the thunk that was sent.
        log: the digest of the log that was received, see `LogDigest`.
        artifacts: the artifacts that were received, as returned by `ArtifactDigests.listed`.
        given: the digest of the artifacts of other checks that were sent, or None.
        passed: whether the call succeeded.
        key: the public key that the runner connected with, in SSH's binary form.
        at: when the statement was received, in seconds since the epoch.
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
    """Return the statement if it's signed by the expected key and about the expected run.

    Raises UntrustedStatement, whose message lists all differences.
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
