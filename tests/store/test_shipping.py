"""Shipping logs to a bucket: completely, in order and once, despite any errors."""

from __future__ import annotations

import os
import random
import shutil
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from bassloop.concurrency import Backoff
from bassloop.settings import Settings
from bassloop.store import (
    Bounds,
    Retention,
    StoreError,
    StoreUnusable,
    find_blobs,
    find_database,
    open_store,
)
from bassloop.store.logs import shipment
from bassloop.store.logs.log_files import LogFiles, open_parts
from bassloop.store.logs.log_objects import (
    NOTHING,
    GrowingSizes,
    LogEnd,
    StoredLog,
    chunk_name,
    end_name,
    pack_chunk,
    read_end,
)
from bassloop.store.logs.shipment import Completion, read_completion, store_complete
from bassloop.store.logs.shipper import Shipper
from bassloop.store.maintenance.backup import BackupError, back_up, restore
from bassloop.store.maintenance.integrity import check_store
from bassloop.store.maintenance.transfer import BlobsDiffer, move_blobs
from tests.until import until

from .buckets import MemoryBucket
from .made import step
from .test_retention import logged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from trio.testing import MockClock

    from bassloop.store import LogWriter, Store
    from bassloop.store.blobs import BlobInfo
    from bassloop.store.logs.shipper import ShippingStatistics

TEXT = b"one\ntwo\nthree\n"


@pytest.fixture
def bucket(tmp_path: Path) -> MemoryBucket:
    return MemoryBucket(tmp_path / "blobs")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a store that closes ship what is left, however busy the machine is."""
    monkeypatch.setattr("bassloop.store.logs.shipper.CLOSE_SECONDS", 600.0)


@asynccontextmanager
async def opened(bucket: MemoryBucket, waiting: int = 1 << 30) -> AsyncIterator[Store]:
    path = bucket.folder.parent / "loop.db"
    async with open_store(path, bucket, synchronous="OFF", bucket_waiting=waiting) as store:
        yield store


@asynccontextmanager
async def killed(bucket: MemoryBucket) -> AsyncIterator[Store]:
    """A store whose daemon is killed before it has closed or shipped anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bassloop.store.logs.shipper.CLOSE_SECONDS", 0.0)
        bucket.down = True
        async with open_store(
            bucket.folder.parent / "loop.db", bucket, synchronous="OFF", owner=False
        ) as store:
            yield store
        bucket.down = False


async def write(store: Store, text: bytes = TEXT, *, close: bool = True) -> tuple[str, int]:
    where = await step(store)
    log = await store.logs.open(*where)
    await log.append(text, None, 1, 1.0)
    await log.flush()
    if close:
        await log.close()
    return where


async def wait_for(event: Callable[[float], bool]) -> None:
    assert await trio.to_thread.run_sync(event, 120.0)


def failures_of(store: Store) -> int:
    shipping = store.statistics().shipping
    assert shipping is not None
    return shipping.failures


def waiting_files(bucket: MemoryBucket) -> list[str]:
    return sorted(each.name for each in (bucket.folder / "logs").glob("*/*"))


async def test_a_short_log_is_stored_as_one_object(bucket: MemoryBucket) -> None:
    async with opened(bucket) as store:
        where = await write(store)
        assert await store.logs.lines(*where, 0, 9) == [b"one", b"two", b"three"]
    assert list(bucket.objects) == [end_name(*where)]
    assert waiting_files(bucket) == []
    async with opened(bucket) as store:
        assert await store.logs.lines(*where, 1, 9) == [b"two", b"three"]
        assert b"".join([each async for each in store.logs.raw(*where)]) == TEXT
        extent = await store.logs.extent(*where)
        assert (extent.raw_bytes, extent.lines, extent.closed, extent.cut) == (14, 3, True, False)
        shipping = store.statistics().shipping
        assert shipping is not None
        assert (shipping.waiting_bytes, shipping.logs) == (0, 0)


