"""HTTP to GitHub: gidgethub's httpx client under Trio, with bounds, patience and a memory.

A call that may be repeated is, with growing and jittered pauses; one that creates is repeated only
when GitHub said that it did nothing (a rate limit) or was never reached. An answer is read up to a
size and for so long. Nobody's token is sent to another host, wherever an answer points.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import gidgethub.httpx
import httpx
import structlog
import trio
from gidgethub import sansio

from bassloop.github.errors import GitHubError, RateLimited, TooLong, explain
from bassloop.github.etags import ETags, Kept
from bassloop.github.pace import Pace, Patience, advised_wait
from bassloop.telemetry.spans import span

log = structlog.get_logger(__name__)

API_VERSION = "2022-11-28"
MAX_ANSWER = 32 << 20
MAX_PAGES = 50
MAX_REDIRECTS = 3
MAX_PACES = 10_000
AT_ONCE = 50
IN_THREAD = 256 << 10
JSON = "application/vnd.github+json"
RAW = "application/vnd.github.raw+json"
Data = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""What to send; a function is called for each attempt, after it has waited for its turn."""

_REPEATABLE = frozenset({"GET", "PATCH", "PUT", "DELETE"})
_REDIRECTS = frozenset({301, 302, 307, 308})


@dataclass(frozen=True, slots=True)
class Credential:
    """Who asks: `name` says it in logs and caches, `value` is the secret that shows it."""

    name: str
    value: str = ""

    def __repr__(self) -> str:
        return f"<Credential: {self.name}>"


ANONYMOUS = Credential("anonymous")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's status, headers (names in any case) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def next_page(self) -> str | None:
        """The URL of the page after this."""
        link = self.headers.get("link")
        if not link:
            return None
        return httpx.Response(200, headers={"link": link}).links.get("next", {}).get("url")


