"""What nodes do for each other, without the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
import trio.testing

from bassloop.daemon.node_tasks import hand_over
from bassloop.runtimes import Pool
from bassloop.store import open_store

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_node_that_drains_keeps_its_runners_until_another_one_can_have_them(
    tmp_path: Path,
) -> None:
    pool, stopping = Pool(), trio.Event()
    async with (
        open_store(tmp_path / "loop.db", tmp_path / "blobs") as store,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(hand_over, store, pool, stopping)
        stopping.set()
        store.cluster.note(2, successors=0)
        await store.probe()
        await trio.testing.wait_all_tasks_blocked()
        assert not pool.is_dismissing, "the other one drains, too"
        store.cluster.note(3, successors=1)
        await trio.testing.wait_all_tasks_blocked()
        assert pool.is_dismissing
