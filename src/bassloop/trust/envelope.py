"""DSSE (Dead Simple Signing Envelope): what is signed of a statement, and the file that it travels in.

What a runner signs is DSSE's pre-authentication encoding of the statement, so one signature serves both the
envelope and `ssh-keygen -Y verify`.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from bassloop.trust.errors import UntrustedStatement
from bassloop.trust.sshsig import SSHSignature, decode_signature
from bassloop.trust.statement import MAX_STATEMENT, RunStatement, read_statement

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE = 256 << 10
MAX_SIGNATURES = 16


def signed_bytes(payload: bytes) -> bytes:
    """Return what is signed of a payload: DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A statement as it was signed, and the signature.

    Args:
        payload: the statement's bytes, as the runner made them.
    """

    payload: bytes
    signature: SSHSignature

    @classmethod
    def decode(cls, payload: bytes, signature: bytes) -> SignedStatement:
        """Return the statement and signature that came from a runner. Raises UntrustedStatement."""
        if len(payload) > MAX_STATEMENT:
            raise UntrustedStatement(
                f"a statement of {len(payload):,} bytes; at most {MAX_STATEMENT:,} are read"
            )
        return cls(payload, decode_signature(signature))

    def statement(self) -> RunStatement:
        """Return what is stated, once the signature was verified. Raises UntrustedStatement."""
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
        raise UntrustedStatement("this is no DSSE envelope") from error
    if kind != PAYLOAD_TYPE:
        raise UntrustedStatement(f"the envelope has {str(kind)[:60]!r}, not a statement")
    for signature in signatures:
        return SignedStatement.decode(payload, signature)
    raise UntrustedStatement("the envelope has no signature")
