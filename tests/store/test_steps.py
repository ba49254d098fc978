"""Steps are merged as runners repeat them, and numbered by when they changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from bassloop.store import NotStored, StepUpdate, open_store

from .made import intend, run

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from bassloop.store import Run, Store


async def test_a_step_is_merged_from_all_reports_about_it(store: Store) -> None:
    made = run()
    await intend(store, made)
    await store.steps.put(made.id, [StepUpdate("v", "build", 1.0, inputs=("a", "b"))])
    await store.steps.put(made.id, [StepUpdate("v", "build", None, 2.0, error="exit 1")])
    (found,) = await store.steps.of_run(made.id)
    assert (found.started_at, found.completed_at, found.error, found.inputs) == (
        1.0,
        2.0,
        "exit 1",
        ("a", "b"),
    )


async def test_steps_are_in_the_order_of_their_first_report(store: Store) -> None:
    made = run()
    await intend(store, made)
    await store.steps.put(made.id, [StepUpdate("z", "z"), StepUpdate("a", "a")])
    await store.steps.put(made.id, [StepUpdate("m", "m"), StepUpdate("z", "z", 3.0)])
    found = await store.steps.of_run(made.id)
    assert [(step.digest, step.position) for step in found] == [("z", 0), ("a", 1), ("m", 2)]


async def test_changes_since_a_version_can_be_read(store: Store) -> None:
    made = run()
    await intend(store, made)
    first = await store.steps.put(made.id, [StepUpdate("a", "a"), StepUpdate("b", "b")])
    seen = max(step.version for step in first.values())
    same = await store.steps.put(made.id, [StepUpdate("a", "a")])
    assert same["a"].version == seen
    assert await store.steps.of_run(made.id, seen) == []
    await store.steps.put(made.id, [StepUpdate("a", "a"), StepUpdate("b", "b", cached=True)])
    changed = await store.steps.of_run(made.id, seen)
    assert [step.digest for step in changed] == ["b"]
    await store.steps.put(made.id, [StepUpdate("a", "a", inputs=("b",))])
    assert [step.digest for step in await store.steps.of_run(made.id, changed[0].version)] == ["a"]


async def test_steps_belong_to_a_run(location: Path | str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotStored, match="no run nowhere"):
        await store.steps.put("nowhere", [StepUpdate("v", "v")])
    assert await store.steps.of_run("nowhere") == []
    made = run()
    await intend(store, made)
    (found,) = (await store.steps.put(made.id, [StepUpdate("v", "v")])).values()
    assert await store.steps.get(made.id, found.row) == found
    assert await store.steps.get("elsewhere", found.row) is None
    async with open_store(location, tmp_path / "blobs", owner=False) as beside:
        assert await beside.steps.of_run(made.id) == [found]


async def test_a_new_step_costs_the_same_however_many_steps_the_run_has(tmp_path: Path) -> None:
    instructions = 0

    def count() -> None:
        nonlocal instructions
        instructions += 1

    async def cost(made: Run, first: int) -> int:
        """Put some steps, and return how many hundreds of SQLite's instructions that took."""
        steps = [StepUpdate(f"{number}", f"step {number}") for number in range(first, first + 100)]
        before = instructions
        await store.steps.put(made.id, steps)
        return instructions - before

    async with open_store(tmp_path / "loop.db", tmp_path / "blobs", synchronous="OFF") as store:
        await store.steps._engine.write(
            lambda db: cast("sqlite3.Connection", db).set_progress_handler(count, 100)
        )
        few, many = run(), run(head_sha="c0ffe1")
        await intend(store, few)
        await intend(store, many)
        await store.steps.put(many.id, [StepUpdate(f"{n}", f"{n}") for n in range(3_000)])
        assert await cost(many, 3_000) < 3 * await cost(few, 0)
