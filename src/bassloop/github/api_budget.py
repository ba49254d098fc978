"""The budget of one credential: who may spend the points that GitHub allows, and when. No I/O, no clock.

GitHub allows 900 points a minute (reading costs 1, writing 5) and some thousands of calls an hour. After an
outage there is more to do than both allow, and then it matters who goes first: a runner that can't sign in,
or a check that can't be concluded, keeps more waiting than a check that begins a minute later. So each
request has a *purpose*:

- A purpose has a *ceiling*: it may spend only while less than so much of the window is spent. What lies
  above the ceiling of a purpose is a reserve for those that go before it.
- A purpose has a *share* that is its own, above its ceiling too: while one of its requests waits, the others
  leave that much of the window to it, so none is starved, however much the others ask for. The share of people
  is always kept for them.

https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

import math
from collections import Counter, deque
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

POINTS = 890
"""The points that are spent in a window, some fewer than GitHub's 900."""

WINDOW_SECONDS = 60.0
GRAIN_SECONDS = 0.05


class Purpose(IntEnum):
    """The purpose of a request, from the most urgent to the one that can wait the longest."""

    PEOPLE = 0
    """A runner or a person signs in, looks at a page, or presses a button."""

    CONCLUDE = 1
    """A check has ended, or is under way."""

    START = 2
    """An event is to be handled, and its checks are to be created."""

    BACKGROUND = 3
    """Nobody waits for it: visibility, deliveries that never arrived."""


def purpose_name(purpose: Purpose | None) -> str:
    """Return the name of a purpose, as people and programs read it; None is that of an earlier process."""
    return "before_restart" if purpose is None else purpose.name.lower()


