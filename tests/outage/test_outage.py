"""After an outage everything that was accepted ends as it should have, as soon as GitHub's limits allow."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest

from .trial import Plan, Report, run_trial, survival_percentile

if TYPE_CHECKING:
    from pathlib import Path


def check(report: Report) -> None:
    """For any seed, nothing may be lost, doubled, left behind, or blamed on a connected runner."""
    assert report.accepted
    assert (report.lost, report.set_aside, report.doubled) == (0, 0, 0)
    assert (report.spinning, report.without_runner) == (0, 0)
    assert set(report.states) == {"done"}
    assert report.seconds is not None


@pytest.mark.outage
@pytest.mark.timeout(600)
async def test_a_small_backlog_is_handled_after_an_outage(tmp_path: Path) -> None:
    plan = Plan(seed=random.randrange(10**6), rate=2.0, seconds=20.0, kills=4, patience=400.0)
    report = await run_trial(plan, tmp_path)
    print(f"\n{plan}\n{report}")
    check(report)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(5))
async def test_a_backlog_of_hundreds_is_handled_after_an_outage(
    tmp_path: Path, number: int
) -> None:
    seed = random.randrange(10**6)
    plan = Plan(seed=seed, rate=4.0, seconds=120.0, kills=14, patience=1500.0)
    report = await run_trial(plan, tmp_path)
    print(f"\n{plan}\n{report}")
    check(report)


def test_interrupted_runs_count_for_as_long_as_they_lasted() -> None:
    assert survival_percentile([1, 2, 3, 4], [], 50) == 2
    assert survival_percentile([1, 2, 3, 4], [], 95) == 4
    assert survival_percentile([1, 2], [0.5], 95) == 2
    assert survival_percentile([1, 2], [5], 95) == math.inf
    assert survival_percentile([1, 2], [1.5, 1.5], 50) == 2


def test_the_shortest_possible_time_counts_from_when_a_daemon_can_make_requests() -> None:
    plan = Plan(0, rate=1.0, seconds=2.0)
    assert plan.least(2, 21) == 60.0
    assert plan.least(2, 21, [(0.0, 30.0), (70.0, math.inf)]) == 70.0
    assert plan.least(2, 21, [(5.0, math.inf)]) == 65.0
