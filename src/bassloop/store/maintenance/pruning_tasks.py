"""The tasks that prune the store, and remove what lost nodes have left on the disk, every hour while the daemon runs.

A run's age depends on the wall clock. If that jumps by years, all runs would seem to have expired. So after a
jump, no run is removed because of its age until the clock has agreed with the monotonic one for a day.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.store import Bounds, Duty, StoreBusy, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.store import Retention, Store

log = structlog.get_logger(__name__)

EVERY_SECONDS = 3600.0
BUSY_SECONDS = 60.0
"""The delay before another attempt while the store is being backed up."""

JUMP_SECONDS = 600.0
"""By how much the wall clock may differ from the monotonic one between two readings before it is distrusted."""

DISTRUST_SECONDS = 86400.0


@dataclass(slots=True)
class SteadyClock:
    """Detects jumps of the wall clock by comparing it with a monotonic one. Times are in seconds."""

    wall: float
    monotonic: float
    distrusted_until: float = 0.0

    def update(self, wall: float, monotonic: float) -> float:
        """Update both clocks, and return by how much the wall clock has jumped since the last update."""
        jump = (wall - self.wall) - (monotonic - self.monotonic)
        if abs(jump) > JUMP_SECONDS:
            self.distrusted_until = monotonic + DISTRUST_SECONDS
        self.wall, self.monotonic = wall, monotonic
        return jump

    @property
    def steady(self) -> bool:
        """True if the wall clock can be trusted."""
        return self.monotonic >= self.distrusted_until


async def keep_pruning(
    store: Store, retention: Retention, *, now: Callable[[], float] = time.time
) -> None:
    """Prune now and every hour until cancelled. `now` returns the wall clock's time.

    Logs errors, and tries again an hour later, since they are no reason to stop the loop.
    """
    clock = SteadyClock(now(), trio.current_time())
    while True:
        jump = clock.update(now(), trio.current_time())
        if abs(jump) > JUMP_SECONDS:
            log.warning(
                "the clock was set: no run is removed for its age for a day", seconds=round(jump)
            )
        try:
            if not await store.nodes.take_duty(Duty.PRUNING):
                await trio.sleep(EVERY_SECONDS)
                continue
            pruned = await store.prune(
                retention if clock.steady else _without_ages(retention),
                now=clock.wall,
                steady=clock.steady,
            )
        except StoreBusy:
            await trio.sleep(BUSY_SECONDS)
            continue
        except StoreError as error:
            log.error("pruning failed", error=str(error))
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


def _without_ages(retention: Retention) -> Retention:
    return replace(
        retention,
        everywhere=Bounds(None, retention.everywhere.bytes),
        repositories={
            name: Bounds(None, bounds.bytes) for name, bounds in retention.repositories.items()
        },
    )


async def keep_tidying(store: Store, *, now: Callable[[], float] = time.time) -> None:
    """Remove what lost nodes have left on this machine's disk, now and every hour until cancelled.

    Each node does that for its own disk. `now` returns the wall clock's time.

    Logs errors, and tries again an hour later, since they are no reason to stop the loop.
    """
    while True:
        try:
            logs = await store.logs.remove_leftovers(now())
            artifacts = await store.artifacts.remove_abandoned(now())
        except (StoreError, OSError) as error:
            log.warning("files of lost nodes not removed", error=str(error))
        else:
            if logs or artifacts:
                log.info("files of lost nodes removed", logs=logs, artifacts=artifacts)
        await trio.sleep(EVERY_SECONDS)
