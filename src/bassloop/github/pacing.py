"""When requests to GitHub are sent: below its secondary rate limits, once GitHub says so, and during its outages.

A read costs one point and a write five, of 900 a minute. :mod:`bassloop.github.api_budget` decides whose turn it is.
https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api

While GitHub doesn't answer, only a few calls are made to find out when it's back.
"""

from __future__ import annotations

import heapq
import itertools
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.github.api_budget import APIBudget, Purpose, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping

    from bassloop.github.reservations import Reservation


READ_POINTS = 1
WRITE_POINTS = 5
DEFAULT_WAIT = 60.0
"""How many seconds to wait if GitHub refuses a call without saying for how long."""

LONGEST_HOUR = 3700.0
"""Seconds. A reset time further away than this is due to a wrong clock."""

OUTAGE_SECONDS = 30.0
"""How long GitHub must have answered no call before that counts as an outage."""

PROBE_SECONDS = 10.0
"""The interval between calls during an outage, of those that can wait."""


def requested_wait(
    status: int, headers: Mapping[str, str], body: bytes, now: float
) -> float | None:
    """Return how many seconds GitHub asks to wait, or None if the response isn't about a rate limit.

    Args:
        now: in seconds since the epoch, like GitHub's reset time.
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
    """A request that waits for its turn. `may_be_first` is set when it may have become the first one of its purpose."""

    since: float
    number: int
    may_be_first: trio.Event = field(default_factory=trio.Event, compare=False)


@dataclass(eq=False)
class Pacer:
    """Delays the requests of one credential until its budget allows them.

    Within a purpose, the repository that has spent the least in this window goes first; within a repository, the
    oldest request.

    Args:
        budget: decides who may spend how much.
        on_idle: called when no request of a purpose and a repository waits any more.
        reservation: the stored part of the budget, if it is stored.
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
        """The number of requests that are waiting."""
        return self.budget.waiting.total()

    def is_waiting(self, purpose: Purpose, repository: str | None) -> bool:
        """Return whether a request with this purpose and repository is waiting."""
        return repository in self._waiters[purpose]

    def closed_for(self, turn: Turn) -> float:
        """Return for how many seconds GitHub's limits hold back requests like this one."""
        now = trio.current_time()
        return self.budget.opens_at(turn.purpose, now, turn.repository) - now

    async def close(self, seconds: float) -> None:
        """Send nothing for `seconds`, or until a later time that was set before."""
        until = trio.current_time() + seconds
        # Many calls are refused at about the same time; storing the first is enough.
        news = until > self.budget.closed_until + 1.0
        self.budget.close(until)
        if news and self.reservation is not None:
            await self.reservation.write()

    def update(self, headers: Mapping[str, str]) -> None:
        """Note the remaining rate limit from a response's headers."""
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

        If cancelled before the body runs, it spends nothing, and the next request gets its turn.
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
                    # It may have become the first because old spending has left the window.
                    first.may_be_first.set()
                    await mine.may_be_first.wait()
                    mine.may_be_first = trio.Event()
                    continue
                now = trio.current_time()
                at = self.budget.may_spend_at(purpose, points, now, repository)
                if at > now:
                    # A more urgent one may have arrived in the meantime.
                    await trio.sleep_until(at)
                elif self.reservation is not None and not self.reservation.covers(points):
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
        """Return the next request of a purpose; at least one has to be waiting."""
        now, waiters = trio.current_time(), self._waiters[purpose]
        first = min(
            waiters,
            key=lambda each: (self.budget.place(purpose, now, each), waiters[each][0]),
        )
        return waiters[first][0]


@dataclass(eq=False)
class OutageGate:
    """A gate for calls that can wait. During an outage, it lets one through now and then.

    Otherwise, a backlog would spend the hour's calls on failures, and have none left when GitHub is back.

    Args:
        on_idle: called when nobody waits any more.
    """

    on_idle: Callable[[], object] = lambda: None
    _since: float | None = field(default=None, init=False)
    _next_at: float = field(default=0.0, init=False)
    _waiting: int = field(default=0, init=False)
    _answered: trio.Event = field(default_factory=trio.Event, init=False)

    def __repr__(self) -> str:
        state = "outage" if self.is_outage else "open"
        return f"<OutageGate: {state}, {self._waiting} waiting>"

    @property
    def is_outage(self) -> bool:
        """True during an outage."""
        return self._since is not None and trio.current_time() - self._since > OUTAGE_SECONDS

    @property
    def has_room(self) -> bool:
        """True if new work may be started. During an outage, only if no other call waits at the gate."""
        return not (self._waiting and self.is_outage)

    async def wait(self) -> None:
        """Wait until GitHub answers again, or it's this call's turn to find out."""
        while self.is_outage:
            now = trio.current_time()
            if now >= self._next_at:
                self._next_at = now + PROBE_SECONDS
                break
            self._waiting += 1
            try:
                with trio.move_on_at(self._next_at):
                    await self._answered.wait()
            finally:
                self._waiting -= 1
                if not self._waiting:
                    self.on_idle()

    def note_failure(self) -> None:
        """Note that a call got no answer, or a server error."""
        if self._since is None:
            self._since = trio.current_time()

    def note_answer(self) -> float:
        """Note that GitHub has answered. Return for how many seconds it hadn't."""
        if self._since is None:
            return 0.0
        seconds, self._since = trio.current_time() - self._since, None
        self._answered.set()
        self._answered = trio.Event()
        return seconds
