"""Tests' results: replaced, counted, bounded, listed over time, and gone with their runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.lifecycle import RunState
from bassloop.store import Bounds, NotStored, ReportedTest, Retention, test_results

from .made import intend, run

if TYPE_CHECKING:
    from bassloop.store import Store


async def test_results_are_listed_by_name_and_the_last_of_a_test_counts(store: Store) -> None:
    made = run()
    await intend(store, made)
    await store.tests.put(made.id, [ReportedTest("b", "failed", 1.0, "no", "b.py", 3)])
    await store.tests.put(
        made.id,
        [ReportedTest("a", "passed"), ReportedTest("b", "failed"), ReportedTest("b", "passed")],
    )
    assert await store.tests.of_run(made.id) == [
        ReportedTest("a", "passed"),
        ReportedTest("b", "passed"),
    ]
    assert await store.tests.of_run(made.id, "failed") == []
    assert await store.tests.counts(made.id) == {"passed": 2}
    with pytest.raises(NotStored):
        await store.tests.put("none", [ReportedTest("a", "passed")])


async def test_failures_take_precedence_if_there_are_too_many_results(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_results, "MAX_RESULTS", 2)
    made = run()
    await intend(store, made)
    await store.tests.put(
        made.id,
        [
            ReportedTest("a", "passed"),
            ReportedTest("b", "passed"),
            ReportedTest("x" * 900, "failed"),
        ],
    )
    names = [each.name for each in await store.tests.of_run(made.id)]
    assert names == ["a", "x" * test_results.MAX_NAME]


async def test_a_tests_history_covers_its_own_check_and_repository_only(store: Store) -> None:
    first, second = run(delivery="1"), run(delivery="2", head_sha="beef")
    others = [run(delivery="3", check_name="lint"), run(delivery="4", repository_id=2)]
    for each in (first, second, *others):
        await intend(store, each)
        await store.tests.put(each.id, [ReportedTest("a", "passed")])
    await store.tests.put(second.id, [ReportedTest("a", "failed", message="no")])
    assert await store.tests.history(1, "test", "a") == [
        (second.id, ReportedTest("a", "failed", message="no")),
        (first.id, ReportedTest("a", "passed")),
    ]
    assert await store.tests.history(1, "test", "b") == []


async def test_a_test_is_deleted_with_its_last_run(store: Store) -> None:
    made = run()
    await intend(store, made)
    await store.tests.put(made.id, [ReportedTest("a", "passed")])
    await store.runs.end(made.id, RunState.SUCCEEDED, None, 1.0)
    (check, _), *_ = await store.checks.unfinished()
    await store.checks.conclude(check.row, "success")
    assert (await store.prune(Retention(Bounds(seconds=1.0)), now=9e9)).runs == 1
    assert await store.tests.history(1, "test", "a") == []
