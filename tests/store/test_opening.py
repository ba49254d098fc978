"""Opening: a database is created, migrated, or refused with the reason and the fix."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from bassloop.store import StoreError, StoreFull, StoreUnusable, open_store
from bassloop.store.errors import translate_sqlite_error

if TYPE_CHECKING:
    from pathlib import Path


async def refusal(path: Path) -> str:
    with pytest.raises(StoreUnusable) as caught:
        async with open_store(path, path.parent / "blobs"):
            pass
    assert str(path) in str(caught.value)
    return str(caught.value)


async def test_a_missing_database_is_created_with_its_directories(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "loop.db"
    async with open_store(path, tmp_path / "blobs") as store:
        assert await store.deliveries.unfinished() == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    words = "users deliveries thunks runs vertexes vertex_edges runtimes services check_runs"
    assert set(words.split()) <= tables


async def test_a_database_of_the_original_program_is_refused_and_left_unchanged(
    tmp_path: Path,
) -> None:
    path = tmp_path / "loop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE schema_migrations (version uint64, dirty bool)")
        connection.execute("CREATE TABLE vertexes (run_id TEXT NOT NULL, digest TEXT NOT NULL)")
    before = path.read_bytes()
    assert "original Bass Loop (the Go program)" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE places (url TEXT)")
    assert "belongs to another program" in await refusal(path)


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop.db"
    async with open_store(path, tmp_path / "blobs"):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
            "VALUES ('bassloop', '9999_future', '')"
        )
    assert "made by a newer bassloop (it has 9999_future): upgrade" in await refusal(path)


async def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop.db"
    path.write_bytes(b"this is a text and not a database, long enough to be read as one" * 100)
    assert "is not an SQLite database: point SQLITE_PATH" in await refusal(path)
    assert "is a directory" in await refusal(tmp_path)


async def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop.db"
    async with open_store(path, tmp_path / "blobs"):
        pass
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (size - 100))
    assert "is damaged: restore a backup" in await refusal(path)


async def test_a_folder_that_can_not_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert "its directory must be writable" in await refusal(tmp_path / "file" / "loop.db")


async def test_a_second_daemon_is_refused_and_the_first_continues(tmp_path: Path) -> None:
    path = tmp_path / "loop.db"
    async with open_store(path, tmp_path / "blobs") as store:
        assert "locked: another bassloop serves it" in await refusal(path)
        assert await store.deliveries.record("g", "push", None, b"")
    async with open_store(path, tmp_path / "blobs"):
        pass


async def test_a_database_that_another_process_keeps_locked_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bassloop.store.engines.sqlite.BUSY_TIMEOUT_MS", 20)
    path = tmp_path / "loop.db"
    async with open_store(path, tmp_path / "blobs"):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "is locked by another process: end that process" in await refusal(path)


async def test_synchronous_is_only_accepted_for_sqlite(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="synchronous must be one of"):
        async with open_store(tmp_path / "loop.db", tmp_path / "blobs", synchronous="FULL; DROP"):
            pass


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("SQLITE_READONLY_DBMOVED", StoreUnusable, "read-only: make the file and its directory"),
        ("SQLITE_CANTOPEN", StoreUnusable, "cannot be opened: its directory"),
        ("SQLITE_FULL", StoreFull, "the disk is full"),
        ("SQLITE_IOERR_FSYNC", StoreUnusable, "the disk reports an error"),
        ("SQLITE_CORRUPT_INDEX", StoreUnusable, "damaged"),
        ("SQLITE_ERROR", StoreError, "database"),
    ],
)
def test_each_failure_of_sqlite_names_the_file_and_the_fix(
    tmp_path: Path, name: str, kind: type[StoreError], words: str
) -> None:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorname = name
    made = translate_sqlite_error(error, tmp_path)
    assert type(made) is kind
    assert words in str(made)
    assert os.fspath(tmp_path) in str(made)
