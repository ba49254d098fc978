"""A backup is whole whenever it is made, and so is what is restored from it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import trio
import trio.lowlevel

from bassloop.store import (
    FileBlobs,
    Retention,
    StepUpdate,
    Store,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreUnusable,
    find_database,
    open_store,
)
from bassloop.store.maintenance import backup as backups
from bassloop.store.maintenance import maintenance_lock
from bassloop.store.maintenance.backup import BackupError, back_up, restore
from bassloop.store.maintenance.integrity import verify_backup

from .made import intend, run, step

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.store.blobs import BlobReader


class Places:
    """The folders of a store, its backup and a restored store."""

    def __init__(self, folder: Path, location: Path | str, elsewhere: Path | str) -> None:
        self.store = (location, folder / "blobs")
        self.backup = folder / "backup"
        self.restored = (elsewhere, folder / "new" / "blobs")

    def back_up(self) -> backups.BackupReport:
        database, blobs = self.store
        return back_up(find_database(database), FileBlobs(blobs), self.backup, now=1.0)

    def restore(self, **how: bool) -> list[Path]:
        database, blobs = self.restored
        return restore(self.backup, find_database(database), FileBlobs(blobs), now=2.0, **how)

    def wrong_in_backup(self) -> list[str]:
        found = verify_backup(self.backup / "loop.db", self.backup / "blobs")
        return [finding.what for finding in found]


@pytest.fixture
def places(tmp_path: Path, location: Path | str, elsewhere: Path | str) -> Places:
    return Places(tmp_path, location, elsewhere)


async def write_log(store: Store, text: bytes, *, close: bool = True) -> tuple[str, int]:
    where = await step(store)
    log = await store.logs.open(*where)
    await log.append(text, None, 1, 1.0)
    await (log.close() if close else log.flush())
    return where


async def test_a_backup_can_be_restored(store: Store, places: Places) -> None:
    await store.deliveries.record("g", "push", None, b"{}")
    closed = await write_log(store, b"one\ntwo\n")
    growing = await write_log(store, b"whole\nhal", close=False)
    made = places.back_up()
    assert (made.runs, made.lost) == (2, 0)
    assert places.restore() == []
    async with open_store(*places.restored) as again:
        assert await again.deliveries.stored(["g"]) == {"g"}
        assert await again.logs.lines(*closed, 0, 9) == [b"one", b"two"]
        assert await again.logs.lines(*growing, 0, 9) == [b"whole"]
        assert (await again.logs.extent(*growing)).cut


async def test_a_backup_made_at_any_moment_of_a_load_is_whole(store: Store, places: Places) -> None:
    sizes: dict[tuple[str, int], int] = {}

    async def write(number: int) -> None:
        while True:
            made = run(head_sha=f"{number} {len(sizes)}")
            await intend(store, made)
            found = await store.steps.put(made.id, [StepUpdate("v", "v")])
            where = made.id, found["v"].row
            log = await store.logs.open(*where)
            for piece in range(8):
                await log.append(b"%d\n" % piece * 700, None, 1, 1.0)
                await trio.lowlevel.checkpoint()
            await log.close()
            sizes[where] = log.raw_bytes

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(write, number)
        for _ in range(4):
            before = dict(sizes)
            await trio.to_thread.run_sync(places.back_up)
            assert places.wrong_in_backup() == []
            with closing(sqlite3.connect(places.backup / "loop.db")) as copy:
                closed = {
                    (run_id, row): size
                    for run_id, row, size in copy.execute(
                        "SELECT run_id, id, raw_bytes FROM vertexes WHERE log_state = 'closed'"
                    )
                }
            assert before.items() <= closed.items()
            for (run_id, row), size in closed.items():
                raw = places.backup / "blobs" / "logs" / run_id / str(row)
                assert raw.stat().st_size == size
        nursery.cancel_scope.cancel()


async def test_a_later_backup_copies_new_files_and_drops_removed_ones(
    store: Store, places: Places
) -> None:
    text = b"x" * 100_000 + b"\n"
    first = await write_log(store, text)
    assert places.back_up().copied > 100_000
    kept = places.backup / "blobs" / "logs" / first[0] / str(first[1])
    inode = kept.stat().st_ino
    await write_log(store, b"more\n")
    (places.backup / "blobs" / "logs" / "gone").mkdir()
    made = places.back_up()
    assert made.copied < made.bytes
    assert kept.stat().st_ino == inode
    assert not (places.backup / "blobs" / "logs" / "gone").exists()
    assert places.wrong_in_backup() == []


async def test_a_backup_that_fails_in_the_middle_leaves_the_earlier_one(
    store: Store, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await write_log(store, b"first\n")
    places.back_up()
    for _ in range(3):
        await write_log(store, b"later\n" * 1000)
    copies = 0

    copy = backups._copy_blob

    def full(reader: BlobReader, to: Path) -> int:
        nonlocal copies
        copies += 1
        if copies == 3:
            raise OSError(28, "No space left on device")
        return copy(reader, to)

    monkeypatch.setattr(backups, "_copy_blob", full)
    with pytest.raises(StoreFull, match="No space left"):
        places.back_up()
    monkeypatch.undo()
    assert places.wrong_in_backup() == []
    places.restore()
    async with open_store(*places.restored) as again:
        assert await again.logs.lines(*first, 0, 9) == [b"first"]
        assert len((await again.runs.newest()).items) == 1


async def test_a_store_that_nobody_has_open_is_backed_up(places: Places) -> None:
    async with open_store(*places.store) as store:
        await write_log(store, b"hello\n")
    assert places.back_up().runs == 1


async def test_a_folder_with_other_contents_is_refused(store: Store, places: Places) -> None:
    places.backup.mkdir()
    (places.backup / "holiday.jpg").write_bytes(b"")
    with pytest.raises(BackupError, match="neither empty nor a backup"):
        places.back_up()
    with pytest.raises(BackupError, match="is not a backup"):
        places.restore()


async def test_no_backup_is_made_while_the_store_is_pruned(store: Store, places: Places) -> None:
    location, blobs = places.store
    with maintenance_lock(find_database(location), blobs), pytest.raises(StoreBusy):
        places.back_up()


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
async def test_no_backup_is_made_while_another_machine_prunes_the_store(
    store: Store, places: Places, tmp_path: Path
) -> None:
    location, _ = places.store
    with maintenance_lock(find_database(location), tmp_path / "there"):
        with pytest.raises(StoreBusy, match="on another node"):
            places.back_up()
        with pytest.raises(StoreBusy, match="on another node"):
            await store.prune(Retention(), now=1.0)
    places.back_up()


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_existing_data_is_moved_aside_only_on_request(store: Store, places: Places) -> None:
    mine = await write_log(store, b"mine\n")
    places.back_up()
    async with open_store(*places.restored) as other:
        theirs = await write_log(other, b"theirs\n")
    with pytest.raises(BackupError, match=r"there is already data in .*: use --overwrite"):
        places.restore()
    database, blobs = places.restore(overwrite=True)
    async with open_store(*places.restored) as again:
        assert await again.logs.lines(*mine, 0, 9) == [b"mine"]
    async with open_store(database, blobs) as before:
        assert await before.logs.lines(*theirs, 0, 9) == [b"theirs"]


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
async def test_a_servers_database_with_rows_is_left_unchanged(store: Store, places: Places) -> None:
    await store.deliveries.record("mine", "push", None, b"{}")
    places.back_up()
    database, blobs = places.restored
    async with open_store(database, blobs) as other:
        await other.deliveries.record("theirs", "push", None, b"{}")
    with pytest.raises(StoreUnusable, match="isn't empty, and is left as it is"):
        places.restore(overwrite=True)
    async with open_store(database, blobs) as other:
        assert await other.deliveries.stored(["mine", "theirs"]) == {"theirs"}


async def test_a_backup_is_restored_to_another_engine(
    store: Store, places: Places, engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where = await write_log(store, b"text\n")
    await store.deliveries.record("g", "push", "a\0b", b"\0\xff")
    places.back_up()
    other: Path | str = tmp_path / "other.db"
    if engine == "sqlite":
        other = request.getfixturevalue("postgresql").create(empty=True)
        request.addfinalizer(lambda: request.getfixturevalue("postgresql").drop(other))
    blobs = tmp_path / "other"
    restore(places.backup, find_database(other), FileBlobs(blobs), now=2.0)
    async with open_store(other, blobs) as again:
        assert await again.logs.lines(*where, 0, 9) == [b"text"]
        (run_here,) = (await store.runs.newest()).items
        assert await again.runs.get(where[0]) == run_here
        assert await again.deliveries.body("g") == b"\0\xff"
        assert (await step(again))[1] > where[1]  # new rows get new numbers


async def test_an_incomplete_backup_is_not_restored(store: Store, places: Places) -> None:
    where = await write_log(store, b"some text\n")
    places.back_up()
    raw = places.backup / "blobs" / "logs" / where[0] / str(where[1])
    raw.write_bytes(b"some")
    with pytest.raises(BackupError, match=r"is not intact: log .*: 6 of its 10 bytes are missing"):
        places.restore()
    assert not find_database(places.restored[0]).exists()


async def test_nothing_is_restored_while_a_daemon_runs(store: Store, places: Places) -> None:
    places.back_up()
    async with open_store(*places.restored):
        with pytest.raises(StoreUnusable, match="another bassloop serves it"):
            places.restore(overwrite=True)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_a_restore_that_was_killed_is_finished_before_a_daemon_starts(
    store: Store, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = await write_log(store, b"text\n")
    places.back_up()
    async with open_store(*places.restored):
        pass
    with monkeypatch.context() as patched:
        patched.setattr("bassloop.store.maintenance.backup.os.sync", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            places.restore(overwrite=True)
    async with open_store(*places.restored):
        pass  # nothing was moved yet

    rename = type(places.backup).rename
    renamed: list[str] = []

    def killed(self: Path, to: Path) -> Path:
        if len(renamed) == 2:
            raise KeyboardInterrupt
        renamed.append(self.name)
        return rename(self, to)

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.rename", killed)
        with pytest.raises(KeyboardInterrupt):
            places.restore(overwrite=True)
    with pytest.raises(StoreError, match="a restore was interrupted; run `bassloop restore` again"):
        async with open_store(*places.restored):
            pass
    places.restore()
    async with open_store(*places.restored) as again:
        assert await again.logs.lines(*where, 0, 9) == [b"text"]
