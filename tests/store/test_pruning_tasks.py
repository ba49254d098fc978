"""The janitor prunes by the hour, and does not trust a clock that jumps."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import trio

from bassloop.store import Bounds, Duty, PruneReport, Retention, StoreBusy, StoreFull
from bassloop.store.maintenance.pruning_tasks import DISTRUST_SECONDS, SteadyClock, keep_pruning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio.testing import MockClock

    from bassloop.store import Store


class Nodes:
    """The nodes of a store, one of which prunes."""

    prunes = True

    async def take_duty(self, duty: Duty) -> bool:
        assert duty is Duty.PRUNING
        return self.prunes


class Asked:
    """A store that notes what it was asked for, and fails first as told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures: Iterator[Exception] = iter(failures)
        self.asked: list[tuple[float, Retention]] = []
        self.nodes = Nodes()

    async def prune(self, retention: Retention, *, now: float, steady: bool) -> PruneReport:
        self.asked.append((trio.current_time(), retention))
        for failure in self.failures:
            raise failure
        return PruneReport(1, 1, 1, 0, 9)

    async def during(
        self, seconds: float, retention: Retention, now: Callable[[], float] = trio.current_time
    ) -> list[float]:
        began = trio.current_time()
        with trio.move_on_after(seconds):
            await keep_pruning(cast("Store", self), retention, now=now)
        return [at - began for at, _ in self.asked]


async def test_the_store_is_pruned_at_once_and_every_hour(autojump_clock: MockClock) -> None:
    assert await Asked().during(7300, Retention()) == [0, 3600, 7200]


async def test_pruning_is_left_to_the_node_with_the_duty(autojump_clock: MockClock) -> None:
    store = Asked()
    store.nodes.prunes = False
    assert await store.during(7300, Retention()) == []


async def test_pruning_is_tried_again_soon_while_a_backup_is_made(
    autojump_clock: MockClock,
) -> None:
    assert await Asked(StoreBusy("a backup is made")).during(3700, Retention()) == [0, 60, 3660]


async def test_a_store_that_fails_is_tried_again_an_hour_later(autojump_clock: MockClock) -> None:
    assert await Asked(StoreFull("full")).during(3700, Retention()) == [0, 3600]


async def test_nothing_is_removed_for_its_age_for_a_day_after_the_clock_was_set(
    autojump_clock: MockClock,
) -> None:
    began = trio.current_time()

    def set_forward() -> float:
        now = trio.current_time()
        return now + (40 * 365 * 86400.0 if now - began > 1800 else 0.0)

    store = Asked()
    bounds = Retention(Bounds(5.0, 7), {"ada/engine": Bounds(6.0, 8)})
    await store.during(2 * 86400, bounds, set_forward)
    ages = [retention.everywhere.seconds for at, retention in store.asked if at - began < 86400]
    assert ages[0] == 5.0
    assert set(ages[1:]) == {None}
    assert store.asked[1][1].everywhere.bytes == 7
    assert store.asked[1][1].repositories == {"ada/engine": Bounds(None, 8)}
    assert store.asked[-1][1] == bounds


def test_a_steady_clock_is_trusted() -> None:
    clock = SteadyClock(1000.0, 0.0)
    assert clock.update(4600.0, 3599.0) == 1.0
    assert clock.steady
    assert clock.update(100.0, 7000.0) < 0
    assert not clock.steady
    clock.update(100.0 + DISTRUST_SECONDS, 7000.0 + DISTRUST_SECONDS)
    assert clock.steady
