"""Whether a webhook's body was signed by GitHub.

https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
"""

from __future__ import annotations

import hashlib
import hmac


def sign(secret: bytes, body: bytes) -> str:
    """The value of ``X-Hub-Signature-256`` for a body."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def verify_signature(secret: bytes, body: bytes, header: str) -> bool:
    """Whether the header signs the body; the time it takes does not depend on the header."""
    return hmac.compare_digest(sign(secret, body).encode(), header.encode(errors="replace"))
