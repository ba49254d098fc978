"""Damage to a store is found, and repaired as far as its files allow."""

from __future__ import annotations

import functools
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bassloop.store import FileBlobs, Store, StoreUnusable, find_database, open_store
from bassloop.store.logs.log_files import LogFiles
from bassloop.store.maintenance.integrity import check_store
from bassloop.store.maintenance.repair import repair_store

from .made import THUNK, step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bassloop.store.maintenance.integrity import Defect

PLAIN = b"".join(b"line %d\n" % number for number in range(2000))


async def write_closed_log(
    store: Store, text: bytes = PLAIN, coloured: bool = False
) -> tuple[str, int]:
    """A closed log; `coloured` has settled text of its own."""
    from bassloop.terminal import Terminal

    where = await step(store)
    log = await store.logs.open(*where)
    terminal = Terminal()
    raw = text.replace(b"line", b"\x1b[1mline\x1b[0m") if coloured else text
    await log.append(raw, terminal.settle(raw), 1, 1.0)
    await log.append(b"", terminal.settle_rest(), 1, 2.0)
    await log.close()
    return where


class Data:
    """A store's files, closed."""

    def __init__(self, location: Path | str, blobs: Path) -> None:
        self.database, self.blobs = location, blobs

    def check(self, *, in_use: bool = False) -> Iterator[Defect]:
        return check_store(find_database(self.database), FileBlobs(self.blobs), in_use=in_use)

    def found(self) -> list[str]:
        return [each.what for each in self.check()]

    def repaired(self) -> list[str]:
        return [
            f"{each.what}: {each.repaired}"
            for each in repair_store(find_database(self.database), FileBlobs(self.blobs), now=3.0)
        ]

    def execute(self, *statements: str) -> None:
        """Change rows, with SQLite's foreign keys off."""
        database = find_database(self.database)
        if isinstance(self.database, str):
            connect = database.connect
        else:
            connect = functools.partial(sqlite3.connect, self.database, isolation_level=None)
        with closing(connect()) as connection:
            for statement in statements:
                connection.execute(statement)


@pytest.fixture
def data(location: Path | str, tmp_path: Path) -> Data:
    return Data(location, tmp_path / "blobs")


async def make_store(data: Data, **how: bool) -> tuple[str, int]:
    async with open_store(data.database, data.blobs, synchronous="OFF") as store:
        return await write_closed_log(store, **how)


async def lines(data: Data, where: tuple[str, int]) -> tuple[list[bytes], bool]:
    async with open_store(data.database, data.blobs, synchronous="OFF") as store:
        found = await store.logs.lines(*where, 0, 10_000)
        return found, (await store.logs.extent(*where)).cut


@pytest.mark.parametrize("coloured", [False, True])
async def test_an_intact_store_has_no_problems(data: Data, coloured: bool) -> None:
    await make_store(data, coloured=coloured)
    async with open_store(data.database, data.blobs, synchronous="OFF") as store:
        await write_closed_log(store, b"without an end", coloured)
        await write_closed_log(store, b"", coloured)
        assert [each.what for each in data.check(in_use=True)] == []
    assert data.found() == []
    assert data.repaired() == []


async def test_missing_bytes_are_reported_and_the_rest_of_the_log_is_kept(data: Data) -> None:
    where = await make_store(data)
    os.truncate(LogFiles.of(data.blobs, *where).raw, 10_005)
    (said,) = data.repaired()
    assert f"log {where[1]} of run {where[0]}: 8,885 of its 18,890 bytes are missing" in said
    assert "10,005 bytes and 1,111 lines are kept, and it is marked as cut; 8,885 bytes are" in said
    assert data.found() == []
    found, cut = await lines(data, where)
    assert found == PLAIN.split(b"\n")[: len(found)]
    assert (len(found), cut) == (1111, True)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda files: files.lines.unlink(), None),
        (lambda files: os.truncate(files.lines, 17), "the index of its lines is truncated"),
        (
            lambda files: files.lines.write_bytes(b"\1" * 32),
            "the index of its lines is longer than its text",
        ),
        (lambda files: os.truncate(files.pieces, 5), "the index of its times is truncated"),
    ],
)
async def test_an_index_is_rebuilt_without_loss(
    data: Data, break_it: Callable[[LogFiles], None], words: str | None
) -> None:
    where = await make_store(data)
    break_it(LogFiles.of(data.blobs, *where))
    said = data.repaired()
    assert [words in each and "nothing is lost" in each for each in said] == [True] * bool(words)
    assert data.found() == []
    assert await lines(data, where) == (PLAIN.split(b"\n")[:-1], False)


async def test_a_missing_log_is_empty_and_marked_as_cut(data: Data) -> None:
    where = await make_store(data)
    for path in LogFiles.of(data.blobs, *where).all:
        path.unlink(missing_ok=True)
    (said,) = data.repaired()
    assert "18,890 bytes are lost" in said
    assert data.found() == []
    assert await lines(data, where) == ([], True)


