"""Every transition of `lifecycle`, made in a real store; and everything else refused."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from bassloop import lifecycle
from bassloop.lifecycle import (
    DELIVERY_FINAL,
    RUN_FINAL,
    CheckState,
    DeliveryState,
    LogState,
    RunState,
    allows,
    states_before,
)
from bassloop.store import Store, StoreConflict, open_store
from bassloop.store.steps import close_log, open_log
from tests.sqlite_databases import copy_sqlite
from tests.store.made import intend, run, step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from enum import StrEnum
    from pathlib import Path


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(copy_sqlite(tmp_path / "loop.db"), tmp_path / "blobs") as opened:
        yield opened


def way_to(state: StrEnum) -> list[StrEnum]:
    """A shortest way from nothing to a state, by the tables."""
    ways: dict[StrEnum | None, list[StrEnum]] = {None: []}
    waiting: list[StrEnum | None] = [None]
    while state not in ways:
        before = waiting.pop(0)
        for after in type(state):
            if after not in ways and allows(before, after):
                ways[after] = [*ways[before], after]
                waiting.append(after)
    return ways[state]


@pytest.mark.parametrize("name", lifecycle.TABLES)
def test_every_state_can_be_reached_and_every_transition_is_listed_once(name: str) -> None:
    table = lifecycle.TABLES[name]
    (kind,) = {type(transition.after) for transition in table}
    assert {transition.after for transition in table} == set(kind)
    for state in kind:
        assert way_to(state)[-1] is state
    assert len({(before, after) for before, after, _, _ in table}) == len(table)
    assert all(
        (event and event[0].islower()) or event.startswith("GitHub") for _, _, event, _ in table
    )


@pytest.mark.parametrize("name", lifecycle.TABLES)
def test_every_function_that_causes_a_transition_exists(name: str) -> None:
    for transition in lifecycle.TABLES[name]:
        assert find_spec(f"bassloop.{transition.by}") is not None


def test_final_states_of_a_run_are_never_left() -> None:
    for state in RUN_FINAL:
        assert all(not allows(state, after) for after in RunState)


def test_a_delivery_leaves_a_final_state_only_to_be_handled_anew() -> None:
    for state in DELIVERY_FINAL:
        assert {after for after in DeliveryState if allows(state, after)} <= {
            DeliveryState.RECEIVED
        }


def test_states_of_different_tables_are_distinct_types() -> None:
    assert DeliveryState.FAILED == RunState.FAILED
    assert RunState.QUEUED in states_before(RunState.FAILED)
    assert RunState.QUEUED not in states_before(DeliveryState.FAILED)


@pytest.mark.parametrize("after", DeliveryState)
@pytest.mark.parametrize("before", DeliveryState)
async def test_a_delivery_makes_the_transitions_of_its_table_and_no_other(
    store: Store, before: DeliveryState, after: DeliveryState
) -> None:
    await store.deliveries.record("g", "push", None, b"{}")
    for state in way_to(before)[1:]:
        await store.deliveries.set_state("g", state)
    if allows(before, after):
        await store.deliveries.set_state("g", after)
        expected = after
    else:
        with pytest.raises(StoreConflict, match=f"is {before} and can't become {after}"):
            await store.deliveries.set_state("g", after)
        expected = before
    delivery = await store.deliveries.get("g")
    assert delivery is not None
    assert delivery.state is expected


async def enter(store: Store, state: RunState) -> bool:
    """Bring the run r to a state."""
    if state is RunState.RUNNING:
        return await store.runs.start("r", runtime_id="t", runner_login="l", platform="p", at=1.0)
    if state is RunState.QUEUED:
        return await store.runs.requeue("r")
    return await store.runs.end("r", state, None, 2.0)


@pytest.mark.parametrize("after", RunState)
@pytest.mark.parametrize("before", RunState)
async def test_a_run_makes_the_transitions_of_its_table_and_no_other(
    store: Store, before: RunState, after: RunState
) -> None:
    await intend(store, run(id="r"))
    for state in way_to(before)[1:]:
        assert isinstance(state, RunState)
        assert await enter(store, state)
    if before in RUN_FINAL or before is after is RunState.QUEUED:
        assert not await enter(store, after)
        expected = before
    elif allows(before, after):
        assert await enter(store, after)
        expected = after
    else:
        with pytest.raises(StoreConflict, match=f"is {before} and can't become {after}"):
            await enter(store, after)
        expected = before
    found = await store.runs.get("r")
    assert found is not None
    assert found.state is expected


@pytest.mark.parametrize("after", [CheckState.OPEN, CheckState.CONCLUDED])
@pytest.mark.parametrize("before", CheckState)
async def test_a_check_run_makes_the_transitions_of_its_table_and_no_other(
    store: Store, before: CheckState, after: CheckState
) -> None:
    await intend(store, run(id="r"))
    intended = await store.checks.of_run("r")
    assert intended is not None
    row = intended.row

    async def enter_check(state: StrEnum) -> None:
        if state is CheckState.OPEN:
            await store.checks.bind(row, 7)
        else:
            await store.checks.conclude(row, "success")

    for state in way_to(before)[1:]:
        await enter_check(state)
    await enter_check(after)
    found = await store.checks.of_run("r")
    assert found is not None
    assert found.state is (after if allows(before, after) else before)


@pytest.mark.parametrize("after", [state for state in LogState if state is not LogState.NONE])
@pytest.mark.parametrize("before", LogState)
async def test_a_log_makes_the_transitions_of_its_table_and_no_other(
    store: Store, before: LogState, after: LogState
) -> None:
    run_id, row = await step(store)

    async def enter_log(state: StrEnum) -> None:
        if state is LogState.OPEN:
            await store._engine.write(partial(open_log, run_id=run_id, row=row))
        else:
            cut = state is LogState.CUT
            await store._engine.write(partial(close_log, row=row, raw_bytes=0, lines=0, cut=cut))

    for state in way_to(before)[1:]:
        await enter_log(state)
    await enter_log(after)
    query = "SELECT log_state FROM vertexes WHERE id = ?"
    found = await store._engine.read(lambda db: db.execute(query, (row,)).fetchone()[0])
    assert found == (after if allows(before, after) else before)


@pytest.mark.parametrize("name", lifecycle.TABLES)
def test_a_diagram_has_every_transition(name: str) -> None:
    diagram = lifecycle.mermaid(name)
    for before, after, event, _ in lifecycle.TABLES[name]:
        assert f"{before or '[*]'} --> {after}: {event}" in diagram
