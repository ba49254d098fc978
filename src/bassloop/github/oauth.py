"""Signing in with GitHub: the App's web flow for browsers, its device flow for terminals.

Both end with a user's token. It is used once, to ask who the user is, and then revoked. It never leaves this module.
OAuth lives on GitHub's *web* host, and reports its errors with status 200.

https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-user-access-token-for-a-github-app
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import httpx
import structlog
import trio

from bassloop.concurrency import shielded
from bassloop.github.errors import GitHubError, explain
from bassloop.github.models import User
from bassloop.github.request import fetch

if TYPE_CHECKING:
    from collections.abc import Mapping

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 15.0
REVOKE_SECONDS = 10.0
MAX_ANSWER = 256 << 10
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SLOWER = 5.0
"""The seconds that `slow_down` adds to the polling interval (RFC 8628, 3.5)."""


class SignInRefused(GitHubError):
    """GitHub refused the sign-in: the code is wrong, expired or used, or the person denied it.

    `reason` is GitHub's error code, such as ``bad_verification_code`` or ``access_denied``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message or reason, 200)
        self.reason = reason


class SignInPending(SignInRefused):
    """The person hasn't decided yet. Poll again after `seconds`."""

    def __init__(self, reason: str, message: str, seconds: float) -> None:
        super().__init__(reason, message)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class OAuthConfig:
    """The App that people sign in with, and the hosts it lives on.

    Args:
        web_url: the *web* host's base URL.
        api_url: the API's.
    """

    web_url: str
    api_url: str
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """The codes of a device flow: one to show, and one to poll with. Times are in seconds."""

    device_code: str = field(repr=False)
    user_code: str
    verification_uri: str
    interval: float
    expires_in: float


def code_challenge(verifier: str) -> str:
    """Return the code challenge of a verifier (RFC 7636, S256)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True, eq=False)
class OAuth:
    """The App's OAuth flows. Methods that make requests raise GitHubError; if cancelled, they leave no state behind."""

    client: httpx.AsyncClient
    config: OAuthConfig

    def authorize_url(self, redirect_uri: str, state: str, verifier: str) -> str:
        """Return the URL where GitHub asks the person for consent. `redirect_uri` has to be registered with the App."""
        parameters = {
            "client_id": self.config.client_id,
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        return f"{self.config.web_url}/login/oauth/authorize?{urlencode(parameters)}"

    async def user_by_code(self, code: str, redirect_uri: str, verifier: str) -> User:
        """Return the user for a code, which can be used once. Raises SignInRefused."""
        parameters = {"code": code, "redirect_uri": redirect_uri, "code_verifier": verifier}
        return await self._user({**parameters, "client_secret": self.config.client_secret})

    async def device_code(self) -> DeviceCode:
        """Return a code for a person to enter on GitHub. Raises SignInRefused if the App may not use this flow."""
        found = await self._form("/login/device/code", {"client_id": self.config.client_id})
        try:
            return DeviceCode(
                str(found["device_code"]),
                str(found["user_code"]),
                str(found["verification_uri"]),
                max(float(found.get("interval", SLOWER)), 1.0),
                float(found["expires_in"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise GitHubError("GitHub's answer has no device code") from error

    async def user_by_device(self, device_code: str) -> User:
        """Return the user who entered the code.

        Raises SignInPending until then, and SignInRefused if the code has expired or the user denied it.
        """
        return await self._user({"device_code": device_code, "grant_type": DEVICE_GRANT})

    async def _user(self, parameters: Mapping[str, str]) -> User:
        found = await self._form(
            "/login/oauth/access_token", {"client_id": self.config.client_id, **parameters}
        )
        token = found.get("access_token")
        if not isinstance(token, str) or not token:
            raise GitHubError("GitHub's answer has no token")
        try:
            headers = {"Authorization": f"Bearer {token}"}
            url = f"{self.config.api_url}/user"
            user = await self._answer("GET", url, headers=headers)
            return User(int(user["id"]), str(user.get("node_id", "")), str(user["login"]))
        except (KeyError, TypeError, ValueError) as error:
            raise GitHubError("GitHub's answer to GET /user is not a user") from error
        finally:
            with shielded(REVOKE_SECONDS):
                await self._revoke(token)

    async def _revoke(self, token: str) -> None:
        """Revoke a token. If that fails, it expires within hours."""
        path = f"/applications/{quote(self.config.client_id, safe='')}/token"
        try:
            await self._answer(
                "DELETE",
                self.config.api_url + path,
                auth=httpx.BasicAuth(self.config.client_id, self.config.client_secret),
                json={"access_token": token},
            )
        except GitHubError as error:
            log.warning("user's token not revoked", error=str(error))

    async def _form(self, path: str, fields: Mapping[str, str]) -> dict[str, Any]:
        url = self.config.web_url + path
        found = await self._answer("POST", url, data=dict(fields))
        reason = found.get("error")
        if reason is None:
            return found
        message = str(found.get("error_description") or "")[:300]
        if reason in ("authorization_pending", "slow_down"):
            seconds = found.get("interval")
            pause = float(seconds) if isinstance(seconds, (int, float)) else SLOWER
            raise SignInPending(str(reason), message, pause)
        raise SignInRefused(str(reason)[:100], message)

    async def _answer(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        """Send one request and return the response's JSON object; an empty one if the response is empty."""
        what = f"{method} {httpx.URL(url).path}".replace(self.config.client_id, "CLIENT_ID")
        headers = {"Accept": "application/json", **options.pop("headers", {})}
        try:
            with trio.fail_after(ANSWER_SECONDS):
                response = await fetch(
                    self.client, method, url, limit=MAX_ANSWER, headers=headers, **options
                )
        except (httpx.HTTPError, trio.TooSlowError) as error:
            reason = str(error) or type(error).__name__
            fix = "is GITHUB_URL right, and does this machine reach it?"
            raise GitHubError(f"GitHub did not answer {what}: {reason} ({fix})") from error
        if response.status >= 300:
            raise explain(response.status, what, "")
        try:
            found = await response.parsed() or {}
        except (ValueError, RecursionError) as error:
            raise GitHubError(f"GitHub's answer to {what} is not JSON", response.status) from error
        if not isinstance(found, dict):
            raise GitHubError(f"GitHub's answer to {what} is not an object", response.status)
        return found