class Portion(NamedTuple):
    """A purpose's portion of a window, and of an hour, as fractions.

    Args:
        ceiling: how much may be spent by all, for this purpose to spend more.
        share: how much the others leave to it while it waits.
        hourly_reserve: how many of the hour's calls it leaves to those that go before it.
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
    """The position of a waiting request: by purpose, and within one by `since`, the older first.

    Args:
        since: any number; requests of the same number go first come, first served.
    """

    purpose: Purpose = Purpose.PEOPLE
    since: float = 0.0


_turn: ContextVar[Turn] = ContextVar("turn", default=Turn())  # noqa: B039  (immutable)


def current_turn() -> Turn:
    """Return the turn of the requests that this task makes: that of people, unless something was said."""
    return _turn.get()


@contextmanager
def spending(purpose: Purpose, since: float = 0.0) -> Generator[None]:
    """Give the requests that the body makes, and the tasks that it starts, a purpose.

    Args:
        since: when that which they are for began to wait; what has waited longer goes first.
    """
    token = _turn.set(Turn(purpose, since))
    try:
        yield
    finally:
        _turn.reset(token)


class _Spent(NamedTuple):
    """Points that were spent at about the same time, of which `at` is the end."""

    at: float
    points: int
    purpose: Purpose | None
    since: float


@dataclass(eq=False)
class APIBudget:
    """The budget of one credential. All times are seconds on one monotonic clock.

    Args:
        points: that may be spent in any window.
        seconds: the length of the window.
        waiting: the number of requests that wait, by purpose. The caller counts them.
        spent: the points spent in the window, by purpose; those of requests that are under way, too.
        under_way: the points of requests that are under way.
        calls_left: the calls that GitHub said are left until `resets_at`; None while it hasn't said.
        call_limit: the calls that it allows an hour.
    """

    points: int = POINTS
    seconds: float = WINDOW_SECONDS
    waiting: Counter[Purpose] = field(default_factory=Counter, init=False)
    spent: Counter[Purpose | None] = field(default_factory=Counter, init=False)
    under_way: int = field(default=0, init=False)
    calls_left: int | None = field(default=None, init=False)
    call_limit: int = field(default=0, init=False)
    resets_at: float = field(default=-math.inf, init=False)
    closed_until: float = field(default=-math.inf, init=False)
    _entries: deque[_Spent] = field(default_factory=deque, init=False)

    def __repr__(self) -> str:
        waiting = self.waiting.total()
        return f"<APIBudget: {self.spent.total()} of {self.points} points spent, {waiting} waiting>"

    def count_earlier(self, spent: Iterable[tuple[float, int]], now: float) -> None:
        """Count what an earlier process has spent, as pairs of times until now, and points."""
        earlier = [_Spent(at, points, None, at) for at, points in spent if at + self.seconds > now]
        self._entries = deque(sorted((*self._entries, *earlier), key=lambda entry: entry.at))
        self.spent[None] += sum(entry.points for entry in earlier)

    def recently_spent(self, now: float) -> list[tuple[float, int, Purpose | None]]:
        """Return what is spent in the window, but for what is under way: times, points and purposes.

        An earlier process's purposes are None.
        """
        self.forget(now)
        return [(entry.at, entry.points, entry.purpose) for entry in self._entries]

    def may_spend_at(self, wanted: Purpose, points: int, now: float) -> float:
        """Return the earliest time at which a request may be made, `now` if it may be at once.

        Others can spend in between, so ask again at that time.
        """
        self.forget(now)
        opens = self.opens_at(wanted, now)
        excess = self._excess(wanted, points)
        if excess <= 0:
            return opens
        for entry in self._entries:
            excess -= entry.points
            if excess <= 0:
                return max(opens, entry.at + self.seconds)
        return max(opens, now + self.seconds)

    def opens_at(self, wanted: Purpose, now: float) -> float:
        """Return when GitHub lets this purpose spend again, however little is spent; `now` if it does."""
        opens = max(now, self.closed_until)
        return max(opens, self.resets_at) if self._hour_is_kept(wanted, now) else opens

    def begin(self, wanted: Purpose, points: int) -> None:
        """Count a request that begins now."""
        self.spent[wanted] += points
        self.under_way += points
        if self.calls_left is not None:
            self.calls_left -= 1

    def end(self, wanted: Purpose, points: int, now: float) -> None:
        """Note that a request was answered, or never will be.

        GitHub counted it at some time since it began, and won't for longer than a window from now.
        """
        self.under_way -= points
        last = self._entries[-1] if self._entries else None
        if last is not None and last.purpose is wanted and now - last.since < GRAIN_SECONDS:
            # Counted with what was spent just before: few entries, however much is asked.
            self._entries[-1] = _Spent(now, last.points + points, wanted, last.since)
        else:
            self._entries.append(_Spent(now, points, wanted, now))

    def close(self, until: float) -> None:
        """Let nothing be spent until a time, unless it is closed for longer already."""
        self.closed_until = max(self.closed_until, until)

    def update(self, left: int, limit: int, resets_at: float) -> None:
        """Note what GitHub says is left of the hour."""
        self.calls_left, self.call_limit, self.resets_at = left, limit, resets_at

    def _hour_is_kept(self, wanted: Purpose, now: float) -> bool:
        """Return whether what is left of the hour's calls is for others."""
        if self.calls_left is None or now >= self.resets_at:
            return False
        return self.calls_left <= self.call_limit * PORTIONS[wanted].hourly_reserve

    def _excess(self, wanted: Purpose, points: int) -> float:
        """Return by how many points a request is over what its purpose may spend now; none if 0 or less."""
        total = self.spent.total() + points
        # What people may need in a moment is kept for them, even while none of them waits.
        others = {other for other, waiting in self.waiting.items() if waiting} | {Purpose.PEOPLE}
        kept = sum(max(self._share(other) - self.spent[other], 0.0) for other in others - {wanted})
        over = total + kept - self.points
        if self.spent[wanted] + points > self._share(wanted):
            over = max(over, total - self.points * PORTIONS[wanted].ceiling)
        return over

    def _share(self, of: Purpose) -> float:
        return self.points * PORTIONS[of].share

    def forget(self, now: float) -> None:
        """Count no longer what was spent before the window."""
        # The same sum as in `may_spend_at`, or rounding could name a time at which nothing is forgotten.
        while self._entries and self._entries[0].at + self.seconds <= now:
            entry = self._entries.popleft()
            self.spent[entry.purpose] -= entry.points