class API(gidgethub.httpx.GitHubAPI):
    """Calls GitHub's REST API; one is shared by all, and a credential is named with each call.

    `answers` counts attempts by the status of what was answered, 0 when nothing was; `heard_at` is
    when the last answer came that was none of a server out of order, in Trio's time, and `trouble`
    what has gone wrong since.
    """

    def __init__(
        self, client: httpx.AsyncClient, base_url: str, *, patience: Patience | None = None
    ) -> None:
        super().__init__(client, "bassloop", base_url=base_url.rstrip("/"))
        self.patience = patience or Patience()
        self._limiter = trio.CapacityLimiter(AT_ONCE)
        self._etags = ETags()
        self._paces: OrderedDict[str, Pace] = OrderedDict()
        self.answers: Counter[int] = Counter()
        self.heard_at = -math.inf
        self.trouble: str | None = None

    def __repr__(self) -> str:
        asking = self._limiter.statistics()
        return f"<API: {asking.borrowed_tokens} asking, {self.backlog} writes waiting>"

    @property
    def backlog(self) -> int:
        """How many writes wait for their turn, of all credentials."""
        return sum(pace.waiting for pace in self._paces.values())

    def statistics(self) -> dict[str, int]:
        """How many calls are being asked, wait for a connection, and wait to write."""
        asking = self._limiter.statistics()
        waiting = asking.tasks_waiting
        return {"asking": asking.borrowed_tokens, "waiting": waiting, "writes": self.backlog}

    def rate_limit_left(self) -> int | None:
        """How many calls are left until GitHub's next reset, of whoever has the fewest; None when
        that is not known."""
        now = time.time()
        left = [pace.left for pace in self._paces.values() if pace.resets_at > now]
        return min(left, default=None)

    async def call(
        self,
        method: str,
        path: str,
        *,
        credential: Credential = ANONYMOUS,
        data: Data | None = None,
        repeatable: bool | None = None,
        accept: str = JSON,
    ) -> Any:
        """Ask, and return the parsed answer; None for an empty one. Raises GitHubError.

        Args:
            path: below the API's base URL, quoted.
            repeatable: whether doing it twice is doing it once; by default, what HTTP says.

        Cancelled, what was asked for may have been done or not.
        """
        again = method in _REPEATABLE if repeatable is None else repeatable
        asked = _Asked(method, self._url(path), credential, data, accept, again, MAX_ANSWER)
        return (await self._parsed(asked))[0]

    async def page(self, url: str, *, credential: Credential = ANONYMOUS) -> tuple[Any, str | None]:
        """One page of a list, parsed, and the next one's URL. Raises GitHubError.

        Args:
            url: a path below the API's base URL, or the URL of a next page.
        """
        where = url if "://" in url else self._url(url)
        if not _same_host(self.base_url, where):
            raise GitHubError(f"GitHub's list goes on at another host, {where[:100]}")
        return await self._parsed(_Asked("GET", where, credential, None, JSON, True, MAX_ANSWER))

    async def listed(self, path: str, *, credential: Credential = ANONYMOUS) -> list[Any]:
        """The items of a list, of all its pages up to a (logged) bound. Raises GitHubError."""
        items: list[Any] = []
        url = path
        for _ in range(MAX_PAGES):
            page, following = await self.page(url, credential=credential)
            if not isinstance(page, list):
                raise GitHubError(f"GitHub's answer to GET {path} is no list")
            items += page
            if following is None:
                return items
            url = following
        log.warning("github list cut", path=path, items=len(items))
        return items

    async def raw(self, path: str, *, credential: Credential = ANONYMOUS, limit: int) -> bytes:
        """A file's bytes, at most `limit` of them. Raises GitHubError."""
        asked = _Asked("GET", self._url(path), credential, None, RAW, True, limit)
        return (await self._ask(asked)).body

    async def clock_skew(self) -> float | None:
        """How many seconds this machine's clock is ahead of GitHub's; None when GitHub does not say.

        Any answer tells the time, also one that refuses. Raises GitHubError when there is none.
        """
        asked = _Asked("GET", self._url("/rate_limit"), ANONYMOUS, None, JSON, True, MAX_ANSWER)
        before = time.time()
        try:
            with trio.fail_after(self.patience.answer_seconds):
                headers = asked.headers(self.requester, None)
                answer = await self._answer("GET", asked.url, headers, b"", MAX_ANSWER)
            self._heard(answer, self._pace(asked.credential.name))
            theirs = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except (httpx.HTTPError, httpx.InvalidURL, trio.TooSlowError) as error:
            raise self._unheard(_unreached(asked, error)[0]) from error
        except ValueError:
            return None
        # The header has whole seconds, and was written somewhere between asking and now.
        return (before + time.time()) / 2 - (theirs + 0.5)

    async def sleep(self, seconds: float) -> None:
        """Pause. A checkpoint."""
        await trio.sleep(seconds)

    def _url(self, path: str) -> str:
        return self.base_url + path

    async def _parsed(self, asked: _Asked) -> tuple[Any, str | None]:
        """The parsed answer and the next page's URL; what can't be read may be asked for again."""
        for attempt in range(1, self.patience.attempts + 1):
            answer = await self._ask(asked)
            try:
                return await _parse(answer.body), answer.next_page
            except (ValueError, RecursionError) as error:
                message = f"GitHub's answer to {asked} can't be read: {error}"
                failure = GitHubError(message, answer.status, uncertain=True)
                self._etags.drop(asked.key)
                if not asked.repeatable or attempt == self.patience.attempts:
                    raise failure from error
            await self.sleep(self.patience.pause(attempt))
        raise AssertionError("unreachable")

    async def _ask(self, asked: _Asked) -> Answer:
        """Ask as often as it makes sense. Raises GitHubError for everything but success."""
        with span("github", method=asked.method, path=urlsplit(asked.url).path):
            return await self._asked(asked)

    async def _asked(self, asked: _Asked) -> Answer:
        pace = self._pace(asked.credential.name)
        for attempt in range(1, self.patience.attempts + 1):
            if asked.method == "GET":
                pace.read()
            else:
                await pace.write()
            await self._open(pace, asked)
            try:
                answer = await self._followed(asked)
            except (httpx.HTTPError, httpx.InvalidURL, trio.TooSlowError) as error:
                failure, again = _unreached(asked, error)
                self._unheard(failure)
            else:
                self._heard(answer, pace)
                if answer.status < 300:
                    return answer
                failure, again = _failed(asked, answer)
            if isinstance(failure, RateLimited):
                pace.close(failure.retry_after)
                log.warning("github limits", what=str(asked), seconds=failure.retry_after)
            if not again or attempt == self.patience.attempts:
                raise failure
            if not isinstance(failure, RateLimited):
                await self.sleep(self.patience.pause(attempt))
        raise AssertionError("unreachable")

    def _heard(self, answer: Answer, pace: Pace) -> None:
        """Remember how GitHub is, and what is left to ask."""
        self.answers[answer.status] += 1
        pace.heard(answer.headers)
        if answer.status >= 500:
            self.trouble = f"GitHub answers {answer.status}"
        else:
            self.heard_at, self.trouble = trio.current_time(), None

    def _unheard(self, failure: GitHubError) -> GitHubError:
        """Remember that GitHub did not answer, and why."""
        self.answers[0] += 1
        self.trouble = str(failure)
        return failure

    async def _open(self, pace: Pace, asked: _Asked) -> None:
        """Wait while GitHub wants us to, if it is not for long."""
        while (seconds := pace.closed_for()) > 0:
            if seconds > self.patience.longest_pause:
                message = f"GitHub's rate limit keeps {asked} waiting for {seconds:.0f} s more"
                raise RateLimited(message, 429, seconds)
            await self.sleep(seconds + random.uniform(0, self.patience.first_pause))  # noqa: S311

    def _pace(self, name: str) -> Pace:
        pace = self._paces.pop(name, None) or Pace()
        self._paces[name] = pace
        if len(self._paces) > MAX_PACES:
            self._paces.popitem(last=False)
        return pace

    async def _followed(self, asked: _Asked) -> Answer:
        """One attempt, with its redirections: a renamed repository's calls lead to its new name."""
        url, kept, body = asked.url, self._etags.get(asked.key), asked.body()
        headers = asked.headers(self.requester, kept)
        async with self._limiter:
            for _ in range(MAX_REDIRECTS):
                with trio.fail_after(self.patience.answer_seconds):
                    answer = await self._answer(asked.method, url, headers, body, asked.limit)
                target = urljoin(url, answer.headers.get("location", ""))
                if answer.status not in _REDIRECTS or not _same_host(url, target):
                    break
                if asked.method != "GET" and answer.status not in (307, 308):
                    break
                url = target
        if answer.status == 304 and kept is not None:
            return Answer(200, {"link": kept.link}, kept.body)
        etag = answer.headers.get("etag", "")
        if asked.method == "GET" and answer.status == 200 and etag:
            self._etags.put(asked.key, Kept(etag, answer.body, answer.headers.get("link", "")))
        return answer

    async def _answer(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, limit: int
    ) -> Answer:
        async with self._client.stream(
            method, url, headers=dict(headers), content=body
        ) as response:
            content = bytearray()
            # Ended by cancelling: leaving the loop would leave httpx's own generators suspended.
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
            return Answer(response.status_code, response.headers, bytes(content))

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, Mapping[str, str], bytes]:
        """What gidgethub's own methods call, bounded like the rest."""
        answer = await self._answer(method, url, headers, body, MAX_ANSWER)
        return answer.status, answer.headers, answer.body


