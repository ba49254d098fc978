"""Reservations are stored before they are spent, so restarts never spend more than GitHub allows."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.github.api_budget import APIBudget, Purpose, Turn
from bassloop.github.pacing import Pacer
from bassloop.github.reservations import STORE_SECONDS, Reservation, StoredSpending, restore
from bassloop.store import open_store
from bassloop.store.records import SpendingRecord
from bassloop.store.usage import OthersSpending

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from trio.testing import MockClock

NAME = "installation 1"


@dataclass
class Memory:
    """A store that can fail, or take long."""

    records: dict[str, SpendingRecord] = field(default_factory=dict)
    writes: int = 0
    error: Exception | None = None
    seconds: float = 0.0

    async def all(self) -> Mapping[str, StoredSpending]:
        return self.records

    async def of_others(self, credential: str) -> OthersSpending:
        return OthersSpending((), (), 0.0)

    async def put(
        self,
        credential: str,
        *,
        at: float,
        spent: Sequence[tuple[float, int]],
        purposes: Sequence[str],
        reserved: int,
        closed_until: float,
    ) -> None:
        self.writes += 1
        await trio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        assert len(purposes) == len(spent)
        whole = tuple((int(second), points) for second, points in spent)
        self.records[credential] = SpendingRecord(whole, reserved, closed_until)


def process(memory: Memory, points: int = 850) -> Pacer:
    """Return the pacer of a process that has just begun."""
    budget = APIBudget(points)
    if (stored := memory.records.get(NAME)) is not None:
        restore(budget, stored)
    return Pacer(budget, reservation=Reservation(NAME, budget, memory))


async def spend(pacer: Pacer, purpose: Purpose = Purpose.PEOPLE) -> None:
    """Make a request that is answered at once."""
    async with pacer.admit(Turn(purpose), 5):
        pass


async def spend_until(pacer: Pacer, seconds: float, spent: list[tuple[float, int]]) -> None:
    """Spend all that may be spent for so long, and then be killed."""
    with trio.move_on_after(seconds):
        while True:
            await spend(pacer, Purpose.START)
            spent.append((trio.current_time(), 5))


async def test_no_window_has_too_many_points_however_often_a_process_is_killed(
    clock: MockClock,
) -> None:
    rng, memory, spent = random.Random(7), Memory(), list[tuple[float, int]]()
    for _ in range(60):
        await spend_until(process(memory), rng.uniform(0.1, 20), spent)
        await trio.sleep(rng.uniform(0.0, 1.0))
    window, most = deque[tuple[float, int]](), 0
    for at, points in spent:
        window.append((at, points))
        while window[0][0] + 60 <= at:
            window.popleft()
        most = max(most, sum(each for _, each in window))
    assert most <= 850
    # A kill costs no more than a slice; and for a slice, not for a call, something is written.
    least = trio.current_time() / 60 * 850 * 0.85
    assert sum(points for _, points in spent) > least - 60 * 25
    assert memory.writes < len(spent) / 3


async def test_a_process_that_ends_stores_exactly_what_it_spent(clock: MockClock) -> None:
    memory = Memory()
    pacer = process(memory)
    await spend(pacer)
    assert memory.records[NAME].reserved == 25
    assert process(memory).budget.spent[None] == 25
    assert pacer.reservation is not None
    await pacer.reservation.end()
    assert process(memory).budget.spent[None] == 5


async def test_the_next_process_respects_a_limit_that_github_has_set(clock: MockClock) -> None:
    memory = Memory()
    pacer = process(memory)
    await pacer.close(30.0)
    await pacer.close(30.0)
    assert memory.writes == 1
    await trio.sleep(10)
    assert process(memory).closed_for(Turn(Purpose.PEOPLE)) == 20.0


async def test_requests_in_flight_at_a_kill_count_as_spent_after_it(
    clock: MockClock,
) -> None:
    memory = Memory()
    pacer = process(memory)
    async with pacer.admit(Turn(), 5):
        await trio.sleep(1)
        await pacer.close(0.5)
        assert memory.records[NAME].reserved == 25
        await trio.sleep(9)
        heir = process(memory)
    assert heir.budget.recently_spent(10.0) == [(10.0, 25, None)]


async def test_a_clock_that_was_set_back_closes_the_budget_for_an_hour_at_most(
    clock: MockClock,
) -> None:
    memory = Memory({NAME: SpendingRecord(((2_000_000, 5),), 25, 2_000_060.0)})
    pacer = process(memory)
    assert pacer.closed_for(Turn(Purpose.PEOPLE)) == 3600.0
    assert pacer.budget.spent[None] == 30
    pacer.budget.forget(61.0)
    assert pacer.budget.spent[None] == 0


async def test_calls_go_on_when_the_store_fails_or_hangs(clock: MockClock) -> None:
    for memory in (Memory(error=OSError("disk full")), Memory(seconds=100.0)):
        pacer, began = process(memory), trio.current_time()
        for _ in range(10):
            await spend(pacer)
        assert trio.current_time() - began <= 2 * STORE_SECONDS
        assert (memory.records, memory.writes) == ({}, 2)


async def test_a_call_that_is_cancelled_while_it_waits_for_the_store_spends_nothing(
    clock: MockClock,
) -> None:
    pacer = process(Memory(seconds=0.5))
    with trio.move_on_after(0.1):
        await spend(pacer)
    assert pacer.budget.spent.total() == 0
    await spend(pacer)
    assert pacer.budget.spent.total() == 5


async def test_reservations_survive_a_restart_for_a_day(tmp_path: Path) -> None:
    for at, reserved in ((100.0, 25), (200.0, 0)):
        async with open_store(tmp_path / "loop.db", tmp_path / "blobs") as store:
            await store.api_spending.put(
                NAME,
                at=at,
                spent=[(97, 5)],
                purposes=["start"],
                reserved=reserved,
                closed_until=90.0,
            )
            found = await store.api_spending.all()
            assert found == {NAME: SpendingRecord(((97, 5),), reserved, 90.0)}
    async with open_store(tmp_path / "loop.db", tmp_path / "blobs") as store:
        await store.api_spending.put(
            "app", at=90_000.0, spent=[], purposes=[], reserved=0, closed_until=0.0
        )
        assert set(await store.api_spending.all()) == {"app"}
