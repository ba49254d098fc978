"""A full disk: stored data stays, writes that can wait do so, and everything continues once there is room."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.store import Store, StoreError, StoreFull, open_store
from bassloop.store.logs import appender

from .made import THUNK, step

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bassloop.store.writer.RETRY_SECONDS", 0.001)
    monkeypatch.setattr("bassloop.store.logs.log_writer.RETRY_SECONDS", 0.001)


async def pages(store: Store, count: int) -> None:
    """Let the database have no more than so many pages: SQLite says then what it says of a full disk."""

    def limit(db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA max_page_count = {count}")

    await store._engine.write(limit)


async def test_accepted_deliveries_stay_and_others_are_refused_until_there_is_room(
    tmp_path: Path,
) -> None:
    places = (tmp_path / "loop.db", tmp_path / "blobs")
    async with open_store(*places) as store:
        await pages(store, 1)  # as many as there are
        kept = []
        with suppress(StoreFull):
            for number in range(1000):
                await store.deliveries.record(f"g{number}", "push", None, b"x" * 5000)
                kept.append(f"g{number}")
        with pytest.raises(StoreFull, match="the disk is full"):
            await store.deliveries.record("h", "push", None, b"x" * 5000)
        await pages(store, 1_000_000)
        assert await store.deliveries.record("h", "push", None, b"x" * 5000)
        assert await store.deliveries.stored([*kept, "h"]) == {*kept, "h"}


async def test_writes_that_can_wait_do_so_until_there_is_room(tmp_path: Path) -> None:
    large = THUNK.__class__("BIG", "0" * 64, "x" * 50_000, b"", "", 1.0)
    async with open_store(tmp_path / "loop.db", tmp_path / "blobs") as store:
        await pages(store, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.thunks.put, large)
            with pytest.raises(StoreFull):
                await store.deliveries.record("h", "push", None, b"x" * 50_000)
            assert await store.thunks.get("BIG") is None
            await pages(store, 1_000_000)
        assert await store.thunks.get("BIG") == large


async def test_a_command_beside_the_daemon_does_not_wait_for_room(tmp_path: Path) -> None:
    async with open_store(tmp_path / "loop.db", tmp_path / "blobs", owner=False) as store:
        await pages(store, 1)
        with pytest.raises(StoreFull):
            await store.thunks.put(THUNK.__class__("BIG", "0" * 64, "x" * 50_000, b"", "", 1.0))


class Disk:
    """A disk with little room for logs: of the write that meets its end, only a part is done."""

    def __init__(self) -> None:
        self.room = 10**9
        self.refused = 0

    def append(self, path: Path, data: bytes) -> None:
        if not data:
            return
        done = data[: self.room]
        self.room -= len(done)
        with path.open("ab") as file:
            file.write(done)
        if len(done) < len(data):
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(appender, "_append", disk.append)
    return disk


@pytest.mark.parametrize("room", [0, 1, 700, 5000, 5007])
@pytest.mark.parametrize("coloured", [False, True])
async def test_a_log_on_a_full_disk_loses_and_repeats_nothing(
    store: Store, disk: Disk, room: int, coloured: bool
) -> None:
    from bassloop.terminal import Terminal

    where = await step(store)
    log = await store.logs.open(*where)
    terminal = Terminal()
    raw = [b"%d %s\n" % (n, b"\x1b[1mbold\x1b[0m" if coloured else b"plain") for n in range(900)]
    for piece in raw[:300]:
        await log.append(piece, terminal.settle(piece), 1, 1.0)
    await log.flush()
    disk.room = room
    for number in range(300, 900, 100):
        piece = b"".join(raw[number : number + 100])
        await log.append(piece, terminal.settle(piece), 1, 1.0)
    await log.append(b"", terminal.settle_rest(), 1, 1.0)
    await log.flush()
    assert disk.refused
    assert len(await store.logs.lines(*where, 0, 1000)) >= 260  # who reads does not wait
    with trio.move_on_after(0.05) as patience:
        await log.flush(patient=True)
    assert patience.cancelled_caught
    disk.room = 10**9
    await log.flush(patient=True)
    await log.close()
    chunks = [chunk async for chunk in store.logs.raw(*where)]
    assert b"".join(chunks) == b"".join(raw)
    lines = await store.logs.lines(*where, 0, 1000)
    assert [int(line.split(b" ")[0]) for line in lines] == list(range(900))
    assert not (await store.logs.extent(*where)).cut


async def test_a_paused_node_appends_nothing_before_it_knows_that_no_other_has_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = False
    monkeypatch.setattr("bassloop.store.engines.sqlite.FileLease.may_write", lambda _: may_write)
    async with open_store(tmp_path / "loop.db", tmp_path / "blobs") as store:
        run_id, row = await step(store)
        log = await store.logs.open(run_id, row)
        await log.append(b"late\n", None, 1, 1.0)
        with trio.move_on_after(0.1):
            await log.flush(patient=True)
        raw = tmp_path / "blobs" / "logs" / run_id / str(row)
        assert not raw.exists()
        may_write = True
        await log.flush(patient=True)
        assert await store.logs.lines(run_id, row, 0, 9) == [b"late"]
        may_write = False
        await log.append(b"too late\n", None, 1, 2.0)
        with pytest.raises(StoreError, match="another node may have taken over"):
            await log.close()
    assert raw.read_bytes() == b"late\n"


async def test_a_full_disk_is_noticed_by_the_readiness_check_and_by_writers(
    tmp_path: Path, store: Store, disk: Disk
) -> None:
    log = await store.logs.open(*await step(store))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.wait_until_full)
        disk.room = 0
        await log.append(b"line\n", None, 1, 1.0)
    disk.room = 10**9
    async with open_store(tmp_path / "another.db", tmp_path / "others") as other:
        await pages(other, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.wait_until_full)
            with pytest.raises(StoreFull):
                await other.deliveries.record("h", "push", None, b"x" * 50_000)


async def test_writers_wait_so_that_memory_stays_bounded(
    store: Store, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store._queue, "most", 10_000)
    where = await step(store)
    log = await store.logs.open(*where)
    disk.room = 0
    done = 0
    with trio.move_on_after(0.2):
        for _ in range(100):
            await log.append(b"x" * 999 + b"\n", None, 1, 1.0)
            done += 1
    assert done < 12
    disk.room = 10**9
    for _ in range(100 - done):
        await log.append(b"x" * 999 + b"\n", None, 1, 1.0)
    await log.close()
    assert (await store.logs.extent(*where)).raw_bytes == 100_000


async def test_a_store_that_closes_does_not_wait_for_room(tmp_path: Path, disk: Disk) -> None:
    places = (tmp_path / "loop.db", tmp_path / "blobs")
    async with open_store(*places) as store:
        where = await step(store)
        log = await store.logs.open(*where)
        await log.append(b"kept\n", None, 1, 1.0)
        await log.flush()
        disk.room = 0
        await log.append(b"lost\n", None, 1, 1.0)
    async with open_store(*places) as store:
        assert await store.logs.lines(*where, 0, 9) == [b"kept"]
        assert (await store.logs.extent(*where)).cut


async def test_a_log_that_is_closed_does_not_wait_for_room_and_is_marked_as_cut(
    store: Store, disk: Disk
) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    await log.append(b"kept\n", None, 1, 1.0)
    await log.flush()
    disk.room = 2
    await log.append(b"lost\n", None, 1, 1.0)
    with pytest.raises(StoreFull, match=r"logs in .* cannot be written"):
        await log.close()
    disk.room = 10**9
    assert await store.logs.lines(*where, 0, 9) == [b"kept"]
    extent = await store.logs.extent(*where)
    assert (extent.raw_bytes, extent.cut) == (5, True)
