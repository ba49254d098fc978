"""The client of GitHub's REST API: httpx under Trio, with bounds, retries, rate limits and a cache.

A request that may be repeated is, with growing and jittered delays; one that creates something is repeated
only when GitHub said that it did nothing (a rate limit) or was never reached. A response is read up to a
size and for so long. Nobody's token is sent to another host, wherever a response points.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx
import structlog
import trio

from bassloop.concurrency import Backoff, TTLCache, retry
from bassloop.github.api_budget import POINTS, APIBudget, Purpose, current_turn
from bassloop.github.errors import GitHubError, RateLimited
from bassloop.github.pacing import OUTAGE_SECONDS, READ_POINTS, WRITE_POINTS, OutageGate, Pacer
from bassloop.github.request import (
    ANONYMOUS,
    JSON,
    RAW,
    Credential,
    Data,
    Request,
    Response,
    failed,
    fetch,
    is_same_host,
    unanswered,
    unreadable,
)
from bassloop.github.reservations import Reservation, restore
from bassloop.telemetry.spans import span

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from bassloop.github.reservations import SpendingStore, StoredSpending

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_PAGES = 50
MAX_REDIRECTS = 3
MAX_PACERS = 10_000
AT_ONCE = 50
"""The most requests of one node at the same time."""

AT_ONCE_TOGETHER = 90
"""The most requests of all nodes at the same time. GitHub refuses everything for a minute if there are over 100."""

KEPT_CONNECTIONS = 0.2
"""The fraction of a node's connections that is kept free of requests that start new work."""

LONGEST_TO_COMPARE = 20.0
"""Seconds. The date of a response that took longer isn't compared with this machine's clock."""

CACHE_BYTES = 32 << 20
LARGEST_CACHED = 2 << 20
LEAST_CACHED = 32 << 10
"""The size that small responses are rounded up to, so that the cache holds a thousand at most."""

