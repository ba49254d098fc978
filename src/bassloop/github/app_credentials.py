"""The App's credentials: a signed JWT, exchanged for an installation's tokens.

https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app
"""

from __future__ import annotations

import math
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import jwt
import structlog
import trio
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bassloop.concurrency import KeyedLock, TTLCache, shielded
from bassloop.github.api_budget import Purpose, spending
from bassloop.github.errors import GitHubError, Unauthorized
from bassloop.github.request import ANONYMOUS, JSON, Credential

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from bassloop.github.request import Data
    from bassloop.github.rest_client import RestClient

log = structlog.get_logger(__name__)

T = TypeVar("T")

CLOCK_SKEW = 60
"""How many seconds a JWT is backdated, because GitHub refuses one from the future."""

LIFETIME = 540
RENEW_BEFORE = 300
MAX_INSTALLATIONS = 10_000
READ_CONTENTS = {"contents": "read", "metadata": "read"}
REVOKE_SECONDS = 10.0
SEARCH_AGAIN_SECONDS = 600.0
FAILED_SEARCH_SECONDS = 10.0
UNUSABLE_KEY = ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature
NO_APP = "no GitHub App is set (GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY)"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An installation's token. `expires_at` is in seconds since the epoch."""

    value: str = field(repr=False)
    expires_at: float


@lru_cache(maxsize=4)
def _read_key(pem: str) -> RSAPrivateKey:
    """Return a private key that can sign.

    Raises ValueError, TypeError, UnsupportedAlgorithm or InvalidSignature.
    """
    # Testing the factors for primality takes almost 0.1 s. That is meant for keys of strangers; a test signature is
    # enough to show that the operator's own isn't damaged.
    key = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("it isn't an RSA key")
    signature = key.sign(b"", PKCS1v15(), SHA256())
    key.public_key().verify(signature, b"", PKCS1v15(), SHA256())
    return key


