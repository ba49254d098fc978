"""The App's credentials: signed statements of who asks, exchanged for an installation's tokens.

https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app
"""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import jwt
import structlog
import trio

from bassloop.github.api import ANONYMOUS, API, Credential
from bassloop.github.errors import GitHubError, Unauthorized

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

log = structlog.get_logger(__name__)

CLOCK_SKEW = 60
"""Seconds that a statement is dated back, for GitHub refuses one from the future."""

LIFETIME = 540
RENEW_BEFORE = 300
MAX_INSTALLATIONS = 10_000
READ_CONTENTS = {"contents": "read", "metadata": "read"}
REVOKE_SECONDS = 10.0
ASK_AGAIN_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Token:
    """An installation's token. `expires_at` is in seconds since the epoch."""

    value: str = field(repr=False)
    expires_at: float


@dataclass(eq=False)
class App:
    """A GitHub App. Tokens are kept until five minutes before they expire."""

    api: API
    app_id: int
    private_key: str = field(repr=False)
    _tokens: OrderedDict[int, Token] = field(default_factory=OrderedDict, repr=False)
    _locks: dict[int, trio.Lock] = field(default_factory=dict, repr=False)
    _searched_at: float | None = field(default=None, repr=False)

    def statement(self) -> str:
        """A JWT that says who we are. Raises Unauthorized when the key is no key."""
        now = int(time.time())
        claims = {"iat": now - CLOCK_SKEW, "exp": now + LIFETIME, "iss": str(self.app_id)}
        try:
            return jwt.encode(claims, self.private_key, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            message = (
                f"the App's private key (GITHUB_APP_PRIVATE_KEY) can't sign: {error} "
                "(it is the PEM file that GitHub gave when the key was made)"
            )
            raise Unauthorized(message) from error

    @property
    def credential(self) -> Credential:
        """The App itself, for what no installation may ask. Raises Unauthorized."""
        return Credential("app", self.statement())

    async def installation(self, installation_id: int) -> Credential:
        """An installation, with a token that is good for some minutes at least. Raises GitHubError.

        The token is asked for once however many wait for it; cancelling one of them leaves the
        others waiting.
        """
        kept = self._good(installation_id)
        if kept is None:
            lock = self._locks.setdefault(installation_id, trio.Lock())
            try:
                async with lock:
                    kept = self._good(installation_id) or await self._renew(installation_id)
            finally:
                if not lock.locked():
                    self._locks.pop(installation_id, None)
        return Credential(f"installation {installation_id}", kept.value)

    def _good(self, installation_id: int) -> Token | None:
        kept = self._tokens.get(installation_id)
        return kept if kept and kept.expires_at - time.time() >= RENEW_BEFORE else None

    async def _renew(self, installation_id: int) -> Token:
        token = self._tokens[installation_id] = await self._ask(installation_id, {})
        if len(self._tokens) > MAX_INSTALLATIONS:
            self._tokens.popitem(last=False)
        return token

    def forget(self, installation_id: int, value: str) -> None:
        """Drop a token that GitHub no longer takes, unless it was renewed already."""
        kept = self._tokens.get(installation_id)
        if kept is not None and kept.value == value:
            del self._tokens[installation_id]

    async def any_installation(self) -> Credential:
        """Some installation, to ask for what is public within its rate limit; else anonymous.

        Never raises GitHubError: what is public can be asked for without.
        """
        now = time.time()
        for number, kept in self._tokens.items():
            if kept.expires_at - now > 60:
                return Credential(f"installation {number}", kept.value)
        if (
            self._searched_at is not None
            and trio.current_time() - self._searched_at < ASK_AGAIN_SECONDS
        ):
            return ANONYMOUS
        self._searched_at = trio.current_time()
        try:
            path = "/app/installations?per_page=100"
            page, _ = await self.api.page(path, credential=self.credential)
            for found in page:
                if not found.get("suspended_at"):
                    return await self.installation(int(found["id"]))
        except (GitHubError, AttributeError, TypeError, KeyError, ValueError) as error:
            log.warning("no installation to ask through", error=str(error))
        return ANONYMOUS

    @asynccontextmanager
    async def checkout_token(
        self, installation_id: int, repository_id: int
    ) -> AsyncGenerator[Token]:
        """A token that can read one repository and nothing else; revoked at exit, if cancelled too.

        Git takes it as the password of the user ``x-access-token``. Raises GitHubError on entry; a
        token that can't be revoked is logged, and expires within the hour.
        """
        narrowed = {"repository_ids": [repository_id], "permissions": READ_CONTENTS}
        token = await self._ask(installation_id, narrowed)
        try:
            yield token
        finally:
            with trio.move_on_after(REVOKE_SECONDS, shield=True):
                credential = Credential(f"checkout {repository_id}", token.value)
                try:
                    await self.api.call("DELETE", "/installation/token", credential=credential)
                except GitHubError as error:
                    log.warning("token not revoked", repository=repository_id, error=str(error))

    async def _ask(self, installation_id: int, narrowed: Mapping[str, Any]) -> Token:
        path = f"/app/installations/{installation_id}/access_tokens"
        answer = await self.api.call(
            "POST", path, credential=self.credential, data=narrowed, repeatable=True
        )
        try:
            return Token(
                str(answer["token"]), datetime.fromisoformat(answer["expires_at"]).timestamp()
            )
        except (TypeError, KeyError, ValueError) as error:
            raise GitHubError(f"GitHub's answer to POST {path} has no token") from error
