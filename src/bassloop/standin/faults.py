"""Faults on demand: what GitHub does on a bad day, at the call that a test names.

    standin.faults.add(Fault("POST", r"/repos/.*/check-runs", status=502, after=True))

answers 502 to the next creation of a check run, *after* having made it: its response is lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(eq=False)
class Fault:
    """Something that goes wrong.

    Args:
        method: of the calls that it affects; ``*`` is any.
        path: a regular expression for the whole path of the call, without its query.
        status: of the response; None leaves the response as it is (to be `delay`ed, say).
        body: of the response; None is GitHub's usual JSON.
        headers: further headers of the response.
        delay: seconds to wait before anything else.
        skip: how many matching calls are let through first.
        times: how often it happens.
        after: whether the call has its effect before.
        cut: whether the response ends in the middle, as when a connection breaks.
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
        """Return whether it affects a call."""
        return self.method in ("*", method) and re.fullmatch(self.path, path) is not None


def secondary_limit(path: str = ".*", *, method: str = "*", seconds: int = 1) -> Fault:
    """Return GitHub's secondary rate limit, with the time to wait."""
    body = b'{"message": "You have exceeded a secondary rate limit.", "status": "403"}'
    after = {"Retry-After": str(seconds)}
    return Fault(method, path, status=403, body=body, headers=after)


def garbage(path: str = ".*", *, method: str = "*") -> Fault:
    """Return a response of 200 that isn't JSON, as from a proxy in between."""
    return Fault(method, path, status=200, body=b"<html>what?</html>")


def lost_answer(path: str = ".*", *, method: str = "*") -> Fault:
    """Return a call that has its effect and whose connection breaks before the response."""
    return Fault(method, path, status=None, after=True, cut=True)


@dataclass(eq=False)
class Faults:
    """The faults that are still to happen, in the order in which they were added."""

    waiting: list[Fault] = field(default_factory=list)

    def add(self, fault: Fault) -> Fault:
        """Let a fault happen; `fault.happened` counts how often it did."""
        self.waiting.append(fault)
        return fault

    def clear(self) -> None:
        """Let nothing more happen."""
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