async def test_bytes_are_shipped_while_the_log_is_written(
    bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shipment.CHUNK_SECONDS <= 2
    monkeypatch.setattr(shipment, "CHUNK_SECONDS", 0.3)
    async with opened(bucket) as store:
        began = trio.current_time()
        where = await write(store, close=False)
        await wait_for(bucket.created.wait)
        assert trio.current_time() - began > 0.29
        assert [*bucket.objects] == [chunk_name(*where, 0)]


async def test_a_long_log_is_stored_in_chunks_of_about_a_mebibyte(bucket: MemoryBucket) -> None:
    line = b"x" * 99 + b"\n"
    async with opened(bucket) as store:
        where = await step(store)
        log = await store.logs.open(*where)
        for _ in range(60):
            await log.append(line * 1000, None, 1, 1.0)
        await log.append(b"end", None, 1, 1.0)
        await log.close()
    sizes = [len(data) for data in bucket.objects.values()]
    assert len(sizes) >= 2
    assert max(sizes) < 4 << 20
    async with opened(bucket) as store:
        for start in (0, 1, 511, 12_345, 59_999):
            assert (await store.logs.lines(*where, start, start + 1)) == [b"x" * 99]
        assert await store.logs.lines(*where, 60_000, 60_009) == [b"end"]
        assert len(b"".join([each async for each in store.logs.raw(*where)])) == 6_000_003
        found = [text.lines async for text in store.logs.blocks(*where, 100)]
        assert sum(found) == 59_901


async def test_a_bucket_that_is_lost_for_a_while_loses_nothing(bucket: MemoryBucket) -> None:
    async with opened(bucket) as store:
        bucket.down = True
        where = await write(store)
        other = await write(store, b"open\n", close=False)
        await wait_for(bucket.failed.wait)
        shipping = store.statistics().shipping
        assert shipping is not None
        assert shipping.waiting_bytes > len(TEXT)
        assert await store.logs.lines(*where, 0, 9) == [b"one", b"two", b"three"]
        assert (await store.logs.extent(*where)).closed
        bucket.down = False
        await wait_for(bucket.created.wait)
        assert await store.logs.lines(*other, 0, 9) == [b"open"]
    assert read_end(bucket, *where).sizes.raw == len(TEXT)


async def test_bytes_written_during_an_upload_do_not_wait_longer_than_others(
    bucket: MemoryBucket, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk takes until it's stored, and the next one is due a second after that began."""
    create, uploads, stored = bucket.create, threading.Event(), threading.Event()

    def create_slowly(name: str, data: bytes) -> bool:
        uploads.set()
        assert stored.wait(60.0)
        return create(name, data)

    monkeypatch.setattr(bucket, "create", create_slowly)
    files = LogFiles.of(bucket.folder, "run", 1)
    files.raw.parent.mkdir(parents=True)
    files.raw.write_bytes(TEXT)
    shipper = Shipper(bucket, limit=len(TEXT))

    async def shipped(*_: object) -> None:
        pass

    async with trio.open_nursery() as nursery:
        await nursery.start(shipper.serve, shipped)
        log = shipper.begin("run", 1, files)
        shipper.note_written(log, GrowingSizes(raw=len(TEXT) - 1))
        await wait_all_tasks_blocked()
        mock_clock.jump(shipment.CHUNK_SECONDS)
        await wait_for(uploads.wait)
        began = trio.current_time()
        mock_clock.jump(shipment.CHUNK_SECONDS / 2)
        shipper.note_written(log, GrowingSizes(raw=len(TEXT)))
        stored.set()
        await shipper.wait_for_room()
        assert log.waiting.total() == 1
        assert log.waiting_since == began
        shipper.close()


async def test_all_logs_continue_as_soon_as_one_request_succeeds(
    bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bassloop.store.logs.shipper._BACKOFF", Backoff(1000.0, 1000.0))
    async with opened(bucket) as store:
        bucket.down = True
        wheres = [await write(store) for _ in range(3)]
        await until(lambda: failures_of(store) == len(wheres))
        bucket.down = False
        last = await write(store)
        ends = {end_name(*where) for where in (*wheres, last)}
        await until(lambda: bucket.objects.keys() >= ends)


async def test_waiting_logs_are_bounded_and_continue_by_themselves(bucket: MemoryBucket) -> None:
    async with opened(bucket, waiting=100_000) as store:
        bucket.down = True
        where = await step(store)
        log = await store.logs.open(*where)

        async def append_much(log: LogWriter) -> None:
            for _ in range(20):
                await log.append(b"y" * 9_999 + b"\n", None, 1, 1.0)
                await log.flush()

        def shipping() -> ShippingStatistics:
            found = store.statistics().shipping
            assert found is not None
            return found

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(append_much, log)
                await until(lambda: shipping().full)
                await wait_all_tasks_blocked(0.1)
                assert 100_000 <= shipping().waiting_bytes < 120_000
                bucket.down = False
        await log.close()
        assert not shipping().full
    assert read_end(bucket, *where).sizes.raw >= 200_000


async def test_a_lost_response_stores_nothing_twice(bucket: MemoryBucket) -> None:
    async with opened(bucket) as store:
        bucket.lost_answers = 1
        where = await write(store)
    assert read_end(bucket, *where).sizes.raw == len(TEXT)
    assert waiting_files(bucket) == []


async def test_the_next_daemon_ships_what_this_one_could_not(
    bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bassloop.store.logs.shipper.CLOSE_SECONDS", 0.1)
    async with opened(bucket) as store:
        bucket.down = True
        where = await write(store)
    assert f"{where[1]}.closed" in waiting_files(bucket)
    async with opened(bucket) as store:
        assert await store.logs.lines(*where, 0, 9) == [b"one", b"two", b"three"]
        bucket.down = False
        await wait_for(bucket.created.wait)
    end = read_end(bucket, *where)
    assert (end.sizes.raw, end.lines, end.cut) == (14, 3, False)
    async with opened(bucket) as store:
        found = await store.steps.get(*where)
        assert found is not None
        assert (found.raw_bytes, found.lines, found.log_cut) == (14, 3, False)


@pytest.mark.parametrize("shipped", [False, True])
@pytest.mark.parametrize("disk_lost", [False, True])
async def test_a_log_that_was_being_written_at_a_kill_is_cut_and_has_what_was_stored(
    bucket: MemoryBucket, shipped: bool, disk_lost: bool
) -> None:
    async with killed(bucket) as store:
        where = await write(store, b"a\nb\nc", close=False)
        files = LogFiles.of(bucket.folder, *where)
        if shipped:
            chunk = pack_chunk(b"a\n", b"", files.pieces.read_bytes())
            bucket.objects[chunk_name(*where, 0)] = chunk
        if disk_lost:
            for path in files.all:
                path.unlink(missing_ok=True)
    async with opened(bucket):
        pass
    end = read_end(bucket, *where)
    kept = b"a\nb\nc" if not disk_lost else b"a\n" if shipped else b""
    assert (end.sizes.raw, end.cut) == (len(kept), True)
    assert len(end.chunks) == shipped
    async with opened(bucket) as store:
        assert b"".join([each async for each in store.logs.raw(*where)]) == kept
        assert await store.logs.lines(*where, 0, 9) == kept.split(b"\n")[: kept.count(b"\n")]
        assert (await store.logs.extent(*where)).cut
    assert waiting_files(bucket) == []


async def test_a_kill_before_the_row_is_closed_closes_it_at_the_next_start(
    bucket: MemoryBucket,
) -> None:
    async with killed(bucket) as store:
        where = await write(store, close=False)
    store_complete(bucket, *where, LogFiles.of(bucket.folder, *where), Completion(14, 3, False))
    async with opened(bucket):
        pass
    assert waiting_files(bucket) == []
    async with opened(bucket) as store:
        found = await store.steps.get(*where)
        assert found is not None
        assert (found.raw_bytes, found.lines, found.log_cut) == (14, 3, False)


async def test_a_node_starts_while_another_one_removes_what_is_in_the_bucket(
    bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with killed(bucket) as store:
        closed, _ = await write(store)
        unfinished = bucket.folder / "artifacts" / closed / ".unfinished"
        unfinished.parent.mkdir(parents=True)
        unfinished.touch()
    scan = os.scandir
    removed = []

    def scan_late(path: str | int) -> Iterator[os.DirEntry[str]]:
        if isinstance(path, str) and Path(path).name == closed:
            shutil.rmtree(path)
            removed.append(Path(path).parent.name)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_late)
    async with opened(bucket):
        assert removed == ["logs", "artifacts"]


async def test_only_one_of_two_nodes_completes_a_log(bucket: MemoryBucket) -> None:
    async with opened(bucket) as store:
        where = await step(store)
        log = await store.logs.open(*where)
        successor = LogFiles.of(bucket.folder.parent / "successor", *where)
        store_complete(bucket, *where, successor, Completion(0, 0, True))
        before = dict(bucket.objects)
        await log.append(TEXT, None, 1, 1.0)
        await log.close()
    assert bucket.objects == before
    assert waiting_files(bucket) == []


async def test_a_node_that_takes_over_a_log_accepts_the_end_that_another_stored_late(
    bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node was paused while it closed the log, and woke up while its heir looked at what there is."""
    async with killed(bucket) as store:
        where = await write(store, close=False)
    files = LogFiles.of(bucket.folder, *where)
    paused = files.raw.parent.rename(bucket.folder.parent / "paused")
    late = LogFiles(*(paused / path.name for path in files.all))
    look = bucket.list

    def look_before_it_is_stored(prefix: str) -> Iterator[BlobInfo]:
        found = list(look(prefix))
        monkeypatch.setattr(bucket, "list", look)
        store_complete(bucket, *where, late, Completion(14, 3, False))
        return iter(found)

    monkeypatch.setattr(bucket, "list", look_before_it_is_stored)
    async with opened(bucket):
        pass
    async with opened(bucket) as store:
        found = await store.steps.get(*where)
        assert found is not None
        assert (found.raw_bytes, found.lines, found.log_cut) == (14, 3, False)
        assert await store.logs.lines(*where, 0, 9) == [b"one", b"two", b"three"]


async def test_pruning_and_check_include_the_bucket(bucket: MemoryBucket) -> None:
    database = bucket.folder.parent / "loop.db"
    async with opened(bucket) as store:
        where = await write(store)
    bucket.objects["logs/gone/1/end"] = b"x"
    bucket.objects[f"logs/{where[0]}/999/end"] = b"y"
    found = [each.what for each in check_store(find_database(database), bucket, in_use=False)]
    assert len(found) == 2
    async with opened(bucket) as store:
        assert (await store.prune(Retention(), now=1.0)).orphans == 1
    del bucket.objects[f"logs/{where[0]}/999/end"]
    assert list(check_store(find_database(database), bucket, in_use=False)) == []
    bucket.objects[end_name(*where)] += b"more"
    [defect] = check_store(find_database(database), bucket, in_use=False)
    assert "another size" in defect.what
    del bucket.objects[end_name(*where)]
    [defect] = check_store(find_database(database), bucket, in_use=False)
    assert "missing from the bucket" in defect.what


async def test_a_run_that_is_pruned_leaves_nothing_in_the_bucket(bucket: MemoryBucket) -> None:
    async with opened(bucket) as store:
        old = await logged(store, delivery="d-old", ended_at=1.0)
        new = await logged(store, delivery="d-new", ended_at=9000.0)
        writer = store.artifacts.open(old)
        await writer.write(b"wheel")
        await writer.finish()
    assert {name.split("/")[1] for name in bucket.objects} == {old, new}
    async with opened(bucket) as store:
        pruned = await store.prune(Retention(Bounds(seconds=5000.0)), now=9001.0)
    assert pruned.runs == 1
    assert pruned.bytes > 600
    assert {name.split("/")[1] for name in bucket.objects} == {new}


async def test_a_backup_includes_the_bucket_and_can_be_restored_to_another(
    bucket: MemoryBucket, tmp_path: Path
) -> None:
    database = tmp_path / "loop.db"
    async with opened(bucket) as store:
        where = await write(store)
        writer = store.artifacts.open(where[0])
        await writer.write(b"wheel")
        sha256 = await writer.finish()
    assert bucket.objects[f"artifacts/{where[0]}/{sha256}"] == b"wheel"
    assert back_up(find_database(database), bucket, tmp_path / "backup", now=1.0).lost == 0
    assert back_up(find_database(database), bucket, tmp_path / "backup", now=2.0).lost == 0
    with pytest.raises(BackupError, match="not empty"):
        restore(tmp_path / "backup", find_database(database), bucket, overwrite=True, now=3.0)
    other = MemoryBucket(tmp_path / "new" / "blobs")
    restore(tmp_path / "backup", find_database(tmp_path / "new" / "loop.db"), other, now=3.0)
    assert waiting_files(other) == []
    async with opened(other) as store:
        assert await store.logs.lines(*where, 0, 9) == [b"one", b"two", b"three"]
    del bucket.objects[end_name(*where)]
    assert back_up(find_database(database), bucket, tmp_path / "backup", now=3.0).lost == 1


async def test_moving_from_a_folder_may_be_interrupted_and_loses_nothing(
    bucket: MemoryBucket, tmp_path: Path
) -> None:
    database = tmp_path / "loop.db"
    line = random.Random(1).randbytes(60).hex().encode() + b"\n"
    texts = [b"", TEXT, line * 30_000]
    async with open_store(database, bucket.folder, synchronous="OFF") as store:
        wheres = [await write(store, text) for text in texts]
        writer = store.artifacts.open(wheres[0][0])
        await writer.write(b"wheel")
        await writer.finish()
    for count in range(1, 5):
        bucket.lost_answers = 1
        with pytest.raises(StoreError):
            list(move_blobs(find_database(database), bucket))
        bucket.down = count == 2
        if bucket.down:
            with pytest.raises(StoreError):
                list(move_blobs(find_database(database), bucket))
            bucket.down = False
        async with opened(bucket) as store:
            for where, text in zip(wheres, texts, strict=True):
                assert b"".join([each async for each in store.logs.raw(*where)]) == text
        bucket.lost_answers = 0
        if count == 3:
            list(move_blobs(find_database(database), bucket))
            break
    assert list(move_blobs(find_database(database), bucket)) == []
    assert [*bucket.folder.glob("logs/*/*"), *bucket.folder.glob("artifacts/*/*")] == []
    async with opened(bucket) as store:
        for where, text in zip(wheres, texts, strict=True):
            assert b"".join([each async for each in store.logs.raw(*where)]) == text
    assert list(check_store(find_database(database), bucket, in_use=False)) == []


async def test_a_folder_whose_logs_were_moved_is_not_used_without_the_bucket(
    bucket: MemoryBucket, tmp_path: Path
) -> None:
    """A check would find all of them missing, and its repair would say that they are lost."""
    settings = Settings(data_dir=tmp_path)
    async with open_store(tmp_path / "loop.db", find_blobs(settings), synchronous="OFF") as store:
        await write(store)
    list(move_blobs(find_database(tmp_path / "loop.db"), bucket))
    with pytest.raises(StoreUnusable, match="were moved to bucket memory: set BLOBS_URL to it"):
        find_blobs(settings)


async def test_files_that_differ_from_the_bucket_are_not_removed_from_the_folder(
    bucket: MemoryBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(tmp_path / "loop.db", bucket.folder, synchronous="OFF") as store:
        where = await write(store)
    create = bucket.create

    def change(name: str, data: bytes) -> bool:
        return create(name, data.replace(b"two", b"2wo"))

    monkeypatch.setattr(bucket, "create", change)
    with pytest.raises(BlobsDiffer, match="stays in the folder"):
        list(move_blobs(find_database(tmp_path / "loop.db"), bucket))
    assert LogFiles.of(bucket.folder, *where).raw.read_bytes() == TEXT


sizes = st.integers(0, 40)


@given(
    st.binary(max_size=120), st.binary(max_size=120), st.lists(st.tuples(sizes, sizes, sizes)),
    st.binary(max_size=60), st.binary(max_size=60),
)  # fmt: skip
def test_a_log_reads_the_same_whatever_its_chunks(
    raw: bytes, text: bytes, cuts: list[tuple[int, int, int]], lines: bytes, pieces: bytes
) -> None:
    bucket = MemoryBucket.__new__(MemoryBucket)
    bucket.objects, bucket.down = {}, False
    whole = GrowingSizes(len(raw), len(text), len(pieces))
    at, chunks = NOTHING, []
    for cut in cuts:
        chunk = whole.minus(at)
        chunk = GrowingSizes(*map(min, chunk, cut))
        data = [
            part[begin : begin + size]
            for part, begin, size in zip((raw, text, pieces), at, chunk, strict=True)
        ]
        bucket.objects[chunk_name("r", 1, len(chunks))] = pack_chunk(*data)
        chunks.append(chunk)
        at = at.plus(chunk)
    end = LogEnd(whole, 3, len(lines), False, tuple(chunks))
    packed = end.pack(lines, pieces, raw[at.raw :], text[at.text :])
    assert len(packed) == end.total_bytes
    bucket.objects[end_name("r", 1)] = packed
    assert read_end(bucket, "r", 1) == end
    with open_parts(StoredLog(bucket, "r", 1), "raw", "text", "lines", "pieces") as found:
        for reader, wanted in zip(found, (raw, text, lines, pieces), strict=True):
            if reader is None:
                assert wanted == b""
                continue
            assert reader.size == len(wanted)
            for offset in range(0, len(wanted) + 1, 7):
                assert reader.read(offset, 11) == wanted[offset : offset + 11]


def test_an_incomplete_note_of_completion_is_ignored(tmp_path: Path) -> None:
    files = LogFiles.of(tmp_path, "run", 1)
    assert read_completion(files) is None
    shipment.write_completion(files, Completion(1, 2, True))
    assert read_completion(files) == Completion(1, 2, True)
    files.closed.write_bytes(b'{"raw_bytes":')
    assert read_completion(files) is None