_REPEATABLE = frozenset({"GET", "PATCH", "PUT", "DELETE"})
_REDIRECTS = frozenset({301, 302, 307, 308})


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """A cached response. Sent its ETag, GitHub answers 304 if it's still current, which counts towards no limit."""

    etag: str
    body: bytes
    link: str


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The policy for retries: how often and for how long a call is tried.

    Args:
        attempts: the maximum number of attempts.
        first_delay: the average delay before the second attempt, in seconds; it doubles with each further one.
        longest_delay: seconds; a rate limit that lasts longer raises at once.
        answer_seconds: the time limit for one attempt, from connecting to the response's last byte.
    """

    attempts: int = 4
    first_delay: float = 1.0
    longest_delay: float = 120.0
    answer_seconds: float = 60.0

    @property
    def backoff(self) -> Backoff:
        """The delays between attempts."""
        return Backoff(self.first_delay, self.longest_delay)


class RestClient:
    """A client of GitHub's REST API, shared by everything that calls it. Each call names its credential.

    `answers` counts attempts by the status of the response, 0 if there was none. `heard_at` is the time, by Trio's
    clock, of the last response that wasn't a server error, and `trouble` the error since then, if any. `app_refused`
    is true while GitHub doesn't accept the App's own credential, and `clock_ahead` the seconds that this machine's
    clock is ahead of GitHub's, if GitHub has said so. `points` are what each credential may spend in a minute.
    `on_start_possible` is called when `may_start` may have become true, and `on_recovered` when GitHub answers again
    after an outage. Unless `may_write` is true, nothing is changed.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        base_url: str,
        *,
        retries: RetryPolicy | None = None,
        points: int = POINTS,
        spending_store: SpendingStore | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.retries = retries or RetryPolicy()
        self._client = client
        self.points = points
        self._spending_store = spending_store
        self._stored: dict[str, StoredSpending] = {}
        self.on_start_possible: Callable[[], object] = lambda: None
        self.on_recovered: Callable[[], object] = lambda: None
        self.may_write: Callable[[], bool] = lambda: True
        self._cache = TTLCache[tuple[str, str, str], CachedResponse](
            CACHE_BYTES, size_of=lambda cached: max(len(cached.body), LEAST_CACHED)
        )
        self._pacers = TTLCache[str, Pacer](MAX_PACERS)
        self._limiter, self._starting = trio.CapacityLimiter(1), trio.CapacityLimiter(1)
        self.share(1)
        self.answers: Counter[int] = Counter()
        self.heard_at = -math.inf
        self.trouble: str | None = None
        self._outages = OutageGate(lambda: self.on_start_possible())
        self.app_refused = False
        self.clock_ahead: float | None = None

    def __repr__(self) -> str:
        asking = self._limiter.statistics()
        return (
            f"<RestClient: {asking.borrowed_tokens} asking, {self.backlog} waiting for their turn>"
        )

    @property
    def backlog(self) -> int:
        """The number of calls that wait for their turn, of all credentials."""
        return sum(pacer.waiting for pacer in self._pacers.values())

    def share(self, nodes: int) -> None:
        """Limit concurrent requests and reserved slices to one node's part, if this many nodes share the limits."""
        self._nodes = nodes
        for pacer in self._pacers.values():
            if pacer.reservation is not None:
                pacer.reservation.nodes = nodes
        at_once = max(min(AT_ONCE, AT_ONCE_TOGETHER // nodes), 2)
        self._limiter.total_tokens = at_once
        self._starting.total_tokens = at_once - max(round(at_once * KEPT_CONNECTIONS), 1)

    async def recall_spending(self) -> None:
        """Load what earlier processes have spent. Call it before the first request.

        Otherwise, a daemon that keeps crashing would spend a minute's points after each restart, and GitHub would
        refuse everybody.
        """
        if self._spending_store is not None:
            try:
                self._stored = dict(await self._spending_store.all())
            except Exception as error:  # noqa: BLE001  (GitHub knows as well, and refuses)
                log.warning("spending not read from the store", error=repr(error))

    async def store_spending(self) -> None:
        """Store what was spent, and release the rest of the reservation. Call it after the last request."""
        for pacer in self._pacers.values():
            if pacer.reservation is not None:
                await pacer.reservation.end()

    def may_start(self, installation_id: int | None, repository: str | None) -> bool:
        """Return whether no request that starts work for a repository is waiting, on an installation's budget.

        During an outage, none of another repository may be waiting either.
        `on_start_possible` is called when that may have changed.
        """
        if installation_id is None:
            return True
        if not self._outages.has_room:
            return False
        pacer = self._pacers.get(Credential.of_installation(installation_id).name)
        return pacer is None or not pacer.is_waiting(Purpose.START, repository)

    def _on_idle(self, purpose: Purpose) -> None:
        if purpose is Purpose.START:
            self.on_start_possible()

    def budgets(self) -> dict[str, APIBudget]:
        """Return the budget of each credential that was used."""
        return {name: pacer.budget for name in self._pacers if (pacer := self._pacers.get(name))}

    def statistics(self) -> dict[str, int]:
        """Return how many calls are under way, wait for a connection, and wait for their turn."""
        asking = self._limiter.statistics()
        waiting = asking.tasks_waiting
        return {"asking": asking.borrowed_tokens, "waiting": waiting, "paced": self.backlog}

    def rate_limit_left(self) -> int | None:
        """Return the calls left until GitHub's next reset, for the credential that has the fewest. None if unknown."""
        now = trio.current_time()
        budgets = [pacer.budget for pacer in self._pacers.values()]
        left = [
            each.calls_left
            for each in budgets
            if each.calls_left is not None and each.resets_at > now
        ]
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
        """Make a call and return the parsed response; None for an empty one. Raises GitHubError.

        Args:
            path: below the API's base URL, quoted.
            repeatable: whether the call is idempotent; by default, as HTTP defines it for the method.

        If it is cancelled, GitHub may or may not have executed the request.
        """
        if repeatable is None:
            repeatable = method in _REPEATABLE
        request = Request(method, self.base_url + path, credential, data, accept, repeatable)
        return (await self._send(request, self._parse))[0]

    async def page(self, url: str, *, credential: Credential = ANONYMOUS) -> tuple[Any, str | None]:
        """Return one page of a list, parsed, and the next one's URL. Raises GitHubError.

        Args:
            url: a path below the API's base URL, or the URL of a next page.
        """
        where = url if "://" in url else self.base_url + url
        if not is_same_host(self.base_url, where):
            raise GitHubError(f"the next page of GitHub's list is on another host, {where[:100]}")
        return await self._send(Request("GET", where, credential), self._parse)

    async def listed(self, path: str, *, credential: Credential = ANONYMOUS) -> list[Any]:
        """Return the items of a list, of all its pages up to a (logged) bound. Raises GitHubError."""
        items: list[Any] = []
        url = path
        for _ in range(MAX_PAGES):
            page, next_url = await self.page(url, credential=credential)
            if not isinstance(page, list):
                raise GitHubError(f"GitHub's answer to GET {path} is no list")
            items += page
            if next_url is None:
                return items
            url = next_url
        log.warning("github list cut", path=path, items=len(items))
        return items

    async def raw(self, path: str, *, credential: Credential = ANONYMOUS, limit: int) -> bytes:
        """Return a file's bytes, at most `limit` of them. Raises GitHubError."""

        async def body(request: Request, response: Response) -> bytes:
            # GitHub never sends a raw file as HTML; a proxy in between answers so for everything.
            if response.headers.get("content-type", "").startswith("text/html"):
                self._cache.forget(request.cache_key)
                raise unreadable(request, response, ValueError("it is a page of HTML"))
            return response.body

        request = Request("GET", self.base_url + path, credential, accept=RAW, limit=limit)
        return await self._send(request, body)

    async def clock_skew(self) -> float | None:
        """Return the seconds that this machine's clock is ahead of GitHub's, or None if GitHub doesn't say.

        Any response has the time, even a refusal. Raises GitHubError when there is none.
        """
        request = Request("GET", f"{self.base_url}/rate_limit")
        await self._respond(request, self._attempt(request, request.url))
        return self.clock_ahead

    async def _parse(self, request: Request, response: Response) -> tuple[Any, str | None]:
        try:
            return await response.parsed(), response.next_page
        except (ValueError, RecursionError) as error:
            self._cache.forget(request.cache_key)
            raise unreadable(request, response, error) from error

    async def _send(self, request: Request, read: Callable[[Request, Response], Awaitable[T]]) -> T:
        """Send a request, with retries. Raises GitHubError for everything but success."""
        pacer = self._pacer(request.credential)
        points = READ_POINTS if request.method == "GET" else WRITE_POINTS

        async def attempt() -> T:
            if current_turn().purpose >= Purpose.CONCLUDE:
                await self._outages.wait()
            self._refuse_if_closed(pacer, request)
            async with pacer.admit(current_turn(), points):
                response = await self._respond(request, self._follow(request))
            if response.status >= 300:
                error = failed(request, response)
                if isinstance(error, RateLimited):  # the next attempt waits until the pacer is open
                    log.warning("github limits", what=str(request), seconds=error.retry_after)
                    await pacer.close(error.retry_after)
                raise error
            return await read(request, response)

        def retry_after(error: Exception) -> float | None:
            if not isinstance(error, GitHubError) or not error.retryable:
                return None
            if isinstance(error, RateLimited):
                return 0.0 if error.retry_after <= self.retries.longest_delay else None
            return 0.0

        with span("github", method=request.method, path=urlsplit(request.url).path):
            policy = self.retries
            return await retry(
                attempt, policy.backoff, retry_after=retry_after, attempts=policy.attempts
            )

    async def _respond(self, request: Request, response: Awaitable[Response]) -> Response:
        """Await a response, and note GitHub's state and the remaining rate limit. Raises GitHubError."""
        try:
            found = await response
        except (httpx.HTTPError, httpx.InvalidURL, trio.TooSlowError) as error:
            failure = unanswered(request, error)
            self.answers[0] += 1
            self._note_trouble("GitHub can't be reached; the loop's log says why")
            raise failure from error
        self.answers[found.status] += 1
        self._pacer(request.credential).update(found.headers)
        if found.status >= 500:
            self._note_trouble(f"GitHub answers {found.status}")
        else:
            self._note_success()
            if request.credential.is_app:
                self.app_refused = found.status == 401
        return found

    def _note_trouble(self, trouble: str) -> None:
        self._outages.note_failure()
        self.trouble = trouble

    def _note_success(self) -> None:
        lasted = self._outages.note_answer()
        self.heard_at, self.trouble = trio.current_time(), None
        if lasted > OUTAGE_SECONDS:
            log.info("github answers again", seconds=round(lasted))
            self.on_recovered()

    def _refuse_if_closed(self, pacer: Pacer, request: Request) -> None:
        """Raise RateLimited if the rate limit would keep somebody waiting for long.

        Nobody waits for a request that starts new work, so it keeps its place in the queue instead.
        """
        turn = current_turn()
        seconds = pacer.closed_for(turn)
        if turn.purpose < Purpose.START and seconds > self.retries.longest_delay:
            message = f"GitHub's rate limit keeps {request} waiting for {seconds:.0f} s more"
            raise RateLimited(message, 429, seconds, retryable=False)

    def _pacer(self, credential: Credential) -> Pacer:
        name = credential.name
        pacer = self._pacers.get(name)
        if pacer is None:
            pacer = Pacer(APIBudget(self.points), self._on_idle)
            if self._spending_store is not None:
                pacer.reservation = Reservation(
                    name, pacer.budget, self._spending_store, self._nodes
                )
            if (stored := self._stored.pop(name, None)) is not None:
                restore(pacer.budget, stored)
        self._pacers.store(name, pacer)
        return pacer

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[None]:
        """Hold one of the connections. Requests that start new work leave some of them to the others."""
        async with AsyncExitStack() as stack:
            if current_turn().purpose >= Purpose.START:
                await stack.enter_async_context(self._starting)
            await stack.enter_async_context(self._limiter)
            yield

    async def _follow(self, request: Request) -> Response:
        """Make one attempt, following redirects, which GitHub sends for a renamed repository."""
        url, cached = request.url, self._cache.get(request.cache_key)
        async with self._connection():
            for _ in range(MAX_REDIRECTS):
                response = await self._attempt(request, url, cached)
                target = urljoin(url, response.headers.get("location", ""))
                if response.status not in _REDIRECTS or not is_same_host(url, target):
                    break
                if request.method != "GET" and response.status not in (307, 308):
                    break
                url = target
        if response.status == 304 and cached is not None:
            return Response(200, {"link": cached.link}, cached.body)
        etag = response.headers.get("etag", "")
        if request.method == "GET" and response.status == 200 and etag:
            if len(response.body) <= LARGEST_CACHED:
                link = response.headers.get("link", "")
                self._cache.store(request.cache_key, CachedResponse(etag, response.body, link))
            else:
                self._cache.forget(request.cache_key)
        return response

    async def _attempt(
        self, request: Request, url: str, cached: CachedResponse | None = None
    ) -> Response:
        async def check_fence(event: str, _: object) -> None:
            """Check again just before sending, since connecting may have taken longer than the lease lasts."""
            if event.endswith(".send_request_headers.started"):
                self._check_fence(request)

        self._check_fence(request)
        began = time.time()
        with trio.fail_after(self.retries.answer_seconds):
            response = await fetch(
                self._client,
                request.method,
                url,
                limit=request.limit,
                headers=request.headers(cached.etag if cached is not None else None),
                content=request.body(),
                extensions={"trace": check_fence},
            )
        self._note_clock(response, began, time.time())
        return response

    def _check_fence(self, request: Request) -> None:
        if request.method != "GET" and not self.may_write():
            raise GitHubError(
                f"{request} isn't sent: other nodes may have taken over from this one"
            )

    def _note_clock(self, response: Response, began: float, ended: float) -> None:
        if ended - began > LONGEST_TO_COMPARE or not (date := response.headers.get("date")):
            return
        try:
            theirs = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        # The header has whole seconds, and was written somewhere between the two.
        self.clock_ahead = (began + ended) / 2 - (theirs + 0.5)
