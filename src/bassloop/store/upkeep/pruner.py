"""The janitor: lets go of what has had its time, hour by hour, while the daemon runs.

Age is told by the clock, and a clock may jump by years and take every run with it. So nothing goes by
its age until the clock has kept step for a day with the one that only counts up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.store import Bounds, Busy, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.store import Retention, Store

log = structlog.get_logger(__name__)

EVERY_SECONDS = 3600.0
BUSY_SECONDS = 60.0
"""When it is tried again while somebody backs the store up."""

JUMP_SECONDS = 600.0
"""How far the clock may be set at once, from one look to the next, without being doubted."""

DOUBT_SECONDS = 86400.0


@dataclass(slots=True)
class SteadyClock:
    """Compares the clock with one that only counts up. Times are in seconds."""

    wall: float
    counted: float
    doubted_until: float = 0.0

    def look(self, wall: float, counted: float) -> float:
        """Note the two clocks. Returns by how much the first was set since the last look."""
        jump = (wall - self.wall) - (counted - self.counted)
        if abs(jump) > JUMP_SECONDS:
            self.doubted_until = counted + DOUBT_SECONDS
        self.wall, self.counted = wall, counted
        return jump

    @property
    def steady(self) -> bool:
        """Whether the clock may be believed."""
        return self.counted >= self.doubted_until


async def keep_pruning(
    store: Store, retention: Retention, *, now: Callable[[], float] = time.time
) -> None:
    """Prune now, and from then on every hour by the clock `now`. Until cancelled.

    What goes wrong is told and tried again: too full a store is no reason to stop the loop.
    """
    clock = SteadyClock(now(), trio.current_time())
    while True:
        jump = clock.look(now(), trio.current_time())
        if abs(jump) > JUMP_SECONDS:
            log.warning("the clock was set: for a day no run goes by its age", seconds=round(jump))
        try:
            pruned = await store.prune(
                retention if clock.steady else _ageless(retention), now=clock.wall
            )
        except Busy:
            await trio.sleep(BUSY_SECONDS)
            continue
        except StoreError as error:
            log.error("not pruned", error=str(error))
        else:
            if pruned.runs or pruned.deliveries or pruned.orphans:
                log.info(
                    "pruned",
                    runs=pruned.runs,
                    deliveries=pruned.deliveries,
                    thunks=pruned.thunks,
                    orphans=pruned.orphans,
                    bytes=pruned.bytes,
                )
        await trio.sleep(EVERY_SECONDS)


def _ageless(retention: Retention) -> Retention:
    return replace(
        retention,
        everywhere=Bounds(None, retention.everywhere.bytes),
        repositories={
            name: Bounds(None, bounds.bytes) for name, bounds in retention.repositories.items()
        },
    )
