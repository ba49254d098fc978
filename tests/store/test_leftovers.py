"""What a lost node has left on its disk is removed once nobody needs it, and nothing else is."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from bassloop.concurrency import open_flat_nursery
from bassloop.store import open_store
from bassloop.store.artifacts import ABANDONED_SECONDS, UNFINISHED
from bassloop.store.logs.log_files import LogFiles
from bassloop.store.logs.shipment import STRAY_SECONDS
from bassloop.store.maintenance.pruning_tasks import keep_tidying
from tests.until import until

from .buckets import MemoryBucket
from .test_shipping import killed, opened, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bassloop.store import Store


@pytest.fixture
def bucket(tmp_path: Path) -> MemoryBucket:
    return MemoryBucket(tmp_path / "blobs")


@asynccontextmanager
async def without_bucket(bucket: MemoryBucket, *, owner: bool = True) -> AsyncIterator[Store]:
    path = bucket.folder.parent / "loop.db"
    async with open_store(path, bucket.folder, synchronous="OFF", owner=owner) as store:
        yield store


def files_of(bucket: MemoryBucket, where: tuple[str, int]) -> list[Path]:
    return [path for path in LogFiles.of(bucket.folder, *where).all if path.exists()]


async def test_a_log_that_another_machine_has_completed_is_removed(bucket: MemoryBucket) -> None:
    async with killed(bucket) as store:
        where = await write(store, b"one\ntwo\n", close=False)
    there = MemoryBucket(bucket.folder.parent / "there", bucket.objects)
    async with opened(there):
        pass
    assert files_of(bucket, where)
    async with opened(bucket) as store:
        assert await store.logs.remove_leftovers(time.time()) == 1
        assert not LogFiles.of(bucket.folder, *where).raw.parent.exists()
        assert (await store.logs.extent(*where)).cut
        assert await store.logs.lines(*where, 0, 9) == []


async def test_a_log_that_was_never_moved_to_the_bucket_stays(bucket: MemoryBucket) -> None:
    async with without_bucket(bucket) as store:
        closed = await write(store)
    async with without_bucket(bucket, owner=False) as store:
        cut = await write(store, close=False)
    async with without_bucket(bucket):
        pass
    async with opened(bucket) as store:
        live = await write(store, close=False)
        assert await store.logs.remove_leftovers(time.time() + 2 * STRAY_SECONDS) == 0
        for where in (closed, cut, live):
            assert files_of(bucket, where)
            assert len(await store.logs.lines(*where, 0, 9)) == 3
        assert (await store.logs.extent(*cut)).cut


async def test_a_log_of_a_run_that_was_pruned_is_removed_a_day_later(bucket: MemoryBucket) -> None:
    async with opened(bucket) as store:
        file = LogFiles.of(bucket.folder, "pruned", 7).raw
        file.parent.mkdir(parents=True)
        file.write_bytes(b"one\n")
        changed_at = file.stat().st_mtime
        assert await store.logs.remove_leftovers(changed_at + STRAY_SECONDS - 1) == 0
        assert file.exists()
        assert await store.logs.remove_leftovers(changed_at + STRAY_SECONDS + 1) == 1
        assert not file.parent.exists()


async def test_nothing_is_removed_while_the_bucket_does_not_answer(bucket: MemoryBucket) -> None:
    async with without_bucket(bucket, owner=False) as store:
        where = await write(store, close=False)
    async with without_bucket(bucket):
        pass
    async with opened(bucket) as store:
        bucket.down = True
        with pytest.raises(OSError, match="it is down"):
            await store.logs.remove_leftovers(time.time())
        bucket.down = False
        assert files_of(bucket, where)


async def test_an_artifact_that_was_being_received_is_removed_a_day_later_without_a_restart(
    bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bassloop.store.maintenance.pruning_tasks.EVERY_SECONDS", 0.01)
    folder = bucket.folder / "artifacts" / "run"
    async with opened(bucket) as store, open_flat_nursery() as nursery:
        nursery.start_soon(keep_tidying, store)
        folder.mkdir(parents=True)
        young, old = folder / f"{UNFINISHED}young", folder / f"{UNFINISHED}old"
        for path in (young, old):
            path.touch()
        yesterday = time.time() - ABANDONED_SECONDS - 1
        os.utime(old, (yesterday, yesterday))
        await until(lambda: not old.exists())
        assert young.exists()
        nursery.cancel_scope.cancel()
