"""A crash at any instruction leaves a prefix: whole deliveries, whole lines, never garbage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from bassloop.store import open_store
from bassloop.store.logs.appender import LogAppender, Piece, repair_log
from bassloop.store.logs.log_files import TEXT_HEADER, LogFiles
from bassloop.store.logs.log_reader import read_lines
from bassloop.store.logs.shipment import remove_files

from .made import step

if TYPE_CHECKING:
    from collections.abc import Sequence


def write(files: LogFiles, pieces: Sequence[Piece]) -> list[bytes]:
    """Write without closing; returns the lines that were settled whole."""
    sink = LogAppender(files)
    for piece in pieces:
        sink.write([piece])
    return b"".join(piece.text for piece in pieces).split(b"\n")[:-1]


PLAIN = [
    Piece(b"line %d\n" % n * 300, b"line %d\n" % n * 300, True, 300 * n, 1, float(n))
    for n in range(5)
]
COPIED = [
    Piece(b"raw %d\r" % n * 300, b"\x1b[1mline %d\n" % n * 300, False, 300 * n, 1, float(n))
    for n in range(5)
]


LOGS = {"plain": PLAIN, "both": PLAIN[:2] + COPIED, "copied": COPIED}


@pytest.mark.parametrize("kind", LOGS)
@given(cuts=st.tuples(*[st.none() | st.integers(0, 1 << 14)] * 4))
@settings(max_examples=60)
def test_files_cut_anywhere_are_repaired_to_complete_lines(
    kind: str, cuts: tuple[int | None, ...]
) -> None:
    pieces = LOGS[kind]
    with tempfile.TemporaryDirectory() as directory:
        files = LogFiles.of(Path(directory), "run", 1)
        lines = write(files, pieces)
        for path, cut in zip(files.all, cuts, strict=True):
            if cut is not None and path.exists():
                os.truncate(path, min(cut, path.stat().st_size))
        if files.text.exists() and files.text.stat().st_size < TEXT_HEADER.size:
            lines = files.raw.read_bytes().split(b"\n")  # its settled text is lost as a whole
        repaired = repair_log(files)
        found = read_lines(files, repaired.lines, 0, 100_000)
        assert found == [line.rstrip(b"\r") for line in lines[: repaired.lines]]
        for start in (511, 512, 513, 1200):
            assert read_lines(files, repaired.lines, start, start + 3) == found[start : start + 3]
        assert repair_log(files) == repaired


async def test_a_log_that_was_being_written_is_marked_as_cut(
    location: Path | str, tmp_path: Path
) -> None:
    places = (location, tmp_path / "blobs")
    async with open_store(*places) as store:
        where = await step(store)
        log = await store.logs.open(*where)
        await log.append(b"whole\nhal", None, 1, 1.0)
    async with open_store(*places) as store:
        extent = await store.logs.extent(*where)
        assert (extent.raw_bytes, extent.lines, extent.closed, extent.cut) == (9, 1, True, True)
        assert await store.logs.lines(*where, 0, 10) == [b"whole"]
        (found,) = await store.steps.of_run(where[0])
        assert found.log_cut
        other = await step(store)
        assert other[1] > where[1]


PROGRAM = """
import sys, trio
from bassloop.store import open_store

async def main():
    async with open_store(sys.argv[1], sys.argv[2]) as store:
        async def record(worker):
            for number in range(100000):
                guid = f"{worker}-{number}"
                await store.deliveries.record(guid, "push", None, guid.encode() * 100)
                sys.stdout.write(guid + "\\n")
                sys.stdout.flush()
        async with trio.open_nursery() as nursery:
            for worker in range(4):
                nursery.start_soon(record, worker)

trio.run(main)
"""


def promises(location: Path | str, tmp_path: Path) -> list[str]:
    """Return the records that a process reported before it was killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(location), str(tmp_path / "blobs")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        text=True,
    )
    with process:
        assert process.stdout is not None
        promised = [process.stdout.readline().strip() for _ in range(300)]
        process.send_signal(signal.SIGKILL)
        return promised + process.stdout.read().split()


async def test_a_kill_loses_no_delivery_that_was_accepted(
    location: Path | str, tmp_path: Path
) -> None:
    promised = await trio.to_thread.run_sync(promises, location, tmp_path)
    assert len(promised) >= 300
    async with open_store(location, tmp_path / "blobs") as store:
        for guid in promised:
            assert await store.deliveries.body(guid) == guid.encode() * 100


def test_a_log_begins_although_that_of_another_step_removes_the_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once that one is in the bucket."""
    first, second = LogFiles.of(tmp_path, "run", 1), LogFiles.of(tmp_path, "run", 2)
    LogAppender(first).write(PLAIN)
    mkdir, shipped = Path.mkdir, [first]

    def mkdir_in_a_race(path: Path, *args: int, **options: bool) -> None:
        mkdir(path, *args, **options)
        while shipped:
            remove_files(shipped.pop())

    monkeypatch.setattr(Path, "mkdir", mkdir_in_a_race)
    LogAppender(second).write(PLAIN)
    assert not first.raw.exists()
    assert second.raw.read_bytes() == b"".join(piece.raw for piece in PLAIN)
