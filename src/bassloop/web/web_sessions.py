"""Sessions of signed-in visitors: a cookie for browsers, a bearer token for terminals.

A token is a random secret with a signature, so that a forged one is rejected without reading from the store. The
store has the valid secrets, so that a session can be ended at once. A cookie isn't accepted as a bearer token, nor
vice versa.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from itsdangerous import BadSignature, Signer, URLSafeTimedSerializer

if TYPE_CHECKING:
    from bassloop.store import Store


COOKIE_SECONDS = 8 * 3600.0
BEARER_SECONDS = 7 * 24 * 3600.0
MAX_TOKEN = 200

_SIGNING: dict[str, Any] = {"key_derivation": "hmac", "digest_method": hashlib.sha256}


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in user. The id is GitHub's and never changes; logins do.

    Args:
        secret: the secret of their session.
        bearer: whether they sent a bearer token, which other sites can't make a browser send.
        expires_at: when the session ends, in seconds since the epoch.
    """

    id: int
    login: str
    secret: str = field(repr=False)
    bearer: bool
    expires_at: float


@dataclass(frozen=True, eq=False)
class WebSessions:
    """Begins, checks and ends sessions.

    Args:
        secret: the loop's secret, which signs everything.
        secure: whether the loop is accessed over HTTPS.
    """

    store: Store
    secret: bytes = field(repr=False)
    secure: bool

    @property
    def cookie(self) -> str:
        """The name of the session cookie. The prefix ``__Host-`` keeps other hosts and plain HTTP from setting it."""
        return f"{self._prefix}bassloop"

    @property
    def flow_cookie(self) -> str:
        """The name of the cookie that exists during a sign-in."""
        return f"{self._prefix}bassloop-sign-in"

    @property
    def _prefix(self) -> str:
        return "__Host-" if self.secure else ""

    async def begin(self, user_id: int, *, bearer: bool = False) -> tuple[str, float]:
        """Begin a session for a stored user. Return its token and expiry time."""
        secret = secrets.token_urlsafe(24)
        seconds = BEARER_SECONDS if bearer else COOKIE_SECONDS
        expires_at = await self.store.sessions.begin(secret, user_id, seconds)
        return self._signer(bearer).sign(secret).decode(), expires_at

    async def visitor(self, token: str, *, bearer: bool = False) -> Visitor | None:
        """Return the visitor with a token, or None if it is forged, or its session has expired or was ended."""
        if not 1 <= len(token) <= MAX_TOKEN:
            return None
        try:
            secret = self._signer(bearer).unsign(token).decode()
        except (BadSignature, UnicodeError):
            return None
        session = await self.store.sessions.get(secret)
        if session is None:
            return None
        return Visitor(session.user_id, session.login, secret, bearer, session.expires_at)

    async def end(self, visitor: Visitor, *, everywhere: bool = False) -> None:
        """End the visitor's session, or all of their sessions."""
        if everywhere:
            await self.store.sessions.end_all(visitor.id)
        else:
            await self.store.sessions.end(visitor.secret)

    def csrf(self, visitor: Visitor) -> str:
        """Return the token for the forms of a session, which other sites can't know."""
        return self.derive("csrf", visitor.secret)

    def is_csrf(self, visitor: Visitor, token: str) -> bool:
        """Return whether a form's token belongs to the visitor's session."""
        return hmac.compare_digest(self.csrf(visitor).encode(), token.encode(errors="replace"))

    def derive(self, purpose: str, text: str) -> str:
        """Derive 64 hexadecimal digits from a text and the loop's secret."""
        message = f"{purpose}\0{text}".encode()
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()

    def serializer(self, purpose: str) -> URLSafeTimedSerializer:
        """Return a serializer that signs small values for one purpose, with a timestamp."""
        return URLSafeTimedSerializer(self.secret, f"bassloop {purpose}", signer_kwargs=_SIGNING)

    def _signer(self, bearer: bool) -> Signer:
        salt = "bassloop bearer" if bearer else "bassloop cookie"
        return Signer(self.secret, salt, **_SIGNING)
