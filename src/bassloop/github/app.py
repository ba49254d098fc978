"""The App's credentials: signed statements of who asks, exchanged for an installation's tokens.

https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime

import jwt
import trio

from bassloop.github.api import API
from bassloop.github.errors import GitHubError, Unauthorized

CLOCK_SKEW = 60
"""Seconds that a statement is dated back, for GitHub refuses one from the future."""

LIFETIME = 540
RENEW_BEFORE = 300


@dataclass(slots=True)
class _Token:
    value: str
    expires_at: float


@dataclass(eq=False)
class App:
    """A GitHub App. Tokens are kept until five minutes before they expire."""

    api: API
    app_id: int
    private_key: str = field(repr=False)
    _tokens: dict[int, _Token] = field(default_factory=dict, repr=False)
    _locks: dict[int, trio.Lock] = field(default_factory=dict, repr=False)

    def statement(self) -> str:
        """A JWT that says who we are. Raises Unauthorized when the key is no key."""
        now = int(time.time())
        claims = {"iat": now - CLOCK_SKEW, "exp": now + LIFETIME, "iss": str(self.app_id)}
        try:
            return jwt.encode(claims, self.private_key, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            message = f"the App's private key (GITHUB_APP_PRIVATE_KEY) can't sign: {error}"
            raise Unauthorized(message) from error

    async def token(self, installation_id: int) -> str:
        """An installation's token, good for some minutes at least. Raises GitHubError.

        Asked for once however many wait for it; cancelling one of them leaves the others waiting.
        """
        async with self._locks.setdefault(installation_id, trio.Lock()):
            kept = self._tokens.get(installation_id)
            if kept is None or kept.expires_at - time.time() < RENEW_BEFORE:
                kept = self._tokens[installation_id] = await self._ask(installation_id)
            return kept.value

    def any_token(self) -> str | None:
        """A token that is still good, of any installation; None when there is none."""
        now = time.time()
        good = (kept.value for kept in self._tokens.values() if kept.expires_at - now > 60)
        return next(good, None)

    async def _ask(self, installation_id: int) -> _Token:
        path = f"/app/installations/{installation_id}/access_tokens"
        answer = await self.api.call("POST", path, jwt=self.statement(), data={})
        try:
            expires = datetime.fromisoformat(answer["expires_at"]).timestamp()
            return _Token(str(answer["token"]), expires)
        except (TypeError, KeyError, ValueError) as error:
            raise GitHubError(f"GitHub's answer to POST {path} has no token") from error
