"""The heart: a task that does nothing but be on time, and measures how late it is.

Every task of the loop shares one thread, so one that computes for a second keeps all others waiting
for that second, and so the heart. Whoever watches the heart sees a loop that is stuck.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.telemetry.tally import Histogram
from bassloop.telemetry.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_SECONDS = 0.25


@dataclass(eq=False)
class Heart:
    """`lag` is how late each beat was; `watchdog` knows what held the loop meanwhile."""

    lag: Histogram = field(default_factory=Histogram)
    watchdog: Watchdog = field(default_factory=Watchdog)

    async def beat(self, on_beat: Callable[[], None] = lambda: None) -> None:
        """Beat until cancelled; `on_beat` is called each time, and should be quick."""
        with self.watchdog.watching():
            while True:
                due = trio.current_time() + EVERY_SECONDS
                await trio.sleep_until(due)
                self.lag.add(trio.current_time() - due)
                on_beat()