@given(cuts=st.tuples(*[st.none() | st.integers(0, 1 << 15)] * 4), coloured=st.booleans())
@settings(max_examples=25)
def test_a_log_damaged_anywhere_is_consistent_after_its_repair(
    tmp_path_factory: pytest.TempPathFactory, cuts: tuple[int | None, ...], coloured: bool
) -> None:
    import trio

    folder = tmp_path_factory.mktemp("store")
    data = Data(folder / "loop.db", folder / "blobs")
    where = trio.run(lambda: make_store(data, coloured=coloured))
    for path, cut in zip(LogFiles.of(data.blobs, *where).all, cuts, strict=True):
        if cut is not None and path.exists():
            os.truncate(path, min(cut, path.stat().st_size))
    data.repaired()
    assert data.found() == []
    found, _ = trio.run(lambda: lines(data, where))
    if coloured and cuts[1] is not None and cuts[1] < 16:
        return  # its settled text was lost as a whole: the raw bytes stand for it
    assert len(found) <= 2000
    assert all(b"line %d" % number in line for number, line in enumerate(found)) or coloured


async def test_files_without_rows_are_removed(data: Data) -> None:
    where = await make_store(data)
    stray = data.blobs / "logs" / where[0] / "999.text"
    stray.write_bytes(b"123")
    (data.blobs / "logs" / "nobody").mkdir()
    (data.blobs / "logs" / "nobody" / "1").write_bytes(b"12345")
    said = data.repaired()
    assert sorted(each.rpartition(": ")[2] for each in said) == ["removed", "removed"]
    assert any("5 bytes, belongs to no run: nobody" in each for each in said)
    assert not stray.exists()
    assert data.found() == []


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_rows_with_dangling_references_are_removed_with_their_dependents(data: Data) -> None:
    where = await make_store(data)
    data.execute(f"DELETE FROM runs WHERE id = '{where[0]}'")  # foreign keys are off here
    assert len(data.found()) >= 2
    said = data.repaired()
    assert any(
        "of vertexes refers to one of runs that is not there: removed" in each for each in said
    )
    assert any("belongs to no run" in each for each in said)
    assert data.found() == []


async def test_a_log_that_was_open_at_a_crash_is_closed(data: Data) -> None:
    async with open_store(data.database, data.blobs, synchronous="OFF") as store:
        where = await step(store)
        log = await store.logs.open(*where)
        await log.append(b"whole\nhal", None, 1, 1.0)
    (said,) = data.repaired()
    assert "was being written when the loop ended" in said
    assert await lines(data, where) == ([b"whole"], True)


async def test_nothing_is_repaired_while_a_daemon_runs(data: Data) -> None:
    async with open_store(data.database, data.blobs):
        with pytest.raises(StoreUnusable, match="another bassloop serves it"):
            data.repaired()


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_readable_rows_of_a_damaged_database_are_saved(data: Data) -> None:
    async with open_store(data.database, data.blobs, synchronous="OFF") as store:
        await store.thunks.put(THUNK)
        for number in range(400):
            await store.deliveries.record(f"g{number}", "push", None, b"x" * 3000)
        where = await write_closed_log(store)
    assert isinstance(data.database, Path)
    size = data.database.stat().st_size
    with data.database.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(StoreUnusable, match="damaged"):
        data.found()
    said = data.repaired()
    assert "saved" in said[0]
    assert "deliveries" in said[0]
    assert "the damaged file is loop.db.damaged-3" in said[0]
    assert data.found() == []
    assert (await lines(data, where))[0] == PLAIN.split(b"\n")[:-1]
    async with open_store(data.database, data.blobs) as store:
        assert await store.thunks.get(THUNK.digest) == THUNK
        known = await store.deliveries.stored(f"g{number}" for number in range(400))
        assert 390 <= len(known) <= 400
    assert (data.database.parent / "loop.db.damaged-3").exists()


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_a_file_that_is_not_a_database_is_left_unchanged(data: Data) -> None:
    assert isinstance(data.database, Path)
    data.database.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreUnusable, match="is not an SQLite database"):
        data.found()
    with pytest.raises(StoreUnusable, match="is not an SQLite database"):
        data.repaired()
    assert data.database.read_bytes() == b"not a database" * 1000


async def test_logs_of_runs_that_are_pruned_meanwhile_are_not_reported_as_missing(
    data: Data,
) -> None:
    first, second = await make_store(data), await make_store(data)
    for where in (first, second):
        LogFiles.of(data.blobs, *where).raw.unlink()
    findings = data.check(in_use=True)
    assert "bytes are missing" in next(findings).what
    data.execute(f"DELETE FROM vertexes WHERE run_id = '{second[0]}'")
    data.execute(f"DELETE FROM runs WHERE id = '{second[0]}'")
    assert list(findings) == []


async def test_folders_without_a_run_are_left_to_a_running_daemon(data: Data) -> None:
    await make_store(data)
    (data.blobs / "logs" / "nobody").mkdir()
    (data.blobs / "logs" / "nobody" / "1").write_bytes(b"12345")
    assert list(data.check(in_use=True)) == []
    assert len(list(data.check())) == 1


async def test_artifacts_that_expire_meanwhile_are_not_reported_as_missing(data: Data) -> None:
    run_id, _ = await make_store(data)
    data.execute(
        "INSERT INTO artifacts (run_id, repository_id, path, bytes, sha256, created_at, expires_at, kept) "
        f"SELECT '{run_id}', 1, value, 3, '{'0' * 64}', 0, 0, 1 FROM json_each('[1, 2]')"
    )
    findings = data.check(in_use=True)
    assert "artifact 1" in next(findings).what
    data.execute("UPDATE artifacts SET kept = 0")
    assert list(findings) == []