@dataclass(frozen=True, slots=True)
class _Asked:
    """One call, however often it is tried."""

    method: str
    url: str
    credential: Credential
    data: Data | None
    accept: str
    repeatable: bool
    limit: int

    def __str__(self) -> str:
        return f"{self.method} {urlsplit(self.url).path}"

    @property
    def key(self) -> tuple[str, str, str]:
        return self.credential.name, self.accept, self.url

    def body(self) -> bytes:
        if self.data is None:
            return b""
        return json.dumps(self.data() if callable(self.data) else self.data).encode()

    def headers(self, requester: str, kept: Kept | None) -> dict[str, str]:
        headers = sansio.create_headers(requester, accept=self.accept)
        headers["x-github-api-version"] = API_VERSION
        if self.credential.value:
            headers["authorization"] = f"Bearer {self.credential.value}"
        if self.data is not None:
            headers["content-type"] = "application/json; charset=utf-8"
        if kept is not None and self.method == "GET":
            headers["if-none-match"] = kept.etag
        return headers


def _same_host(url: str, other: str) -> bool:
    one, two = urlsplit(url), urlsplit(other)
    return (one.scheme, one.netloc) == (two.scheme, two.netloc)


def _unreached(asked: _Asked, error: Exception) -> tuple[GitHubError, bool]:
    """The error for a call without an answer, and whether to ask again."""
    reason = str(error) or type(error).__name__
    mend = "is GITHUB_API_URL right, and does this machine reach it?"
    unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
    message = f"GitHub did not answer {asked}: {reason} ({mend})"
    hopeless = isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol))
    failure = GitHubError(message, uncertain=not (unsent or hopeless))
    return failure, (asked.repeatable or unsent) and not hopeless


def _failed(asked: _Asked, answer: Answer) -> tuple[GitHubError, bool]:
    """The error for an answer that is no success, and whether to ask again."""
    said = _said(answer.body)
    wait = advised_wait(answer.status, answer.headers, answer.body, time.time())
    if wait is not None:
        message = f"GitHub limits the rate of {asked} for {wait:.0f} s: {said}"
        return RateLimited(message, answer.status, wait), True
    permissions = answer.headers.get("x-accepted-github-permissions", "")
    failure = explain(answer.status, str(asked), said, permissions=permissions)
    return failure, answer.status >= 500 and asked.repeatable


def _said(body: bytes) -> str:
    """GitHub's own words in an error, in one short line."""
    try:
        data = json.loads(body[:MAX_ANSWER]) if len(body) < IN_THREAD else None
    except (ValueError, RecursionError):
        return "something that is not JSON" if body else ""
    if not isinstance(data, dict):
        return ""
    errors = data.get("errors") or []
    listed = errors[:10] if isinstance(errors, list) else [errors]
    details = [
        error.get("message") or error if isinstance(error, dict) else error for error in listed
    ]
    parts = [str(part) for part in (data.get("message"), *details) if part]
    return " ".join("; ".join(parts).split())[:500]


async def _parse(body: bytes) -> Any:
    """Parse JSON; much of it in a thread, for `json` holds the interpreter until it returns."""
    if not body:
        return None
    if len(body) < IN_THREAD:
        return json.loads(body)
    return await trio.to_thread.run_sync(json.loads, body)
