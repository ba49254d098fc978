"""Logs: raw bytes and settled lines in files, short reads of any range, nothing shown in halves."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.store import (
    LineGap,
    LineTime,
    LogExtent,
    LogText,
    NotStored,
    StoreConflict,
    StoreError,
    open_store,
)
from bassloop.store.logs import log_reader

from .made import step

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.store import Store


@dataclass
class Settled:
    text: bytes
    plain: bool
    line: int = 0


def files(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tmp_path.glob("blobs/logs/*/*")}


async def raw(store: Store, run_id: str, row: int, offset: int = 0) -> bytes:
    async with contextlib.aclosing(store.logs.raw(run_id, row, offset)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_a_plain_log_is_its_own_settled_text(store: Store, tmp_path: Path) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    await log.append(b"one\ntw", None, 1, 1.0)
    await log.append(b"o\r\nthree", None, 1, 1.0)
    await log.close()
    assert await store.logs.lines(*where, 0, 10) == [b"one", b"two", b"three"]
    assert await store.logs.lines(*where, 1, 2) == [b"two"]
    assert await store.logs.extent(*where) == LogExtent(14, 3, closed=True, cut=False)
    assert await raw(store, *where) == b"one\ntwo\r\nthree"
    assert await raw(store, *where, 9) == b"three"
    assert not any(name.endswith(".text") for name in files(tmp_path))


async def test_a_log_that_is_appended_to_can_be_read_at_once(store: Store) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    for number in range(5):
        await log.append(b"line %d\nha" % number, Settled(b"line %d\n" % number, False), 1, 1.0)
        assert (await store.logs.lines(*where, 0, 10))[-1] == b"line %d" % number
        assert await store.logs.extent(*where) == LogExtent(
            9 * (number + 1), number + 1, closed=False, cut=False
        )
        (found,) = await store.steps.of_run(where[0])
        assert found.lines == number + 1


async def test_lines_that_are_still_on_the_screen_are_not_settled(store: Store) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    await log.append(b"one\ntwo\n", Settled(b"one\n", True), 1, 1.0)
    assert await store.logs.lines(*where, 0, 10) == [b"one"]
    await log.close()
    assert await store.logs.lines(*where, 0, 10) == [b"one", b"two"]


async def test_settled_text_is_stored_separately_once_it_differs(
    store: Store, tmp_path: Path
) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    await log.append(b"one\ntwo\n", Settled(b"one\n", True), 1, 1.0)
    await log.append(b"\x1b[A\x1b[KX\nthree\n", Settled(b"X\n", False), 1, 1.0)
    await log.append(b"", Settled(b"three\n", False), 1, 1.0)
    await log.close()
    assert await store.logs.lines(*where, 0, 10) == [b"one", b"X", b"three"]
    assert await raw(store, *where) == b"one\ntwo\n\x1b[A\x1b[KX\nthree\n"
    (text,) = [data for name, data in files(tmp_path).items() if name.endswith(".text")]
    assert text.endswith(b"X\nthree\n")


@pytest.mark.parametrize("plain", [True, False])
async def test_any_range_of_a_long_log_takes_one_short_read(
    store: Store, monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    lines = [b"line %d %s" % (number, b"x" * (number % 90)) for number in range(30_000)]
    for at in range(0, len(lines), 700):
        text = b"".join(line + b"\n" for line in lines[at : at + 700])
        await log.append(text, Settled(text, plain), 1, 1.0)
    await log.close()
    read = []
    original = log_reader.LogReader.read

    def counted(self: log_reader.LogReader, offset: int, size: int) -> bytes:
        data = original(self, offset, size)
        read.append(len(data))
        return data

    monkeypatch.setattr(log_reader.LogReader, "read", counted)
    for start, stop in ((0, 5), (511, 514), (15_000, 15_200), (29_990, 40_000), (30_000, 30_001)):
        read.clear()
        assert await store.logs.lines(*where, start, stop) == lines[start:stop]
        assert sum(read) <= 2 * 64 * 1024
    joined = []
    line = 0
    async for found in store.logs.blocks(*where):
        assert found.line == line
        line += found.lines
        joined.append(found.text)
    assert b"".join(joined) == b"".join(line + b"\n" for line in lines)


@pytest.mark.parametrize("newline", [b"\n", b""])
async def test_a_very_long_line_is_cut_where_it_is_read(store: Store, newline: bytes) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    await log.append(b"short\n", None, 1, 1.0)
    for _ in range(100):
        await log.append("é".encode() * 50_000, None, 1, 1.0)
    await log.append(b"\nafter\n" + b"y" * 300_000 + newline, None, 1, 1.0)
    await log.close()
    first, long, after, last = await store.logs.lines(*where, 0, 10)
    assert (first, after) == (b"short", b"after")
    assert len(long) < 140_000
    assert long.decode().startswith("éé")
    assert long.decode().endswith("é … [cut here: this line has 10,000,000 bytes]")
    assert last.endswith("y … [cut here: this line has 300,000 bytes]".encode())
    assert await store.logs.lines(*where, 2, 3) == [b"after"]


async def blocks(store: Store, where: tuple[str, int], start: int) -> list[LogText]:
    async with contextlib.aclosing(store.logs.blocks(*where, start)) as found:
        return [block async for block in found]


@pytest.mark.parametrize("end", [b"", b"last"])
@pytest.mark.parametrize("plain", [True, False])
async def test_a_log_is_read_in_blocks_of_whole_lines(
    store: Store, plain: bool, end: bytes
) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    lines = [b"line %d %s" % (number, b"x" * (number % 90)) for number in range(30_000)]
    for at in range(0, len(lines), 700):
        text = b"".join(line + b"\n" for line in lines[at : at + 700])
        await log.append(text, Settled(text, plain or at < 7000), 1, 1.0)
    await log.append(end, Settled(end, plain), 1, 1.0)
    await log.close()
    lines += [end] if end else []
    for start in (0, 1, 513, 6_999, 20_000, 29_999, 40_000):
        found = await blocks(store, where, start)
        assert b"".join(block.text for block in found).splitlines() == lines[start:]
        numbers = [block.line for block in found] + [len(lines)]
        assert numbers[0] == min(start, len(lines))
        assert [block.line + block.lines for block in found] == numbers[1:]
        assert all(len(block.text) <= 256 * 1024 for block in found)


async def test_blocks_end_where_the_settled_lines_do(store: Store) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    await log.append(b"one\ntwo\nthree\nunfin", Settled(b"one\ntwo\n", True), 1, 1.0)
    assert await blocks(store, where, 0) == [LogText(0, 2, b"one\ntwo\n")]
    assert await blocks(store, where, 2) == []
    await log.close()


async def test_a_block_has_a_very_long_line_cut(store: Store) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    await log.append(b"a\n" + b"x" * 3_000_000 + b"\nb\n" + b"y" * 300_000, None, 1, 1.0)
    await log.close()
    found = await blocks(store, where, 0)
    shown = b"".join(block.text for block in found).split(b"\n")
    assert shown == [*await store.logs.lines(*where, 0, 9), b""]


async def test_the_size_of_a_response_is_bounded(store: Store) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    for _ in range(10):
        await log.append((b"x" * 99_999 + b"\n") * 10, None, 1, 1.0)
    await log.close()
    found = await store.logs.lines(*where, 0, 100)
    assert 1 <= len(found) < 50
    assert await store.logs.lines(*where, -5, 1) == found[:1]


async def test_a_line_has_the_time_of_the_piece_that_completed_it(store: Store) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    await log.append(b"0\n1\n", None, 1, 10.0)
    await log.append(b"2", None, 1, 20.0)
    await log.append(b"...done\n3\n", None, 2, 30.0)
    await log.append(b"4\n", None, 2, 30.001)
    await log.append(b"5\n", None, 1, 30.002)
    await log.close()
    assert await store.logs.times(*where, 0, 100) == [
        LineTime(0, 10.0, 1),
        LineTime(2, 30.0, 2),
        LineTime(5, 30.002, 1),
    ]
    assert await store.logs.times(*where, 3, 5) == [LineTime(2, 30.0, 2)]
    assert await store.logs.times(*where, 0, 100, limit=1) == [LineTime(0, 10.0, 1)]


async def test_a_log_at_its_limit_says_so_and_the_writer_continues(
    location: Path | str, tmp_path: Path
) -> None:
    async with open_store(location, tmp_path / "blobs", log_limit=20) as store:
        where = await step(store)
        log = await store.logs.open(*where)
        await log.append(b"0123456789\n", None, 1, 1.0)
        assert (log.room, log.full) == (9, False)
        await log.append(b"abcdefghijklm\n", None, 1, 1.0)
        assert (log.room, log.full) == (0, True)
        await log.append(b"more\n", None, 1, 1.0)
        await log.close()
        lines = await store.logs.lines(*where, 0, 10)
        assert lines[:2] == [b"0123456789", b"abcdefghi"]
        assert lines[2].startswith(b"[bassloop: this log reached its limit of 20 bytes;")
        assert len(lines) == 3
        assert await raw(store, *where) == b"\n".join(lines) + b"\n"


async def test_copied_text_counts_towards_the_same_limit(
    location: Path | str, tmp_path: Path
) -> None:
    async with open_store(location, tmp_path / "blobs", log_limit=1000) as store:
        where = await step(store)
        log = await store.logs.open(*where)
        for _ in range(10):
            await log.append(b"\n", Settled(b"\x1b[31m" * 100 + b"\n", False), 1, 1.0)
        await log.close()
        lines = await store.logs.lines(*where, 0, 20)
        assert len(lines) == 4
        assert b"reached its limit" in b"".join(lines)


async def test_a_step_has_one_log(store: Store) -> None:
    where = await step(store)
    with pytest.raises(NotStored, match="has no step 99"):
        await store.logs.open(where[0], 99)
    with pytest.raises(NotStored, match="has no step 99"):
        await store.logs.lines(where[0], 99, 0, 1)
    assert await store.logs.lines(*where, 0, 1) == []
    assert await raw(store, *where) == b""
    log = await store.logs.open(*where)
    await log.close()
    await log.close()
    assert await store.logs.lines(*where, 0, 1) == []
    assert await store.logs.times(*where, 0, 1) == []
    with pytest.raises(StoreConflict, match="has a log already"):
        await store.logs.open(*where)
    with pytest.raises(StoreError, match="closed"):
        await log.append(b"late", None, 1, 1.0)


@pytest.mark.parametrize("run_id", ["../../etc", "a/b", "", "a" * 65, "a\n", "ü"])
async def test_an_invalid_run_id_is_not_used_as_a_path(store: Store, run_id: str) -> None:
    with pytest.raises(ValueError, match="not the id of a run"):
        await store.logs.open(run_id, 1)
    with pytest.raises(NotStored):
        await store.logs.lines(run_id, 1, 0, 1)


async def test_appending_waits_while_too_much_is_queued(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store._queue, "most", 10_000)
    where = await step(store)
    log = await store.logs.open(*where)
    highest = 0
    for _ in range(200):
        await log.append(b"x" * 999 + b"\n", None, 1, 1.0)
        highest = max(highest, store.statistics().log_bytes_waiting)
    assert highest < 13_000
    await log.close()
    assert store.statistics().log_bytes_waiting == 0
    assert (await store.logs.extent(*where)).lines == 200


async def test_a_cancelled_append_appends_nothing(store: Store) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    with trio.CancelScope() as scope:
        scope.cancel()
        await log.append(b"never\n", None, 1, 1.0)
    await log.append(b"this\n", None, 1, 1.0)
    with trio.CancelScope() as scope:
        scope.cancel()
        await log.close()
    assert await store.logs.lines(*where, 0, 10) == [b"this"]
    assert (await store.logs.extent(*where)).closed


async def test_a_failing_disk_is_reported_to_the_owner_and_to_readers(
    store: Store, tmp_path: Path
) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    (tmp_path / "blobs").write_bytes(b"in the way")
    await log.append(b"one\n", None, 1, 1.0)
    with pytest.raises(StoreError, match="cannot be written"):
        await log.flush()
    with pytest.raises(StoreError, match="cannot be written"):
        await log.append(b"two\n", None, 1, 1.0)
    with pytest.raises(StoreError, match="cannot be written"):
        await log.close()
    assert (await store.logs.extent(*where)).cut


async def test_many_logs_are_written_at_once(store: Store) -> None:
    places = [await step(store) for _ in range(30)]

    async def write(where: tuple[str, int]) -> None:
        log = await store.logs.open(*where)
        for number in range(50):
            await log.append(b"%d of %d\n" % (number, where[1]), None, 1, float(number))
        await log.close()

    async with trio.open_nursery() as nursery:
        for where in places:
            nursery.start_soon(write, where)
    assert store.statistics().open_logs == 0
    for where in places:
        assert (await store.logs.lines(*where, 49, 50)) == [b"49 of %d" % where[1]]


async def test_the_longest_pauses_are_known_by_the_line_that_followed(store: Store) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    for number, at in enumerate((10.0, 11.0, 30.0, 31.0, 33.0, 93.5)):
        await log.append(b"%d\n" % number, None, 1, at)
    await log.close()
    assert await store.logs.gaps(*where, 10.0) == [LineGap(2, 19.0), LineGap(5, 60.5)]
    assert await store.logs.gaps(*where, 2.0) == [
        LineGap(2, 19.0),
        LineGap(4, 2.0),
        LineGap(5, 60.5),
    ]
    assert await store.logs.gaps(*where, 2.0, limit=2) == [LineGap(2, 19.0), LineGap(5, 60.5)]
    assert await store.logs.gaps(*where, 100.0) == []
