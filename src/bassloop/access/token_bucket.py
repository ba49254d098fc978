"""How often something may be done: so many at once, and then so many a minute."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio


@dataclass(eq=False)
class Allowance:
    """A bucket of `at_once` tokens, filled by `a_minute`."""

    at_once: float
    a_minute: float
    _left: float = field(init=False)
    _counted_at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._left = self.at_once

    def spend(self) -> bool:
        """Take one, if there is one; whether there was."""
        now = trio.current_time()
        earned = 0.0 if self._counted_at is None else (now - self._counted_at) * self.a_minute / 60
        self._left = min(self._left + earned, self.at_once)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
