"""The budget of one credential: who may spend the points that GitHub allows, and when. No I/O, no clock.

GitHub allows 900 points a minute (reading costs 1, writing 5) and some thousands of calls an hour. After an
outage there is more to do than both allow, and then it matters who goes first: a runner that can't sign in,
or a check that can't be concluded, keeps more waiting than a check that begins a minute later. So each
request has a *purpose*:

- A purpose has a *ceiling*: it may spend only while the window's spending is below it. The points above the ceiling
  are a reserve for more urgent purposes.
- A purpose has a *share* of its own, which its ceiling doesn't limit: while one of its requests waits, the others
  leave that much of the window to it. So no purpose starves, however much the others ask for. The share of people is
  kept for them even while nobody waits.

All repositories of an installation share its budget. One that never stops pushing mustn't keep the others waiting, so
a repository may have spent at most EVENNESS times what is left, both of the window and of the hour. While the others
are idle, it gets nine tenths, and the rest is free for the first that wants it. An installation's only repository
gets everything. This is the dynamic threshold by which switches share their buffers: the more repositories are busy,
the less each may have, and nothing is set aside for those that aren't.

Several nodes may spend the points of a credential. Each has a budget of all points, in which it counts what the others
have spent (:mod:`bassloop.github.reservations`). So a busy node gets what idle ones leave. Only the evenness of
repositories is each node's own.

https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

POINTS = 890
"""The points to spend in a window, a few less than GitHub's 900."""

WINDOW_SECONDS = 60.0
GRAIN_SECONDS = 0.05

EVENNESS = 9
"""The highest ratio of what a repository has spent to what it leaves to the others."""

_DEAREST = 5
"""The cost in points of the most expensive request."""

ANOTHER_HOUR = 60.0
"""Seconds. A reset time that is this much later than the previous one belongs to the next hour."""


class Purpose(IntEnum):
    """The purpose of a request, from the most urgent to the one that can wait the longest."""

    PEOPLE = 0
    """A runner or a person who signs in, opens a page, or presses a button."""

    CONCLUDE = 1
    """Updating a check that runs or has ended."""

    START = 2
    """Handling an event, and creating its checks."""

    BACKGROUND = 3
    """Housekeeping that nobody waits for, such as looking for deliveries that never arrived."""


def purpose_name(purpose: Purpose | None) -> str:
    """Return a purpose's name, for people and metrics. None is the purpose of what an earlier process spent."""
    return "before_restart" if purpose is None else purpose.name.lower()


def purpose_of(name: str) -> Purpose | None:
    """Return the purpose of a name, None for one that an earlier process or a newer version has written."""
    return Purpose.__members__.get(name.upper())


class Portion(NamedTuple):
    """A purpose's part of a window and of an hour, as fractions.

    Args:
        ceiling: the total spending at which this purpose has to stop.
        share: the part that the others leave to it while it waits.
        hourly_reserve: the part of the hour's calls that it leaves to more urgent purposes.
    """

    ceiling: float
    share: float
    hourly_reserve: float


PORTIONS = {
    Purpose.PEOPLE: Portion(ceiling=1.0, share=0.03, hourly_reserve=0.0),
    Purpose.CONCLUDE: Portion(ceiling=0.97, share=0.20, hourly_reserve=0.02),
    Purpose.START: Portion(ceiling=0.95, share=0.20, hourly_reserve=0.05),
    Purpose.BACKGROUND: Portion(ceiling=0.60, share=0.02, hourly_reserve=0.20),
}


class Turn(NamedTuple):
    """The position of a waiting request: by purpose, then by repository, then by `since`, the older first.

    Args:
        since: any number; requests with the same number are served in order of arrival.
        repository: the repository's name. None for a request that belongs to none; it is never held back for others.
    """

    purpose: Purpose = Purpose.PEOPLE
    since: float = 0.0
    repository: str | None = None


_turn: ContextVar[Turn] = ContextVar("turn", default=Turn())  # noqa: B039  (immutable)


def current_turn() -> Turn:
    """Return the turn of this task's requests; the one of people unless `spending` has set another."""
    return _turn.get()


@contextmanager
def spending(
    purpose: Purpose, since: float = 0.0, repository: str | None = None
) -> Generator[None]:
    """Set the purpose of requests made in the body, and by tasks that it starts.

    Args:
        since: when the work that they are for began to wait; the oldest goes first.
        repository: the repository that they are for; by default, that of the enclosing `spending`.
    """
    token = _turn.set(Turn(purpose, since, repository or _turn.get().repository))
    try:
        yield
    finally:
        _turn.reset(token)


class _Spent(NamedTuple):
    """Points that were spent at about the same time; `at` is the latest."""

    at: float
    points: int
    purpose: Purpose | None
    repository: str | None
    since: float


