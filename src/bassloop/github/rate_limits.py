"""GitHub's rate limits: stay below the secondary ones, and send nothing while it says to wait.

Reading costs a point and writing five, of 900 a minute; readers go first, writers wait for points.
https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import Backoff

if TYPE_CHECKING:
    from collections.abc import Mapping

READ_POINTS = 1
WRITE_POINTS = 5
GRAIN_SECONDS = 0.05
DEFAULT_WAIT = 60.0
"""Seconds to wait after a limit that came without a time."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long a call is tried.

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


@dataclass(eq=False)
class Pacer:
    """Paces the requests of one credential by the points that it spent in the last minute.

    Args:
        points: that may be spent in any window, some fewer than GitHub's 900.
        seconds: the length of the window.
        left: the calls that GitHub said are left until `resets_at`, in seconds since the epoch.
    """

    points: int = 850
    seconds: float = 60.0
    _spent: deque[tuple[float, int]] = field(default_factory=deque, init=False)
    _sum: int = field(default=0, init=False)
    _closed_until: float = field(default=-math.inf, init=False)
    _writers: trio.Lock = field(default_factory=trio.Lock, init=False)
    left: int = field(default=0, init=False)
    resets_at: float = field(default=-math.inf, init=False)

    def __repr__(self) -> str:
        return f"<Pacer: {self._sum} of {self.points} points spent, {self.waiting} writes waiting>"

    @property
    def waiting(self) -> int:
        """The number of writes that wait for their turn."""
        held = self._writers.statistics()
        return held.tasks_waiting + held.locked

    def closed_for(self) -> float:
        """Return the seconds until anything may be sent, 0 if it may be now."""
        return max(self._closed_until - trio.current_time(), 0.0)

    def close(self, seconds: float) -> None:
        """Let nothing be sent for so long, unless it is closed for longer already."""
        self._closed_until = max(self._closed_until, trio.current_time() + seconds)

    def update(self, headers: Mapping[str, str]) -> None:
        """Note what a response's headers say is left."""
        left = _number(headers.get("x-ratelimit-remaining"))
        resets_at = _number(headers.get("x-ratelimit-reset"))
        if left is not None and resets_at is not None:
            self.left, self.resets_at = int(left), resets_at

    def read(self) -> None:
        """Spend a read's points, without waiting for them."""
        self._forget()
        self._spend(READ_POINTS)

    async def write(self) -> None:
        """Wait for a write's turn, first come, first served. Cancelled, it spends nothing."""
        async with self._writers:
            self._forget()
            while self._sum + WRITE_POINTS > self.points:
                await trio.sleep_until(self._spent[0][0] + self.seconds)
                self._forget()
            self._spend(WRITE_POINTS)

    def _spend(self, points: int) -> None:
        self._sum += points
        now = trio.current_time()
        if self._spent and now - self._spent[-1][0] < GRAIN_SECONDS:
            # Counted with what was spent just before: few entries, however much is asked.
            now, before = self._spent.pop()
            points += before
        self._spent.append((now, points))

    def _forget(self) -> None:
        now = trio.current_time()
        # The same sum as in `write`, or rounding could let it wait for a time that has come.
        while self._spent and self._spent[0][0] + self.seconds <= now:
            self._sum -= self._spent.popleft()[1]
