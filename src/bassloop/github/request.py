"""One request to GitHub and its response, with limits, and the errors of responses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import trio
from gidgethub import sansio

from bassloop.github.errors import GitHubError, RateLimited, TooLong, explain
from bassloop.github.pacing import requested_wait

API_VERSION = "2022-11-28"
REQUESTER = "bassloop"
JSON = "application/vnd.github+json"
RAW = "application/vnd.github.raw+json"
MAX_RESPONSE = 32 << 20
_APP = "app"
PARSED_IN_THREAD = 256 << 10
Data = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""The body to send. A function is called for each attempt, when its turn has come."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential: `name` identifies it in logs and caches, `value` is the secret."""

    name: str
    value: str = ""

    @classmethod
    def of_app(cls, value: str) -> Credential:
        """Return the credential of the App itself."""
        return cls(_APP, value)

    @classmethod
    def of_installation(cls, installation_id: int, value: str = "") -> Credential:
        """Return the credential of one installation of the App."""
        return cls(f"installation {installation_id}", value)

    @property
    def is_app(self) -> bool:
        """True for the App's own credential."""
        return self.name == _APP

    def __repr__(self) -> str:
        return f"<Credential: {self.name}>"


ANONYMOUS = Credential("anonymous")


@dataclass(frozen=True, slots=True)
class Response:
    """A response's status, headers (names in any case) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def next_page(self) -> str | None:
        """The URL of the next page, or None."""
        link = self.headers.get("link")
        if not link:
            return None
        return httpx.Response(200, headers={"link": link}).links.get("next", {}).get("url")

    async def parsed(self) -> Any:
        """Parse the body as JSON, a long one in a thread; an empty one is None. Raises ValueError."""
        if not self.body:
            return None
        if len(self.body) < PARSED_IN_THREAD:
            return json.loads(self.body)
        return await trio.to_thread.run_sync(json.loads, self.body)


@dataclass(frozen=True, slots=True)
class Request:
    """A request, which may be sent several times.

    Args:
        repeatable: whether sending it twice has the same effect as sending it once.
        limit: the size limit for the response, in bytes.
    """

    method: str
    url: str
    credential: Credential = ANONYMOUS
    data: Data | None = None
    accept: str = JSON
    repeatable: bool = True
    limit: int = MAX_RESPONSE

    def __str__(self) -> str:
        return f"{self.method} {urlsplit(self.url).path}"

    @property
    def cache_key(self) -> tuple[str, str, str]:
        """The cache key of its response, which differs by credential: so do the rights to read."""
        return self.credential.name, self.accept, self.url

    def body(self) -> bytes:
        """Return the body to send at this moment."""
        if self.data is None:
            return b""
        return json.dumps(self.data() if callable(self.data) else self.data).encode()

    def headers(self, etag: str | None = None) -> dict[str, str]:
        """Return the headers to send. With an ETag, GitHub answers 304 if nothing has changed."""
        headers: dict[str, str] = sansio.create_headers(REQUESTER, accept=self.accept)
        headers["x-github-api-version"] = API_VERSION
        if self.credential.value:
            headers["authorization"] = f"Bearer {self.credential.value}"
        if self.data is not None:
            headers["content-type"] = "application/json; charset=utf-8"
        if etag is not None and self.method == "GET":
            headers["if-none-match"] = etag
        return headers


async def fetch(
    client: httpx.AsyncClient, method: str, url: str, *, limit: int, **options: Any
) -> Response:
    """Send one request and read its response, up to the limit. Raises TooLong and httpx's errors."""
    async with client.stream(method, url, **options) as response:
        content = bytearray()
        # Cancelling ends httpx's generators; leaving the loop early would leave them suspended.
        with trio.CancelScope() as enough:
            async for chunk in response.aiter_bytes():
                if len(content) <= limit:
                    content += chunk
                if len(content) > limit:
                    enough.cancel()
        if len(content) > limit:
            raise TooLong(
                f"the answer to {method} {urlsplit(url).path} is longer than {limit:,} bytes",
                response.status_code,
                uncertain=True,
            )
        return Response(response.status_code, response.headers, bytes(content))


def is_same_host(url: str, other: str) -> bool:
    """Return whether two URLs have the same scheme, host and port."""
    one, two = urlsplit(url), urlsplit(other)
    return (one.scheme, one.netloc) == (two.scheme, two.netloc)


def unanswered(request: Request, error: Exception) -> GitHubError:
    """Return the error for a request that got no response."""
    reason = str(error) or type(error).__name__
    fix = "is GITHUB_API_URL right, and does this machine reach it?"
    message = f"GitHub did not answer {request}: {reason} ({fix})"
    if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol)):
        return GitHubError(message, retryable=False)
    never_sent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
    if never_sent:
        return GitHubError(message, retryable=True)
    return GitHubError(message, uncertain=True, retryable=request.repeatable)


def unreadable(request: Request, response: Response, error: Exception) -> GitHubError:
    """Return the error for a response that can't be parsed."""
    message = f"GitHub's answer to {request} can't be read: {error}"
    return GitHubError(message, response.status, uncertain=True, retryable=request.repeatable)


def failed(request: Request, response: Response) -> GitHubError:
    """Return the error for a response that isn't a success."""
    reason = _reason(response.body)
    wait = requested_wait(response.status, response.headers, response.body, time.time())
    if wait is not None:
        message = f"GitHub limits the rate of {request} for {wait:.0f} s: {reason}"
        return RateLimited(message, response.status, wait)
    permissions = response.headers.get("x-accepted-github-permissions", "")
    error = explain(response.status, str(request), reason, permissions=permissions)
    error.retryable = response.status >= 500 and request.repeatable
    return error


def _reason(body: bytes) -> str:
    """Return GitHub's message from an error's body, as one short line."""
    try:
        data = json.loads(body) if len(body) < PARSED_IN_THREAD else None
    except (ValueError, RecursionError):
        return "something that isn't JSON" if body else ""
    if not isinstance(data, dict):
        return ""
    errors = data.get("errors") or []
    listed = errors[:10] if isinstance(errors, list) else [errors]
    details = [
        error.get("message") or error if isinstance(error, dict) else error for error in listed
    ]
    parts = [str(part) for part in (data.get("message"), *details) if part]
    return " ".join("; ".join(parts).split())[:500]
