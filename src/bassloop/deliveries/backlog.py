"""The backlog: which deliveries wait, when they will be done, and what GitHub's budget is spent on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.github import Purpose, purpose_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bassloop.github.rest_client import RestClient
    from bassloop.store import RepositoryBacklog, Store

PACE_SECONDS = 300.0
"""The period over which the pace is measured, in seconds."""

FEW = 5
"""The minimum number of deliveries for a pace."""


@dataclass(eq=False)
class Pace:
    """The rate at which deliveries end. Times are seconds on one monotonic clock."""

    _ended: deque[float] = field(default_factory=lambda: deque(maxlen=10_000), init=False)

    def note(self, now: float) -> None:
        """Count a delivery that has ended."""
        self._ended.append(now)

    def seconds_for(self, deliveries: int, now: float) -> float | None:
        """Return how many seconds so many deliveries take at this pace, or None if there is none yet."""
        while self._ended and self._ended[0] <= now - PACE_SECONDS:
            self._ended.popleft()
        if not deliveries:
            return 0.0
        if len(self._ended) < FEW or now <= self._ended[0]:
            return None
        return deliveries * (now - self._ended[0]) / len(self._ended)


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """A report of the purposes that a credential's points are spent on.

    Args:
        credential: the credential's name.
        points: the points that it may spend in a minute.
        spent: the points spent in the last minute, by purpose.
        waiting: the requests that wait for points, by purpose.
        closed_seconds: for how long nothing more may be started, because GitHub refuses everything or the hour's
            calls are nearly used up.
        calls_left: the calls left this hour, if GitHub has said so.
    """

    credential: str
    points: int
    spent: Mapping[str, int]
    waiting: Mapping[str, int]
    closed_seconds: float
    calls_left: int | None


@dataclass(frozen=True, slots=True)
class BacklogReport:
    """The backlog at one moment.

    Args:
        repositories: the repositories with the most unfinished deliveries, in descending order.
        deliveries: the number of unfinished deliveries in all repositories.
        seconds_left: how long they take at the pace of the last minutes; None if there is no pace yet.
        budgets: the budgets of the credentials that were used.
    """

    repositories: Sequence[RepositoryBacklog]
    deliveries: int
    seconds_left: float | None
    budgets: Sequence[BudgetReport]


@dataclass(frozen=True, eq=False)
class Backlog:
    """Reports the backlog."""

    store: Store
    api: RestClient
    pace: Pace

    async def report(self) -> BacklogReport:
        """Return the current backlog. Raises StoreError."""
        figures = await self.store.figures()
        deliveries = sum(figures.deliveries.values())
        return BacklogReport(
            await self.store.deliveries.backlog(),
            deliveries,
            self.pace.seconds_for(deliveries, trio.current_time()),
            self.budgets(),
        )

    def budgets(self) -> list[BudgetReport]:
        """Return what each credential's points are currently spent on."""
        now = trio.current_time()
        reports = []
        for name, budget in sorted(self.api.budgets().items()):
            budget.forget(now)
            reports.append(
                BudgetReport(
                    name,
                    budget.points,
                    {
                        purpose_name(purpose): points
                        for purpose, points in budget.spent.items()
                        if points
                    },
                    {
                        purpose_name(purpose): many
                        for purpose, many in budget.waiting.items()
                        if many
                    },
                    budget.opens_at(Purpose.START, now) - now,
                    budget.calls_left if now < budget.resets_at else None,
                )
            )
        return reports
