"""HTTP to GitHub: gidgethub's sans-I/O core on httpx under Trio, with bounds and patience.

A call that may be repeated is, with growing and jittered pauses; one that creates is repeated only
when GitHub said that it did nothing (a rate limit). Answers are read up to a size.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import gidgethub
import gidgethub.abc
import httpx
import structlog
import trio
from gidgethub import sansio

from bassloop.github.errors import GitHubError, RateLimited, explain

log = structlog.get_logger(__name__)

API_VERSION = "2022-11-28"
MAX_ANSWER = 100 << 20
MAX_PAGES = 50
ATTEMPTS = 4
AT_ONCE = 50
LONGEST_PAUSE = 120.0
RAW = "application/vnd.github.raw+json"


class Answer:
    """An answer's status, headers and body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


class API(gidgethub.abc.GitHubAPI):
    """Calls GitHub's REST API. One is shared by all; a token is named with each call."""

    def __init__(self, client: httpx.AsyncClient, base_url: str) -> None:
        super().__init__("bassloop", base_url=base_url)
        self._client = client
        self._limiter = trio.CapacityLimiter(AT_ONCE)

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        jwt: str | None = None,
        data: Mapping[str, Any] | None = None,
        etag: str | None = None,
    ) -> Any:
        """Ask, and return the parsed answer. Raises GitHubError."""
        answer = await self._ask(method, path, token=token, jwt=jwt, data=data, etag=etag)
        return self._parsed(answer, f"{method} {path}")[0]

    async def pages(self, path: str, *, token: str | None = None) -> AsyncIterator[Any]:
        """Every page of a list, parsed, up to a bound. Raises GitHubError."""
        url: str | None = path
        for _ in range(MAX_PAGES):
            if url is None:
                return
            answer = await self._ask("GET", url, token=token)
            page, url = self._parsed(answer, f"GET {path}")
            yield page

    async def raw(self, path: str, *, token: str) -> bytes:
        """A file's bytes. Raises GitHubError."""
        return (await self._ask("GET", path, token=token, accept=RAW)).body

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        jwt: str | None = None,
        data: Mapping[str, Any] | None = None,
        accept: str = "application/vnd.github+json",
        etag: str | None = None,
    ) -> Answer:
        """Ask as often as it makes sense. Raises GitHubError for everything but success and 304."""
        url = path if path.startswith("http") else self.base_url + path
        headers = sansio.create_headers(self.requester, accept=accept, oauth_token=token, jwt=jwt)
        headers["x-github-api-version"] = API_VERSION
        if etag:
            headers["if-none-match"] = etag
        body = b""
        if data is not None:
            headers["content-type"] = "application/json; charset=utf-8"
            body = json.dumps(data).encode()
        repeatable = method in ("GET", "PATCH", "PUT", "DELETE")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = await self._once(method, url, headers, body)
            except httpx.HTTPError as error:
                failure: GitHubError = GitHubError(f"GitHub can't be reached for {method} {path}: {error!r}")
                again = repeatable or isinstance(error, httpx.ConnectError)
            else:
                if answer.status < 400:
                    return answer
                failure = _failure(answer, f"{method} {path}")
                again = isinstance(failure, RateLimited) or (answer.status >= 500 and repeatable)
            if not again or attempt == ATTEMPTS:
                raise failure
            await self.sleep(_pause(failure, attempt))
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        async with self._limiter:
            status, answered, content = await self._request(method, url, headers, body)
        return Answer(status, answered, content)

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, Mapping[str, str], bytes]:
        async with self._client.stream(
            method, url, headers=dict(headers), content=body
        ) as response:
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER:
                    raise GitHubError(f"the answer to {method} {url} is longer than {MAX_ANSWER:,} bytes")
            return response.status_code, response.headers, bytes(content)

    async def sleep(self, seconds: float) -> None:
        """Pause. A checkpoint."""
        await trio.sleep(seconds)

    def _parsed(self, answer: Answer, what: str) -> tuple[Any, str | None]:
        if answer.status == 304:
            return None, None
        try:
            data, _, following = sansio.decipher_response(
                answer.status, answer.headers, answer.body
            )
        except (gidgethub.GitHubException, ValueError) as error:
            raise GitHubError(f"GitHub's answer to {what} can't be read: {error}") from error
        return data, following


def _failure(answer: Answer, what: str) -> GitHubError:
    said = ""
    try:
        sansio.decipher_response(answer.status, answer.headers, answer.body)
    except gidgethub.GitHubException as error:
        said = str(error)
    except ValueError:
        said = "something that is no JSON"
    wait = _rate_limit(answer)
    if wait is not None:
        return RateLimited(f"GitHub limits the rate of {what}: {said}", answer.status, wait)
    return explain(answer.status, what, said)


def _rate_limit(answer: Answer) -> float | None:
    """How long to wait, in seconds, when an answer is a rate limit's."""
    if answer.status not in (403, 429):
        return None
    after = answer.headers.get("retry-after", "")
    if after.isdigit():
        return float(after)
    if answer.headers.get("x-ratelimit-remaining") == "0":
        reset = answer.headers.get("x-ratelimit-reset", "")
        return max(float(reset) - time.time(), 1.0) if reset.isdigit() else 60.0
    limited = answer.status == 429 or b"secondary rate limit" in answer.body[:4096]
    return 60.0 if limited else None


def _pause(failure: GitHubError, attempt: int) -> float:
    if isinstance(failure, RateLimited):
        if failure.retry_after > LONGEST_PAUSE:
            raise failure
        return failure.retry_after
    return float(2 ** (attempt - 1)) * random.uniform(0.5, 1.5)  # noqa: S311
