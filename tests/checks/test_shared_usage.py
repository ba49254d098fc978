"""Limits on users and repositories hold for all nodes that share a database."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trio

from bassloop.checks.quotas import QuotaLimits, Quotas, SharedUsage
from bassloop.store import Run, Store, new_node, new_run_id, open_store
from tests.store.made import intend
from tests.store.made import run as make_run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.postgresql


class NodeWithQuotas(NamedTuple):
    """A node, and what it counts."""

    store: Store
    shared: SharedUsage
    quotas: Quotas


@pytest.fixture(params=["postgresql"])  # a parameter, so that these tests run in its session
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def two_nodes(
    location: str, folder: Path, **limits: int
) -> AsyncGenerator[tuple[NodeWithQuotas, NodeWithQuotas]]:
    blobs = folder / "blobs"
    async with (
        open_store(location, blobs, node=new_node("one")) as one,
        open_store(location, blobs, node=new_node("two")) as two,
    ):
        made = []
        for store in (one, two):
            while store.cluster.size < 2:
                await store.cluster.changed()
            shared = SharedUsage(store)
            made.append(NodeWithQuotas(store, shared, Quotas(QuotaLimits(**limits), shared=shared)))
        yield made[0], made[1]


async def stored(store: Store) -> Run:
    made = make_run(head_sha=new_run_id())
    assert await intend(store, made)
    return made


async def count(node: NodeWithQuotas) -> None:
    await node.shared.count(node.quotas._note_counted)


@pytest.mark.parametrize("setting", ["user_runs", "repository_runs"])
async def test_runs_beyond_the_limit_wait_for_those_of_other_nodes(
    location: str, tmp_path: Path, setting: str
) -> None:
    waiting, begun, why = trio.Event(), trio.Event(), []

    async def wait(reason: str) -> None:
        why.append(reason)
        waiting.set()

    async def run(node: NodeWithQuotas, started: Run) -> None:
        async with node.quotas.under_way(started, wait):
            begun.set()

    async with (
        two_nodes(location, tmp_path, **{setting: 1}) as (one, two),
        trio.open_nursery() as nursery,
    ):
        first, second = await stored(one.store), await stored(two.store)
        with trio.fail_after(200):
            async with one.quotas.under_way(first, wait):
                nursery.start_soon(partial(run, two, second))
                await waiting.wait()
                assert setting.upper() in why[0]
                assert not begun.is_set()
            await begun.wait()


async def test_a_cancelled_run_frees_its_place(location: str, tmp_path: Path) -> None:
    async def wait(reason: str) -> None:
        raise AssertionError(reason)

    async with two_nodes(location, tmp_path, user_runs=1) as (one, two):
        first, second = await stored(one.store), await stored(two.store)
        with trio.CancelScope() as scope:
            async with one.quotas.under_way(first, wait):
                scope.cancel()
                await trio.sleep_forever()
        async with two.quotas.under_way(second, wait):
            pass


async def test_the_place_of_a_lost_node_is_free(location: str, tmp_path: Path) -> None:
    async with two_nodes(location, tmp_path, user_runs=1) as (_, two):
        second = await stored(two.store)
        async with open_store(location, tmp_path / "blobs", node=new_node("lost")) as lost:
            first = await stored(lost)
            most = {"repository_runs": 1, "user_runs": 1}
            assert await lost.usage.take_slot(first.id, **most) is None
            assert await two.store.usage.take_slot(second.id, **most) is not None
        await two.store.nodes.take_over()
        assert await two.store.usage.take_slot(second.id, **most) is None


async def test_bytes_stored_by_all_nodes_count(location: str, tmp_path: Path) -> None:
    limits = {"user_log_a_day": 1_000, "repository_log_a_day": 1 << 20}
    async with two_nodes(location, tmp_path, **limits) as (one, two):
        first = one.quotas.of_run(await stored(one.store))
        second = two.quotas.of_run(await stored(two.store))
        assert await first.take(600) == 600
        assert await second.take(100) == 100
        await count(one)
        await count(two)
        assert await second.take(600) == 300
        assert second.exceeded is not None
        assert "USER_LOG_A_DAY" in second.exceeded
        await count(two)
        assert await first.take(1) == 1, "it doesn't know yet"
        await count(one)
        assert await first.take(1) == 0
