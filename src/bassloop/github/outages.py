"""GitHub's outages: while it doesn't answer, only a few calls are made to find out when it's back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

OUTAGE_SECONDS = 30.0
"""How long GitHub must have answered no call before that counts as an outage."""

PROBE_SECONDS = 10.0
"""The interval between calls during an outage, of those that can wait."""


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
