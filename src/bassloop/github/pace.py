"""How fast to ask: below GitHub's secondary limits, and not at all while it says to wait.

Reading costs a point and writing five, of 900 a minute; readers go first, writers wait for points.
https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Mapping

READ_POINTS = 1
WRITE_POINTS = 5
WITHOUT_ADVICE = 60.0
"""Seconds to wait after a limit that came without a time."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long a call is tried.

    Args:
        attempts: how often at most.
        first_pause: seconds before the second attempt, on average; doubled for each further one.
        longest_pause: seconds; a rate limit that lasts longer is an error at once.
        answer_seconds: how long one attempt may take, from connecting to the answer's last byte.
    """

    attempts: int = 4
    first_pause: float = 1.0
    longest_pause: float = 120.0
    answer_seconds: float = 60.0

    def pause(self, attempt: int) -> float:
        """Seconds to wait after an attempt (1 is the first) that failed, with jitter."""
        longest = min(self.first_pause * float(2 ** (attempt - 1)), self.longest_pause)
        return longest * random.uniform(0.5, 1.5)  # noqa: S311


def advised_wait(status: int, headers: Mapping[str, str], body: bytes, now: float) -> float | None:
    """How long GitHub wants us to wait, in seconds, if an answer is a rate limit's. Pure.

    Args:
        now: seconds since the epoch, for the reset time that GitHub gives.
    """
    if status not in (403, 429):
        return None
    if (after := _number(headers.get("retry-after"))) is not None:
        return after
    if headers.get("x-ratelimit-remaining") == "0":
        reset = _number(headers.get("x-ratelimit-reset"))
        return WITHOUT_ADVICE if reset is None else max(reset - now, 1.0)
    limited = status == 429 or b"rate limit" in body[:4096].lower()
    return WITHOUT_ADVICE if limited else None


def _number(header: str | None) -> float | None:
    text = (header or "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 15 else None


@dataclass(eq=False)
class Pace:
    """The pace of one credential: a bucket of points, and a time before which nothing is asked.

    Args:
        per_minute: points that come back in a minute.
        burst: points that may be spent at once; in any minute at most both together are.
    """

    per_minute: float = 800.0
    burst: float = 100.0
    _points: float = field(default=math.nan, init=False)
    _counted_at: float = field(default=0.0, init=False)
    _closed_until: float = field(default=-math.inf, init=False)
    _writers: trio.Lock = field(default_factory=trio.Lock, init=False)

    def __repr__(self) -> str:
        state = f"{self._writers.statistics().tasks_waiting} writes waiting"
        return f"<Pace: {state}>"

    @property
    def waiting(self) -> int:
        """How many writes wait for their turn."""
        held = self._writers.statistics()
        return held.tasks_waiting + (1 if held.locked else 0)

    def closed_for(self) -> float:
        """Seconds until anything may be asked; 0 when it may be now."""
        return max(self._closed_until - trio.current_time(), 0.0)

    def close(self, seconds: float) -> None:
        """Ask nothing for so long, unless it is closed for longer already."""
        self._closed_until = max(self._closed_until, trio.current_time() + seconds)

    async def read(self) -> None:
        """Spend a read's points without waiting for them."""
        self._count()
        self._points = max(self._points - READ_POINTS, -self.burst)

    async def write(self) -> None:
        """Wait for a write's turn, first come first served; cancelled, nothing is spent."""
        async with self._writers:
            self._count()
            while self._points < WRITE_POINTS:
                await trio.sleep((WRITE_POINTS - self._points) * 60.0 / self.per_minute + 1e-6)
                self._count()
            self._points -= WRITE_POINTS

    def _count(self) -> None:
        now = trio.current_time()
        if math.isnan(self._points):
            self._points = self.burst
        else:
            earned = (now - self._counted_at) * self.per_minute / 60.0
            self._points = min(self._points + earned, self.burst)
        self._counted_at = now
