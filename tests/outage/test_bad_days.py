"""Errors of GitHub at each call, with a backlog: everything is done once, despite all errors."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.github import pacing
from bassloop.standin.faults import Fault, garbage, lost_answer, secondary_limit
from tests.repositories import commits
from tests.small_loop import small_loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from tests.repositories import MakeRepository
    from tests.small_loop import SmallLoop

HOOK = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:after))
"""
CALLS = (
    ("POST", r"/app/installations/\d+/access_tokens"),
    ("GET", r"/repos/.*/git/trees/.*"),
    ("GET", r"/repos/.*/contents/.*"),
    ("POST", r"/repos/.*/check-runs"),
    ("PATCH", r"/repos/.*/check-runs/\d+"),
)
SEARCH = ("GET", r"/repos/.*/commits/.*/check-runs")
"""The call that is made only if it isn't known whether a check run was created."""


def _status(status: int) -> Callable[[str, str], Fault]:
    return lambda method, path: Fault(method, path, status=status)


def _limit_without_time(method: str, path: str) -> Fault:
    fault = secondary_limit(path, method=method)
    fault.headers = {}
    return fault


BAD_DAYS: dict[str, Callable[[str, str], Fault]] = {
    **{str(status): _status(status) for status in (401, 429, 500, 502, 503, 504)},
    "slow": lambda method, path: Fault(method, path, status=None, delay=1.0),
    "garbage": lambda method, path: garbage(path, method=method),
    "reset": lambda method, path: lost_answer(path, method=method),
    "done all the same": lambda method, path: Fault(method, path, status=502, after=True),
    "limit with a time": lambda method, path: secondary_limit(path, method=method),
    "limit without a time": _limit_without_time,
}


@asynccontextmanager
async def backlog(
    repository: Path, folder: Path, size: int, seconds: float
) -> AsyncGenerator[SmallLoop]:
    """A loop with a backlog, each push to a branch of its own; on exit, all of it has to come through."""
    heads = commits(repository, size)
    async with small_loop(repository, folder, points=10**9, seconds=seconds) as loop:
        loop.standin.rate_limits.per_hour = loop.standin.rate_limits.points_per_minute = 10**9
        loop.standin.rate_limits.at_once = 10**6
        payload = await loop.standin.payload("push")
        async with loop.runner():
            yield loop
            for number, head in enumerate(heads):
                ref, before = f"refs/heads/topic-{number}", "0" * 40
                push = {**payload, "ref": ref, "before": before, "after": head}
                assert await loop.deliver(push, f"g{number}", "push") == 202
            async with trio.open_nursery() as nursery:
                for number in range(size):
                    nursery.start_soon(loop.inbox.finished, f"g{number}")

            async def concluded() -> bool:
                return not await loop.store.checks.unfinished()

            await loop.until_stored(concluded)
        figures = Counter[str]()
        before_guid = None
        while page := await loop.store.deliveries.newest(100, before_guid):
            figures.update(delivery.state for delivery in page)
            before_guid = page[-1].guid
    assert figures == {"done": size}
    shown = Counter((run["head_sha"], run["conclusion"]) for run in loop.standin.check_runs)
    expected = Counter((head, "success") for head in heads)
    assert (shown - expected, expected - shown) == (Counter(), Counter())


async def test_a_check_run_that_may_exist_is_looked_for_until_github_answers(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    repository = make_repository(**{"project.bass": HOOK})
    async with backlog(repository, tmp_path / "data", size=1, seconds=600) as loop:
        loop.standin.faults.add(BAD_DAYS["done all the same"](*CALLS[3]))
        unknown = loop.standin.faults.add(Fault(*SEARCH, status=503, times=3))
    assert unknown.happened == 3


async def test_a_backlog_is_handled_through_all_kinds_of_failures_at_once(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "DEFAULT_WAIT", 0.2)
    repository = make_repository(**{"project.bass": HOOK})
    async with backlog(repository, tmp_path / "data", size=60, seconds=800) as loop:
        faults = [bad_day(*call) for bad_day in BAD_DAYS.values() for call in CALLS]
        loop.standin.faults.add(Fault(*SEARCH, status=500, times=5))
        random.shuffle(faults)
        for fault in faults:
            loop.standin.faults.add(fault)
    assert all(fault.happened for fault in faults)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("day", BAD_DAYS)
async def test_a_backlog_of_hundreds_is_handled_through_one_kind_of_failure(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, day: str
) -> None:
    monkeypatch.setattr(pacing, "DEFAULT_WAIT", 1.0)
    repository = make_repository(**{"project.bass": HOOK})
    async with backlog(repository, tmp_path / "data", size=500, seconds=800) as loop:
        faults = [BAD_DAYS[day](*call) for call in (*CALLS, SEARCH)]
        for fault in faults:
            fault.times = 20
            loop.standin.faults.add(fault)
    assert all(fault.happened for fault in faults[:-1])