@dataclass(eq=False)
class APIBudget:
    """The budget of one credential, which nodes may share. All times are seconds on one monotonic clock.

    Args:
        points: that may be spent in any window.
        seconds: the length of the window.
        waiting: the number of requests that wait, by purpose.
        spent: the points that this node has spent in the window, by purpose, including requests in flight.
        spent_by_others: the points that other nodes have spent in the window or may spend, by purpose.
        spent_for: the points spent in the window, by repository, including requests in flight.
        under_way: the points of requests in flight.
        calls_left: the calls left until `resets_at`, according to GitHub; None if it hasn't said yet.
        call_limit: the calls that it allows an hour.
    """

    points: int = POINTS
    seconds: float = WINDOW_SECONDS
    waiting: Counter[Purpose] = field(default_factory=Counter, init=False)
    spent: Counter[Purpose | None] = field(default_factory=Counter, init=False)
    spent_by_others: Counter[Purpose | None] = field(default_factory=Counter, init=False)
    spent_for: Counter[str] = field(default_factory=Counter, init=False)
    under_way: int = field(default=0, init=False)
    calls_left: int | None = field(default=None, init=False)
    call_limit: int = field(default=0, init=False)
    resets_at: float = field(default=-math.inf, init=False)
    closed_until: float = field(default=-math.inf, init=False)
    _entries: deque[_Spent] = field(default_factory=deque, init=False)
    _others: deque[_Spent] = field(default_factory=deque, init=False)
    _repositories: set[str] = field(default_factory=set, init=False)
    _calls_for: Counter[str] = field(default_factory=Counter, init=False)
    _waiting_for: dict[Purpose, Counter[str]] = field(
        default_factory=lambda: {purpose: Counter() for purpose in Purpose}, init=False
    )

    def __repr__(self) -> str:
        waiting = self.waiting.total()
        return f"<APIBudget: {self._total()} of {self.points} points spent, {waiting} waiting>"

    def count_earlier(self, spent: Iterable[tuple[float, int]], now: float) -> None:
        """Count what an earlier process has spent, as pairs of a time and points."""
        earlier = [
            _Spent(at, points, None, None, at) for at, points in spent if at + self.seconds > now
        ]
        self._entries = deque(sorted((*self._entries, *earlier), key=lambda entry: entry.at))
        self.spent[None] += sum(entry.points for entry in earlier)

    def count_others(self, spent: Iterable[tuple[float, int, Purpose | None]], now: float) -> None:
        """Count what other nodes have spent, as times, points and purposes, instead of what was counted before."""
        self._others = deque(
            sorted(
                (_Spent(at, points, purpose, None, at) for at, points, purpose in spent),
                key=attrgetter("at"),
            )
        )
        self.spent_by_others.clear()
        for entry in self._others:
            self.spent_by_others[entry.purpose] += entry.points
        self.forget(now)

    def recently_spent(self, now: float) -> list[tuple[float, int, Purpose | None]]:
        """Return what this node has spent in the window, without requests in flight, as times, points and purposes.

        The purpose is None for what an earlier process spent.
        """
        self.forget(now)
        return [(entry.at, entry.points, entry.purpose) for entry in self._entries]

    def may_spend_at(
        self, wanted: Purpose, points: int, now: float, repository: str | None = None
    ) -> float:
        """Return the earliest time at which a request may be made, `now` if it may be at once.

        Others may spend in the meantime, so ask again then.
        """
        self.forget(now)
        opens = self.opens_at(wanted, now, repository)
        excess = self._excess(wanted, points, repository)
        if excess <= 0:
            return opens
        for entry in heapq.merge(self._entries, self._others, key=attrgetter("at")):
            excess -= entry.points
            if repository is not None and entry.repository == repository:
                excess -= self._left_for(entry.points)
            if excess <= 0:
                return max(opens, entry.at + self.seconds)
        return max(opens, now + self.seconds)

    def opens_at(self, wanted: Purpose, now: float, repository: str | None = None) -> float:
        """Return when GitHub's own limits let this purpose spend again, regardless of the budget; `now` if they do."""
        opens = max(now, self.closed_until)
        if self._hour_is_kept(wanted, now, repository):
            return max(opens, self.resets_at)
        return opens

    def place(
        self, wanted: Purpose, now: float, repository: str | None = None
    ) -> tuple[float, int]:
        """Return a sort key for repositories whose requests of the same purpose compete.

        The one that has spent the least in this window goes first. One that has used up its part of the hour goes
        last.
        """
        self.forget(now)
        spent = 0 if repository is None else self.spent_for[repository]
        return self.opens_at(wanted, now, repository), spent

    def wait(self, wanted: Purpose, repository: str | None = None) -> None:
        """Count a request that begins to wait."""
        self.waiting[wanted] += 1
        if repository is not None:
            self._repositories.add(repository)
            self._waiting_for[wanted][repository] += 1

    def stop_waiting(self, wanted: Purpose, repository: str | None = None) -> None:
        """Stop counting a request as waiting."""
        self.waiting[wanted] -= 1
        if repository is not None:
            self._waiting_for[wanted][repository] -= 1
            if not self._waiting_for[wanted][repository]:
                del self._waiting_for[wanted][repository]

    def begin(self, wanted: Purpose, points: int, repository: str | None = None) -> None:
        """Count a request that is being sent."""
        self.spent[wanted] += points
        self.under_way += points
        if repository is not None:
            self.spent_for[repository] += points
        if self.calls_left is not None:
            self.calls_left -= 1
            if repository is not None:
                self._calls_for[repository] += 1

    def end(self, wanted: Purpose, points: int, now: float, repository: str | None = None) -> None:
        """Note that a request was answered or given up.

        GitHub counted it at some time since it was sent, so it counts here for a window from now.
        """
        self.under_way -= points
        last = self._entries[-1] if self._entries else None
        if (
            last is not None
            and (last.purpose, last.repository) == (wanted, repository)
            and now - last.since < GRAIN_SECONDS
        ):
            # Merged with what was spent just before, so that there are few entries at any rate of requests.
            points += self._entries.pop().points
            self._entries.append(last._replace(at=now, points=points))
        else:
            self._entries.append(_Spent(now, points, wanted, repository, now))

    def close(self, until: float) -> None:
        """Allow no spending until a time, or until a later one that was set before."""
        self.closed_until = max(self.closed_until, until)

    def update(self, left: int, limit: int, resets_at: float) -> None:
        """Note how many calls GitHub says are left this hour."""
        if resets_at > self.resets_at + ANOTHER_HOUR:
            self._calls_for.clear()
        self.calls_left, self.call_limit, self.resets_at = left, limit, resets_at

    def forget(self, now: float) -> None:
        """Drop what was spent before the window."""
        # The same sum as in `may_spend_at`, or rounding could name a time at which nothing is forgotten.
        while self._entries and self._entries[0].at + self.seconds <= now:
            entry = self._entries.popleft()
            self.spent[entry.purpose] -= entry.points
            if entry.repository is not None:
                self.spent_for[entry.repository] -= entry.points
                if not self.spent_for[entry.repository]:
                    del self.spent_for[entry.repository]
        while self._others and self._others[0].at + self.seconds <= now:
            entry = self._others.popleft()
            self.spent_by_others[entry.purpose] -= entry.points

    def _total(self) -> int:
        return self.spent.total() + self.spent_by_others.total()

    def _spent_on(self, purpose: Purpose) -> int:
        return self.spent[purpose] + self.spent_by_others[purpose]

    def _hour_is_kept(self, wanted: Purpose, now: float, repository: str | None) -> bool:
        """Return whether the hour's remaining calls are reserved for others."""
        if self.calls_left is None or now >= self.resets_at:
            return False
        left = self.calls_left - self.call_limit * PORTIONS[wanted].hourly_reserve
        theirs = 0 if repository is None else self._calls_for[repository]
        return left <= self._left_for(theirs)

    def _excess(self, wanted: Purpose, points: int, repository: str | None) -> float:
        """Return by how many points a request exceeds what may be spent now; it may be sent at 0 or less."""
        total = self._total() + points
        # People shouldn't have to wait, so their share is kept even while none of them asks.
        others = {other for other in Purpose if self._is_kept_for(other)} | {Purpose.PEOPLE}
        kept = sum(
            max(self._share(other) - self._spent_on(other), 0.0) for other in others - {wanted}
        )
        most = self.points - kept
        if self._spent_on(wanted) + points > self._share(wanted):
            most = min(most, self.points * PORTIONS[wanted].ceiling)
        if repository is not None:
            most -= self._left_for(self.spent_for[repository] + points)
        return total - most

    def _is_kept_for(self, other: Purpose) -> bool:
        """Return whether a request of a purpose waits that its share would let through."""
        total = self._total() + _DEAREST
        room = self.points - self._share(Purpose.PEOPLE) - total
        held_back = sum(
            many
            for repository, many in self._waiting_for[other].items()
            if self._left_for(self.spent_for[repository] + _DEAREST) > room
        )
        return self.waiting[other] > held_back

    def _left_for(self, spent: float) -> float:
        """Return how much a repository has to leave to others, if there are any, after spending so much."""
        return spent / EVENNESS if len(self._repositories) > 1 else 0.0

    def _share(self, of: Purpose) -> float:
        return self.points * PORTIONS[of].share