@dataclass(eq=False)
class App:
    """A GitHub App. Tokens are kept until five minutes before they expire."""

    api: RestClient
    app_id: int
    private_key: str = field(repr=False)
    _tokens: TTLCache[int, AccessToken] = field(
        default_factory=lambda: TTLCache(MAX_INSTALLATIONS), repr=False
    )
    _renewing: KeyedLock[int] = field(default_factory=KeyedLock, repr=False)
    _search_at: float = field(default=-math.inf, repr=False)
    _searching: trio.Lock = field(default_factory=trio.Lock, repr=False)

    def make_jwt(self) -> str:
        """Return a JWT that identifies the App. Raises Unauthorized if the private key is unusable."""
        now = int(time.time())
        claims = {"iat": now - CLOCK_SKEW, "exp": now + LIFETIME, "iss": str(self.app_id)}
        try:
            return jwt.encode(claims, _read_key(self.private_key), algorithm="RS256")
        except (*UNUSABLE_KEY, jwt.PyJWTError) as error:
            message = (
                f"the App's private key (GITHUB_APP_PRIVATE_KEY) can't sign: {error or type(error).__name__} "
                "(it is the PEM file that GitHub gave when the key was made)"
            )
            raise Unauthorized(message) from error

    @property
    def credential(self) -> Credential:
        """The App's own credential, for calls that no installation may make. Raises Unauthorized."""
        return Credential.of_app(self.make_jwt())

    async def installation_credential(self, installation_id: int) -> Credential:
        """Return an installation with a token that is valid for at least some minutes. Raises GitHubError.

        Concurrent callers share one request for the token; cancelling one of them doesn't affect the others.
        """
        token = self._tokens.get(installation_id)
        if token is None:
            async with self._renewing.hold(installation_id):
                token = self._tokens.get(installation_id) or await self._renew(installation_id)
        return Credential.of_installation(installation_id, token.value)

    async def _renew(self, installation_id: int) -> AccessToken:
        token = await self._new_token(installation_id, {})
        lifetime = token.expires_at - time.time() - RENEW_BEFORE
        self._tokens.store(installation_id, token, seconds=lifetime)
        return token

    def forget(self, installation_id: int, value: str) -> None:
        """Drop a token that GitHub no longer accepts, unless it has been renewed since."""
        token = self._tokens.get(installation_id)
        if token is not None and token.value == value:
            self._tokens.forget(installation_id)

    async def any_installation(self) -> Credential:
        """Return any installation's credential, for its higher rate limit on public data, or the anonymous one.

        Doesn't raise GitHubError: public data can be read without a token.
        """
        if (known := self._known_installation()) is not None:
            return known
        async with self._searching:
            if (known := self._known_installation()) is not None:
                return known
            return await self._search()

    def _known_installation(self) -> Credential | None:
        """Return an installation whose token is cached, or None."""
        for number in self._tokens:
            if (token := self._tokens.get(number)) is not None:
                return Credential.of_installation(number, token.value)
        return None

    async def _search(self) -> Credential:
        """Ask GitHub for an installation, unless that was done recently. If cancelled, the next caller asks."""
        if trio.current_time() < self._search_at:
            return ANONYMOUS
        pause = SEARCH_AGAIN_SECONDS
        try:
            path = "/app/installations?per_page=100"
            page, _ = await self.api.page(path, credential=self.credential)
            for found in page:
                if not found.get("suspended_at"):
                    return await self.installation_credential(int(found["id"]))
        except (GitHubError, AttributeError, TypeError, KeyError, ValueError) as error:
            log.warning("no installation to ask through", error=str(error))
            pause = FAILED_SEARCH_SECONDS
        self._search_at = trio.current_time() + pause
        return ANONYMOUS

    @asynccontextmanager
    async def checkout_token(
        self, installation_id: int, repository_id: int
    ) -> AsyncGenerator[AccessToken]:
        """Yield a token that can read one repository and nothing else, and revoke it on exit.

        Git takes it as the password of the user ``x-access-token``. Raises GitHubError on entry. It is
        revoked even if the caller is cancelled. A failure to revoke is logged; the token expires within the hour
        anyway.
        """
        narrowed = {"repository_ids": [repository_id], "permissions": READ_CONTENTS}
        token = await self._new_token(installation_id, narrowed)
        try:
            yield token
        finally:
            await self._revoke(installation_id, repository_id, token)

    async def _revoke(self, installation_id: int, repository_id: int, token: AccessToken) -> None:
        """Revoke a token, even if the caller is cancelled, unless the rate limit delays that for too long."""
        # GitHub counts this call towards the installation, like all calls with one of its tokens.
        credential = Credential.of_installation(installation_id, token.value)
        why = f"it took longer than {REVOKE_SECONDS:g} s"
        with shielded(REVOKE_SECONDS), spending(Purpose.PEOPLE):
            try:
                await self.api.call("DELETE", "/installation/token", credential=credential)
                return
            except GitHubError as error:
                why = str(error)
        log.warning("token not revoked", repository=repository_id, error=why)

    async def _new_token(self, installation_id: int, narrowed: Mapping[str, Any]) -> AccessToken:
        path = f"/app/installations/{installation_id}/access_tokens"
        answer = await self.api.call(
            "POST", path, credential=self.credential, data=narrowed, repeatable=True
        )
        try:
            return AccessToken(
                str(answer["token"]), datetime.fromisoformat(answer["expires_at"]).timestamp()
            )
        except (TypeError, KeyError, ValueError) as error:
            raise GitHubError(f"GitHub's answer to POST {path} has no token") from error


@dataclass(frozen=True, eq=False)
class Installation:
    """Calls the API as one installation of the App. A token that GitHub no longer accepts is renewed once.

    `app` is None if no App is configured; then every call raises Unauthorized.
    """

    api: RestClient
    app: App | None
    id: int

    async def call(
        self,
        method: str,
        path: str,
        *,
        data: Data | None = None,
        repeatable: bool | None = None,
        accept: str = JSON,
    ) -> Any:
        """Make a call; see :meth:`RestClient.call`."""
        return await self._with_token(
            lambda credential: self.api.call(
                method,
                path,
                credential=credential,
                data=data,
                repeatable=repeatable,
                accept=accept,
            )
        )

    async def raw(self, path: str, *, limit: int) -> bytes:
        """Read a file; see :meth:`RestClient.raw`."""
        return await self._with_token(
            lambda credential: self.api.raw(path, credential=credential, limit=limit)
        )

    async def page(self, url: str) -> tuple[Any, str | None]:
        """Read one page of a list; see :meth:`RestClient.page`."""
        return await self._with_token(lambda credential: self.api.page(url, credential=credential))

    async def _with_token(self, call: Callable[[Credential], Awaitable[T]]) -> T:
        if self.app is None:
            raise Unauthorized(NO_APP)
        credential = await self.app.installation_credential(self.id)
        try:
            return await call(credential)
        except Unauthorized:
            self.app.forget(self.id, credential.value)
            credential = await self.app.installation_credential(self.id)
        return await call(credential)
