"""What nodes do for each other, without the others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from bassloop.daemon.node_tasks import hand_over, keep_handling_requests
from bassloop.runtimes import Pool
from bassloop.store import RequestKind, open_store

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


@pytest.mark.parametrize("kind", [*RequestKind, "invented_later"])
async def test_a_request_of_another_version_is_logged_and_removed(
    tmp_path: Path, kind: str
) -> None:
    unused = cast(Any, None)
    async with (
        open_store(tmp_path / "loop.db", tmp_path / "blobs") as store,
        trio.open_nursery() as nursery,
    ):
        await store.requests.send(store.nodes.own_id, cast(Any, kind), {"renamed": "x"})
        with capture_logs() as logs:
            loop = cast(Any, SimpleNamespace(store=store))
            await nursery.start(keep_handling_requests, loop, unused)
            with trio.fail_after(100):
                while await store.requests.all():
                    await trio.testing.wait_all_tasks_blocked(0.01)
        assert [(each["kind"], each["fields"]) for each in logs] == [(kind, ["renamed"])]
        nursery.cancel_scope.cancel()
