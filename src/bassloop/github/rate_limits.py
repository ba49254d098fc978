"""GitHub's rate limits: stay below the secondary ones, and send nothing while it says to wait.

Reading costs a point and writing five, of 900 a minute. :mod:`bassloop.github.api_budget` decides whose turn it is.
https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

import heapq
import itertools
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import Backoff
from bassloop.github.api_budget import APIBudget, Purpose, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping

    from bassloop.github.reservations import Reservation

READ_POINTS = 1
WRITE_POINTS = 5
DEFAULT_WAIT = 60.0
"""Seconds to wait after a limit that came without a time."""

LONGEST_HOUR = 3700.0
"""Seconds; a reset that is later than this comes from a clock that is wrong."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The policy for retries: how often and for how long a call is tried.

    Args:
        attempts: how many there are at most.
        first_delay: seconds before the second attempt, on average; doubled for each further one.
        longest_delay: seconds; a rate limit that lasts longer is an error at once.
        answer_seconds: how long one attempt may take, from connecting to the response's last byte.
    """

    attempts: int = 4
    first_delay: float = 1.0
    longest_delay: float = 120.0
    answer_seconds: float = 60.0

    @property
    def backoff(self) -> Backoff:
        """The delays between attempts."""
        return Backoff(self.first_delay, self.longest_delay)


def requested_wait(
    status: int, headers: Mapping[str, str], body: bytes, now: float
) -> float | None:
    """Return the seconds that GitHub wants us to wait, or None if the response isn't a rate limit's.

    Args:
        now: seconds since the epoch, for the reset time that GitHub gives.
    """
    if status not in (403, 429):
        return None
    if (after := _number(headers.get("retry-after"))) is not None:
        return after
    if headers.get("x-ratelimit-remaining") == "0":
        reset = _number(headers.get("x-ratelimit-reset"))
        return DEFAULT_WAIT if reset is None else max(reset - now, 1.0)
    limited = status == 429 or b"rate limit" in body[:4096].lower()
    return DEFAULT_WAIT if limited else None


def _number(header: str | None) -> float | None:
    text = (header or "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 15 else None


@dataclass(order=True)
class _Waiter:
    """A request that waits for its turn. `may_be_first` is set when it may have become the first of its purpose."""

    since: float
    number: int
    may_be_first: trio.Event = field(default_factory=trio.Event, compare=False)


@dataclass(eq=False)
class Pacer:
    """Lets the requests of one credential be made when its budget allows.

    Of each purpose, the repository goes first that has spent the least in this window, and of each repository what has
    waited the longest.

    Args:
        budget: who may spend how much.
        on_idle: called when the last request of a purpose and a repository that waited no longer does.
        reservation: what is stored of the budget, if anything is.
    """

    budget: APIBudget = field(default_factory=APIBudget)
    on_idle: Callable[[Purpose], object] = lambda _: None
    reservation: Reservation | None = None
    _waiters: dict[Purpose, dict[str | None, list[_Waiter]]] = field(
        default_factory=lambda: {purpose: {} for purpose in Purpose}, init=False
    )
    _numbers: Iterator[int] = field(default_factory=itertools.count, init=False)

    def __repr__(self) -> str:
        return f"<Pacer: {self.budget!r}>"

    @property
    def waiting(self) -> int:
        """The number of requests that wait for their turn."""
        return self.budget.waiting.total()

    def is_waiting(self, purpose: Purpose, repository: str | None) -> bool:
        """Return whether a request of this purpose waits that is made for this repository."""
        return repository in self._waiters[purpose]

    def closed_for(self, turn: Turn) -> float:
        """Return for how many seconds GitHub lets nothing like this be sent; 0 if it does."""
        now = trio.current_time()
        return self.budget.opens_at(turn.purpose, now, turn.repository) - now

    async def close(self, seconds: float) -> None:
        """Let nothing be sent for so long, unless it is closed for longer already."""
        until = trio.current_time() + seconds
        # Many calls are refused at about the same time: the first of them is stored.
        news = until > self.budget.closed_until + 1.0
        self.budget.close(until)
        if news and self.reservation is not None:
            await self.reservation.write()

    def update(self, headers: Mapping[str, str]) -> None:
        """Note what a response's headers say is left."""
        left = _number(headers.get("x-ratelimit-remaining"))
        limit = _number(headers.get("x-ratelimit-limit"))
        resets_at = _number(headers.get("x-ratelimit-reset"))
        if left is not None and resets_at is not None:
            in_seconds = min(resets_at - time.time(), LONGEST_HOUR)
            limit = left if limit is None else limit
            self.budget.update(int(left), int(limit), trio.current_time() + in_seconds)

    @asynccontextmanager
    async def admit(self, turn: Turn, points: int) -> AsyncGenerator[None]:
        """Wait for a request's turn, and spend its points; the body makes the request.

        Cancelled before the body, it spends nothing, and the next one's turn comes.
        """
        await self._wait_for(turn, points)
        try:
            yield
        finally:
            self.budget.end(turn.purpose, points, trio.current_time(), turn.repository)

    async def _wait_for(self, turn: Turn, points: int) -> None:
        purpose, repository = turn.purpose, turn.repository
        waiters = self._waiters[purpose].setdefault(repository, [])
        mine = _Waiter(turn.since, next(self._numbers))
        heapq.heappush(waiters, mine)
        self.budget.wait(purpose, repository)
        try:
            while True:
                if (first := self._first(purpose)) is not mine:
                    # It may be so only since something that it had spent was forgotten.
                    first.may_be_first.set()
                    await mine.may_be_first.wait()
                    mine.may_be_first = trio.Event()
                    continue
                now = trio.current_time()
                at = self.budget.may_spend_at(purpose, points, now, repository)
                if at > now:
                    # Meanwhile one that goes first may have come.
                    await trio.sleep_until(at)
                elif self.reservation is not None and self.reservation.left < points:
                    await self.reservation.renew(points)
                else:
                    break
            self.budget.begin(purpose, points, repository)
            if self.reservation is not None:
                self.reservation.left -= points
        finally:
            self.budget.stop_waiting(purpose, repository)
            waiters.remove(mine)
            heapq.heapify(waiters)
            if not waiters:
                del self._waiters[purpose][repository]
                self.on_idle(purpose)
            if self._waiters[purpose]:
                self._first(purpose).may_be_first.set()

    def _first(self, purpose: Purpose) -> _Waiter:
        """Return the request of a purpose whose turn comes next; at least one has to wait."""
        now, waiters = trio.current_time(), self._waiters[purpose]
        first = min(
            waiters,
            key=lambda each: (self.budget.place(purpose, now, each), waiters[each][0]),
        )
        return waiters[first][0]
