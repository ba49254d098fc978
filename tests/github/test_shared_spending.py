"""Nodes that share a credential spend its points together: what some leave, the others get."""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.github.api_budget import APIBudget, Purpose, Turn
from bassloop.github.pacing import Pacer
from bassloop.github.reservations import Reservation, StoredSpending
from bassloop.store.usage import OthersSpending

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trio.testing import MockClock

POINTS = 890
WINDOW = 60.0


@dataclass
class Row:
    at: float
    spent: Sequence[tuple[float, int]]
    purposes: Sequence[str]
    reserved: int
    closed_until: float


@dataclass
class Database:
    """The rows that nodes store. Reading and writing takes a moment."""

    rows: dict[str, Row] = field(default_factory=dict)
    rng: random.Random = field(default_factory=lambda: random.Random(5))

    async def pause(self) -> None:
        await trio.sleep(self.rng.uniform(0.0, 0.02))


@dataclass
class NodeStore:
    """One node's view of the database."""

    database: Database
    node: str

    async def all(self) -> Mapping[str, StoredSpending]:
        return {}

    async def of_others(self, credential: str) -> OthersSpending:
        await self.database.pause()
        rows = [row for node, row in self.database.rows.items() if node != self.node]
        return OthersSpending(
            tuple(
                (at, points, purpose)
                for row in rows
                for (at, points), purpose in zip(row.spent, row.purposes, strict=True)
            ),
            tuple((row.at, row.reserved) for row in rows),
            max((row.closed_until for row in rows), default=0.0),
        )

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
        await self.database.pause()
        self.database.rows[self.node] = Row(
            time.time(), list(spent), list(purposes), reserved, closed_until
        )
        await self.database.pause()


@dataclass
class Node:
    """A node, and what it has spent."""

    pacer: Pacer
    spent: list[tuple[float, int]] = field(default_factory=list)

    async def spend(self, purpose: Purpose = Purpose.START, points: int = 1) -> float:
        """Make a request, and return how long it had to wait."""
        began = trio.current_time()
        async with self.pacer.admit(Turn(purpose, repository="o/r"), points):
            self.spent.append((trio.current_time(), points))
        return trio.current_time() - began

    async def keep_spending(self, purpose: Purpose = Purpose.START) -> None:
        while True:
            await self.spend(purpose, 5 if len(self.spent) % 4 == 0 else 1)

    def total(self, since: float = 0.0) -> int:
        return sum(points for at, points in self.spent if at >= since)


def nodes(names: str) -> list[Node]:
    """Return nodes with one-letter names that share a credential."""
    database = Database()
    found = []
    for name in names:
        budget = APIBudget(POINTS)
        reservation = Reservation("App", budget, NodeStore(database, name), len(names))
        found.append(Node(Pacer(budget, reservation=reservation)))
    return found


def most_in_a_window(several: Sequence[Node]) -> int:
    window, most = deque[tuple[float, int]](), 0
    for at, points in sorted(entry for node in several for entry in node.spent):
        window.append((at, points))
        while window[0][0] + WINDOW <= at:
            window.popleft()
        most = max(most, sum(each for _, each in window))
    return most


async def test_a_busy_node_may_spend_what_idle_nodes_do_not(clock: MockClock) -> None:
    busy, *idle = cluster = nodes("abcd")
    for node in idle:
        await node.spend()
    with trio.move_on_after(10 * WINDOW):
        await busy.keep_spending()
    assert busy.total() >= 10 * 0.9 * POINTS
    assert most_in_a_window(cluster) <= POINTS


async def test_nodes_that_are_all_busy_get_equal_shares(clock: MockClock) -> None:
    cluster = nodes("abcd")
    with trio.move_on_after(10 * WINDOW):
        async with trio.open_nursery() as nursery:
            for node in cluster:
                nursery.start_soon(node.keep_spending)
    assert most_in_a_window(cluster) <= POINTS
    assert sum(node.total() for node in cluster) >= 10 * 0.85 * POINTS
    for node in cluster:
        assert node.total() >= 10 * POINTS / 4 * 0.7


async def test_a_visitor_of_another_node_does_not_wait_for_a_busy_node(clock: MockClock) -> None:
    busy, other = nodes("ab")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(busy.keep_spending)
        await trio.sleep(3 * WINDOW + 1)
        assert await other.spend(Purpose.PEOPLE) < 0.1
        nursery.cancel_scope.cancel()


async def test_conclusions_on_another_node_go_before_new_checks_on_a_busy_one(
    clock: MockClock,
) -> None:
    busy, other = cluster = nodes("ab")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(busy.keep_spending)
        await trio.sleep(3 * WINDOW + 1)
        waits = [await other.spend(Purpose.CONCLUDE, 5) for _ in range(30)]
        nursery.cancel_scope.cancel()
    assert max(waits) < WINDOW
    assert sum(waits) < 2 * WINDOW
    assert most_in_a_window(cluster) <= POINTS


async def test_nodes_that_come_and_go_and_are_killed_never_spend_too_much_together(
    clock: MockClock,
) -> None:
    rng, database, all_nodes = random.Random(3), Database(), list[Node]()

    async def live(name: str) -> None:
        for number in range(12):
            budget = APIBudget(POINTS)
            store = NodeStore(database, f"{name}{number}")
            node = Node(Pacer(budget, reservation=Reservation("App", budget, store, 3)))
            all_nodes.append(node)
            with trio.move_on_after(rng.uniform(1, 40)):
                await node.keep_spending(rng.choice(list(Purpose)))
            await trio.sleep(rng.uniform(0, 40))

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(live, name)
    assert most_in_a_window(all_nodes) <= POINTS
    assert sum(node.total() for node in all_nodes) > trio.current_time() / WINDOW * POINTS * 0.5


async def test_a_slice_that_a_node_does_not_spend_is_given_to_others_after_a_while(
    clock: MockClock,
) -> None:
    first, second = nodes("ab")
    await first.spend()
    await second.spend()
    assert second.pacer.budget.spent_by_others[None] > 0
    await trio.sleep(2 * WINDOW)
    await second.spend()
    assert second.pacer.budget.spent_by_others.total() == 0


async def test_a_rate_limit_that_one_node_meets_applies_to_the_others(
    clock: MockClock,
) -> None:
    first, second = nodes("ab")
    await first.spend()
    await first.pacer.close(40.0)
    assert await second.spend() >= 39.0
