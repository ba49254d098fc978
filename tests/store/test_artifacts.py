"""Artifacts: kept until they expire, within bounds, and nothing of what wasn't finished."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from bassloop.store import Artifact, FileBlobs, NotStored, Retention, find_database, open_store
from bassloop.store.maintenance.backup import back_up
from bassloop.store.maintenance.integrity import check_store, verify_backup

from .buckets import MemoryBucket
from .made import intend, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from bassloop.store import Store

NOW = 1_700_000_000.0
DAY = 86_400.0


@asynccontextmanager
async def opened(location: Path | str, folder: Path) -> AsyncGenerator[Store]:
    async with open_store(location, folder / "blobs", synchronous="OFF") as store:
        yield store


async def keep(
    store: Store, run: str, path: str, data: bytes, expires: float = NOW + DAY, most: int = 1 << 30
) -> Artifact | int:
    writer = store.artifacts.open(run)
    await writer.write(data)
    sha256 = await writer.finish()
    assert sha256 == hashlib.sha256(data).hexdigest()
    artifact = Artifact(run, path, writer.size, sha256, NOW, expires)
    refused = await store.artifacts.put(artifact, most)
    return artifact if refused is None else refused


async def content(store: Store, artifact: Artifact) -> bytes:
    async with store.artifacts.reading(artifact) as chunks:
        return b"".join([chunk async for chunk in chunks])


def files(folder: Path) -> list[str]:
    return sorted(each.name for each in (folder / "blobs" / "artifacts").glob("*/*"))


async def test_artifacts_are_stored_until_they_expire(location: Path | str, tmp_path: Path) -> None:
    async with opened(location, tmp_path) as store:
        await intend(store, run(id="one"))
        kept = await keep(store, "one", "dist/a.whl", b"x" * 3_000_000)
        short = await keep(store, "one", "b", b"", expires=NOW + 10)
        assert isinstance(kept, Artifact)
        assert isinstance(short, Artifact)
        assert await store.artifacts.of_run("one") == [short, kept]
        assert await content(store, kept) == b"x" * 3_000_000
        assert kept.bytes == 3_000_000

        await store.prune(Retention(), now=NOW + DAY - 1, steady=False)
        assert all(each.kept for each in await store.artifacts.of_run("one"))
        await store.prune(Retention(), now=NOW + DAY - 1)
        assert [each.kept for each in await store.artifacts.of_run("one")] == [False, True]
        with pytest.raises(NotStored, match="expired"):
            await content(store, (await store.artifacts.of_run("one"))[0])
    assert (
        list(check_store(find_database(location), FileBlobs(tmp_path / "blobs"), in_use=False))
        == []
    )


async def test_files_are_removed_with_their_rows_and_no_earlier(
    location: Path | str, tmp_path: Path
) -> None:
    async with opened(location, tmp_path) as store:
        await intend(store, run(id="one"))
        await keep(store, "one", "a", b"a", expires=NOW - 1)
        discarded = store.artifacts.open("one")
        await discarded.write(b"y" * (2 << 20))
        assert len(files(tmp_path)) == 2
        await discarded.discard()
        (tmp_path / "blobs" / "artifacts" / "one" / ".part-of-a-killed-daemon").touch()
        await store.prune(Retention(), now=NOW)
        assert len(files(tmp_path)) == 2, "the row went; the file is too new to be a stray"
        await store.prune(Retention(), now=2 * NOW)
        [name] = files(tmp_path)
        assert name.startswith(".part-")
    # Where nodes share a folder it is kept for a day: another one may be writing it.
    two_days_ago = time.time() - 2 * 86_400
    os.utime(tmp_path / "blobs" / "artifacts" / "one" / name, (two_days_ago, two_days_ago))
    async with opened(location, tmp_path):
        assert files(tmp_path) == []


async def test_the_artifacts_of_a_repository_are_limited(
    location: Path | str, tmp_path: Path
) -> None:
    async with opened(location, tmp_path) as store:
        await intend(store, run(id="one"))
        await keep(store, "one", "a", b"123456", most=10)
        assert await keep(store, "one", "b", b"12345", most=10) == 6
        await store.artifacts.remove_file("one", hashlib.sha256(b"12345").hexdigest())
        await store.artifacts.remove_file("one", hashlib.sha256(b"123456").hexdigest())
        assert files(tmp_path) == [hashlib.sha256(b"123456").hexdigest()]
        with pytest.raises(NotStored):
            await keep(store, "nobody", "a", b"")


async def test_a_backup_includes_artifacts_and_a_check_reports_missing_ones(
    location: Path | str, tmp_path: Path
) -> None:
    database, blobs = location, tmp_path / "blobs"
    async with opened(location, tmp_path) as store:
        await intend(store, run(id="one"))
        await keep(store, "one", "a", b"abc")
        for _ in range(2):
            report = back_up(
                find_database(database), FileBlobs(blobs), tmp_path / "backup", now=NOW
            )
            assert report.lost == 0
            [copy] = (tmp_path / "backup" / "blobs" / "artifacts" / "one").iterdir()
            assert copy.read_bytes() == b"abc"
            copy.write_bytes(b"a")  # as a power failure during the backup may leave it
        back_up(find_database(database), FileBlobs(blobs), tmp_path / "backup", now=NOW)
    backup = tmp_path / "backup"
    assert list(verify_backup(backup / "loop.db", backup / "blobs")) == []
    [path] = (blobs / "artifacts" / "one").iterdir()
    path.write_bytes(b"ab")
    [defect] = check_store(find_database(database), FileBlobs(blobs), in_use=False)
    assert "has 2 of its 3 bytes" in defect.what


@pytest.mark.parametrize("run", ["..", "a/b", "", "x" * 65])
async def test_no_run_id_leads_out_of_the_folder(run: str, tmp_path: Path) -> None:
    async with opened(tmp_path / "loop.db", tmp_path) as store:
        with pytest.raises(ValueError, match="not the id"):
            await store.artifacts.open(run).finish()


async def test_no_empty_folder_is_left(tmp_path: Path) -> None:
    bucket = MemoryBucket(tmp_path / "blobs")
    async with open_store(tmp_path / "loop.db", bucket, synchronous="OFF") as store:
        await intend(store, run(id="one"))
        assert isinstance(await keep(store, "one", "a", b"a"), Artifact)
        discarded = store.artifacts.open("one")
        await discarded.write(b"y" * (2 << 20))
        await discarded.discard()
    assert list((tmp_path / "blobs" / "artifacts").iterdir()) == []
