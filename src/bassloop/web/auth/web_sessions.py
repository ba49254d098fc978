"""Who asks: sessions of people who signed in, in cookies for browsers and in headers for terminals.

What is handed out is a random secret, signed: what was never handed out costs no look into the store.
The store knows which secrets are good, so that a session can be ended from here, at once. Neither
form is taken for the other.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from itsdangerous import BadSignature, Signer, URLSafeTimedSerializer

if TYPE_CHECKING:
    from bassloop.store import Store

COOKIE_SECONDS = 8 * 3600.0
BEARER_SECONDS = 7 * 24 * 3600.0
MAX_TOKEN = 200


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who signed in. The id is GitHub's, and theirs for ever; logins change hands.

    Args:
        secret: the session's.
        bearer: whether it came in a header, which no other site can have a browser send.
        expires_at: seconds since the epoch.
    """

    id: int
    login: str
    secret: str = field(repr=False)
    bearer: bool
    expires_at: float


@dataclass(frozen=True, eq=False)
class Sessions:
    """Begins sessions, and knows them again.

    Args:
        secret: the loop's own, with which everything is signed.
        secure: whether people come over HTTPS only.
    """

    store: Store
    secret: bytes = field(repr=False)
    secure: bool

    @property
    def cookie(self) -> str:
        """The cookie's name. With ``__Host-`` no other host, nor plain HTTP, can set it."""
        return f"{self._prefix}bassloop"

    @property
    def flow_cookie(self) -> str:
        """The name of the cookie that a browser has while its person signs in."""
        return f"{self._prefix}bassloop-sign-in"

    @property
    def _prefix(self) -> str:
        return "__Host-" if self.secure else ""

    async def begin(self, user_id: int, *, bearer: bool = False) -> tuple[str, float]:
        """A new session of a user whom the store knows: what to hand out, and when it ends."""
        secret = secrets.token_urlsafe(24)
        seconds = BEARER_SECONDS if bearer else COOKIE_SECONDS
        expires_at = await self.store.begin_session(secret, user_id, seconds)
        return self._signer(bearer).sign(secret).decode(), expires_at

    async def visitor(self, token: str, *, bearer: bool = False) -> Visitor | None:
        """Who has a token; None when it is forged, has expired, or was ended."""
        if not 1 <= len(token) <= MAX_TOKEN:
            return None
        try:
            secret = self._signer(bearer).unsign(token).decode()
        except (BadSignature, UnicodeError):
            return None
        session = await self.store.session(secret)
        if session is None:
            return None
        return Visitor(session.user_id, session.login, secret, bearer, session.expires_at)

    async def end(self, visitor: Visitor, *, everywhere: bool = False) -> None:
        """End a session, or all of the visitor's."""
        if everywhere:
            await self.store.end_sessions(visitor.id)
        else:
            await self.store.end_session(visitor.secret)

    def csrf(self, visitor: Visitor) -> str:
        """What the forms of a session have in them, and no other site can know."""
        return self.derived("csrf", visitor.secret)

    def is_csrf(self, visitor: Visitor, given: str) -> bool:
        """Whether a form is one of this session's."""
        return hmac.compare_digest(self.csrf(visitor).encode(), given.encode(errors="replace"))

    def derived(self, purpose: str, text: str) -> str:
        """A text of 64 characters that only this loop can make of another."""
        message = f"{purpose}\0{text}".encode()
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()

    def serializer(self, purpose: str) -> URLSafeTimedSerializer:
        """Signs small values, with the time, for one purpose."""
        return URLSafeTimedSerializer(self.secret, f"bassloop {purpose}", signer_kwargs=_SIGNED)

    def _signer(self, bearer: bool) -> Signer:
        salt = "bassloop bearer" if bearer else "bassloop cookie"
        return Signer(self.secret, salt, key_derivation="hmac", digest_method=hashlib.sha256)


_SIGNED = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
