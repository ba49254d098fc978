"""Faults on demand: errors that GitHub may cause, at the call that a test chooses.

    standin.faults.add(Fault("POST", r"/repos/.*/check-runs", status=502, after=True))

answers 502 to the next creation of a check run *after* creating it, so its response is lost.
"""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Mapping


HOUR = 3600.0
MINUTE = 60.0
READ_POINTS, WRITE_POINTS = 1, 5


@dataclass(eq=False)
class Fault:
    """Something that goes wrong.

    Args:
        method: the method of the calls that it affects; ``*`` is any.
        path: a regular expression that matches the whole path, without the query.
        status: the response's status; None leaves the response unchanged, for example to `delay` it.
        body: the response's body; None is GitHub's usual JSON.
        headers: additional headers of the response.
        delay: seconds to wait before anything else.
        skip: how many matching calls succeed before.
        times: how often it happens.
        after: let the call take effect first.
        cut: cut off the response in the middle, as if the connection were lost.
    """

    method: str = "*"
    path: str = ".*"
    status: int | None = 500
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    skip: int = 0
    times: int = 1
    after: bool = False
    cut: bool = False
    happened: int = field(default=0, init=False)

    def matches(self, method: str, path: str) -> bool:
        """Return whether the fault affects a call."""
        return self.method in ("*", method) and re.fullmatch(self.path, path) is not None


def secondary_limit(path: str = ".*", *, method: str = "*", seconds: int = 1) -> Fault:
    """Return a fault like GitHub's secondary rate limit, with the time to wait."""
    body = b'{"message": "You have exceeded a secondary rate limit.", "status": "403"}'
    after = {"Retry-After": str(seconds)}
    return Fault(method, path, status=403, body=body, headers=after)


def garbage(path: str = ".*", *, method: str = "*") -> Fault:
    """Return a fault with status 200 whose body isn't JSON, like a proxy's."""
    return Fault(method, path, status=200, body=b"<html>what?</html>")


def lost_answer(path: str = ".*", *, method: str = "*") -> Fault:
    """Return a fault that lets the call take effect, and cuts the connection before the response."""
    return Fault(method, path, status=None, after=True, cut=True)


@dataclass(eq=False)
class Faults:
    """The pending faults, in the order in which they were added."""

    waiting: list[Fault] = field(default_factory=list)

    def add(self, fault: Fault) -> Fault:
        """Add a fault; `fault.happened` counts how often it happened."""
        self.waiting.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults."""
        self.waiting.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that affects a call, or None."""
        for fault in self.waiting:
            if not fault.matches(method, path):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.happened += 1
            if fault.happened >= fault.times:
                self.waiting.remove(fault)
            return fault
        return None


@dataclass(eq=False)
class _Used:
    calls: int = 0
    resets_at: float = 0.0
    points: deque[tuple[float, int]] = field(default_factory=deque)
    now: int = 0
    closed_until: float = 0.0


@dataclass(eq=False)
class RateLimits:
    """The rate limits, by credential.

    Args:
        per_hour: the hourly limit for an App or an installation.
        anonymous_per_hour: the hourly limit for calls without a credential.
        points_per_minute: the secondary limit: reading costs 1, writing 5.
        at_once: how many concurrent calls a credential may have.
        penalty: seconds for which all calls of a credential are refused after it exceeded a secondary limit.
        refused: how many calls were refused so far.
    """

    per_hour: int = 5000
    anonymous_per_hour: int = 60
    points_per_minute: int = 900
    at_once: int = 100
    penalty: float = 60.0
    refused: int = 0
    _used: dict[str, _Used] = field(default_factory=dict, init=False)

    def begin(self, who: str, method: str) -> str | None:
        """Count a call that begins. Return the limit that it exceeds, ``primary`` or ``secondary``, or None."""
        exceeded = self._exceeded(who, method)
        self.refused += exceeded is not None
        return exceeded

    def closed_for(self, who: str) -> float:
        """Return for how many more seconds all calls of a credential are refused."""
        return max(self._of(who).closed_until - trio.current_time(), 0.0)

    def used(self) -> dict[str, int]:
        """Return the number of calls in the current hour, by credential."""
        return {who: used.calls for who, used in self._used.items()}

    def _exceeded(self, who: str, method: str) -> str | None:
        used, now = self._of(who), trio.current_time()
        used.now += 1
        if used.calls >= self._limit(who):
            return "primary"
        if now < used.closed_until:
            return "secondary"
        while used.points and used.points[0][0] <= now - MINUTE:
            used.points.popleft()
        points = READ_POINTS if method in ("GET", "HEAD", "OPTIONS") else WRITE_POINTS
        spent = sum(point for _, point in used.points)
        if used.now > self.at_once or spent + points > self.points_per_minute:
            used.closed_until = now + self.penalty
            return "secondary"
        used.calls += 1
        used.points.append((now, points))
        return None

    def end(self, who: str, *, free: bool) -> None:
        """Count a call that has ended; `free` refunds its cost for the hour."""
        used = self._of(who)
        used.now -= 1
        if free:
            used.calls = max(used.calls - 1, 0)

    def headers(self, who: str) -> dict[str, str]:
        """Return the headers about the hourly limit."""
        used, limit = self._of(who), self._limit(who)
        resets = time.time() + used.resets_at - trio.current_time()
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(limit - used.calls, 0)),
            "X-RateLimit-Used": str(used.calls),
            "X-RateLimit-Reset": str(int(resets)),
            "X-RateLimit-Resource": "core",
        }

    def _limit(self, who: str) -> int:
        return self.anonymous_per_hour if who == "anonymous" else self.per_hour

    def _of(self, who: str) -> _Used:
        used, now = self._used.setdefault(who, _Used()), trio.current_time()
        if now >= used.resets_at:
            used.calls, used.resets_at = 0, now + HOUR
        return used
