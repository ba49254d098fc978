"""A database of every earlier version is brought up to date, and has what it had."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from bassloop.store import FileBlobs, find_database, open_store
from bassloop.store.engines.sqlite import SQLiteDatabase
from bassloop.store.maintenance.integrity import check_store

from . import schemas

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", schemas.names())
async def test_data_of_an_earlier_version_is_available(name: str, tmp_path: Path) -> None:
    path, blobs = tmp_path / "loop.db", tmp_path / "blobs"
    schemas.load(name, path)
    async with open_store(path, blobs) as store:
        user = await store.users.get(7)
        assert user is not None
        assert user.login == "ada"
        assert [each.guid for each in await store.deliveries.unfinished()] == ["waiting"]
        delivery = await store.deliveries.get("done-one")
        assert delivery is not None
        assert (delivery.state, delivery.attempts) == ("done", 1)
        assert await store.deliveries.body("done-one") == b"{}"
        run = await store.runs.get("the-run")
        assert run is not None
        assert (run.state, run.thunk_digest, run.head_branch) == ("succeeded", "THUNK", "main")
        check = await store.checks.by_github_id(99)
        assert check is not None
        assert (check.conclusion, check.run_id) == ("success", "the-run")
        [step] = await store.steps.of_run("the-run")
        assert step.inputs == ("w",)
        assert await store.thunks.get("THUNK") is not None
    assert list(check_store(find_database(path), FileBlobs(blobs), in_use=False)) == []


def test_all_schemas_are_migrated_to_the_newest_one(tmp_path: Path) -> None:
    def schema(path: Path) -> list[tuple[str, ...]]:
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute(
                "SELECT name, sql FROM sqlite_schema ORDER BY name"
            ).fetchall()
        return [(name, " ".join(str(sql).split()).replace("main.", "")) for name, sql in found]

    SQLiteDatabase(tmp_path / "new.db").prepare()
    for name in schemas.names():
        schemas.load(name, tmp_path / f"{name}.db")
        SQLiteDatabase(tmp_path / f"{name}.db").prepare()
        assert schema(tmp_path / f"{name}.db") == schema(tmp_path / "new.db"), name


def test_released_schemas_do_not_change() -> None:
    for name in schemas.names():
        kept = (schemas.FOLDER / f"{name}.sql").read_text()
        made = schemas.dump(name)
        tables = [line for line in kept.splitlines() if "_sqlite_migrations" not in line]
        assert tables == [line for line in made.splitlines() if "_sqlite_migrations" not in line]
