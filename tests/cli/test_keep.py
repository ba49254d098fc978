"""The commands that keep the loop's data: what they say, and when they refuse."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import trio
from click.testing import CliRunner, Result

from bassloop.cli import cli
from bassloop.store import find_database, open_store
from bassloop.store.engines.postgresql import PostgreSQLDatabase

from ..store.test_retention import logged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bassloop.store.database import Connection
    from bassloop.store.engines.postgresql import PostgreSQLRow
    from tests.databases import PostgreSQLServer

DAY = 86400.0


class Data:
    """A data directory with an old run and a new one."""

    def __init__(self, folder: Path, location: Path | str) -> None:
        self.folder, self.location = folder, location

    async def make(self) -> list[str]:
        async with open_store(self.location, self.folder / "blobs") as store:
            old = await logged(store, delivery="old", ended_at=time.time() - 40 * DAY)
            new = await logged(store, delivery="new", ended_at=time.time() - DAY)
        return [old, new]

    async def runs(self) -> list[str]:
        async with open_store(self.location, self.folder / "blobs") as store:
            return [run.id for run in (await store.runs.newest()).items]

    def command(self, *words: str) -> Result:
        return CliRunner().invoke(cli, [*words, "--data-dir", str(self.folder)])


@pytest.fixture
def data(location: Path | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    monkeypatch.setenv("BASSLOOP_SETTINGS", str(tmp_path / "none.env"))
    if isinstance(location, str):
        monkeypatch.setenv("DATABASE_URL", location)
    else:
        location = tmp_path / "data" / "loop.db"
    return Data(tmp_path / "data", location)


def test_prune_removes_old_runs(data: Data) -> None:
    _, new = trio.run(data.make)
    said = data.command("prune", "--older-than", "30d", "--dry-run")
    assert said.output.startswith("would remove 1 run, ")
    said = data.command("prune", "--older-than", "30d")
    assert (said.exit_code, said.output.split(",")[0]) == (0, "removed 1 run")
    assert trio.run(data.runs) == [new]


def test_prune_follows_the_settings(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    _, new = trio.run(data.make)
    monkeypatch.setenv("KEEP_REPOSITORIES", '{"ada/engine": {"seconds": 864000}}')
    assert data.command("prune").output.startswith("removed 1 run,")
    assert trio.run(data.runs) == [new]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "which runs should be removed?"),
        (("--repository", "ada/engine"), "--repository needs --older-than or --keep-bytes"),
        (("--older-than", "soon"), "'soon' is not a duration, such as 30s, 10m"),
        (("--keep-bytes", "10 apples"), "'10 apples' is not a size, such as 500MB, 2GiB"),
    ],
)
def test_prune_reports_missing_or_wrong_options(
    data: Data, words: tuple[str, ...], message: str
) -> None:
    said = data.command("prune", *words)
    assert said.exit_code == 2
    assert message in said.output


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_without_data_the_commands_report_where_they_looked(data: Data) -> None:
    for words in (("prune", "--older-than", "1d"), ("backup", str(data.folder / "to")), ("check",)):
        said = data.command(*words)
        assert said.exit_code == 1
        assert f"there is no database {data.folder / 'loop.db'}" in said.output
    assert not (data.folder / "to").exists()


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_backup_is_made_and_restored(data: Data, tmp_path: Path) -> None:
    made = trio.run(data.make)
    said = data.command("backup", str(tmp_path / "to"))
    assert said.output.startswith("backed up 2 runs, ")
    said = data.command("restore", str(tmp_path / "to"))
    assert said.exit_code == 1
    assert "use --overwrite to move it aside" in said.output
    said = data.command("restore", str(tmp_path / "to"), "--overwrite")
    assert said.output.count("moved aside: ") == 2
    assert f"restored to {data.folder / 'loop.db'}" in said.output
    assert sorted(trio.run(data.runs)) == sorted(made)


def test_a_backup_is_restored_to_an_empty_database_on_a_server(
    data: Data, postgresql: PostgreSQLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trio.run(data.make)
    assert data.command("backup", str(tmp_path / "to")).output.startswith("backed up 2 runs, ")
    data.location = postgresql.create(empty=True)
    monkeypatch.setenv("DATABASE_URL", data.location)
    said = data.command("check")
    assert f"there is no database {find_database(data.location)}, so no loop" in said.output
    said = data.command("restore", str(tmp_path / "to"), "--overwrite")
    assert said.output.startswith(f"moved aside: {data.folder / 'blobs'}.before-")
    assert f"restored to {find_database(data.location)}" in said.output
    assert sorted(trio.run(data.runs)) == sorted(made)
    said = data.command("restore", str(tmp_path / "to"), "--overwrite")
    assert "isn't empty, and is left as it is" in said.output
    postgresql.drop(data.location)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_migrate_moves_all_rows_to_an_empty_database(
    data: Data, postgresql: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trio.run(data.make)
    old, new = data.location, postgresql.create(empty=True)
    said = data.command("migrate", new)
    assert said.exit_code == 0, said.output
    assert "           2  runs\n" in said.output
    assert f"copied to {find_database(new)}, read back, and compared" in said.output
    said = data.command("migrate", new)
    assert said.exit_code == 1
    assert "isn't empty, and is left as it is" in said.output
    assert "isn't an address such as" in data.command("migrate", "loop.db").output
    for location in (old, new):
        data.location = location
        assert trio.run(data.runs) == list(reversed(made))
    monkeypatch.setenv("DATABASE_URL", new)
    assert data.command("check").output == "all is well\n"
    postgresql.drop(new)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_migrate_leaves_the_new_database_empty_if_what_it_reads_back_differs(
    data: Data, postgresql: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trio.run(data.make)
    new = postgresql.create(empty=True)
    scan = PostgreSQLDatabase.scan

    def skip_one(
        self: PostgreSQLDatabase, connection: Connection, sql: str
    ) -> Iterator[PostgreSQLRow]:
        rows = scan(self, connection, sql)
        if "FROM runs" in sql:
            next(rows)
        yield from rows

    monkeypatch.setattr(PostgreSQLDatabase, "scan", skip_one)
    said = data.command("migrate", new)
    assert said.exit_code == 1
    assert "runs: 2 rows were copied, and 1 read back" in said.output
    monkeypatch.undo()
    data.location = new
    assert trio.run(data.runs) == []
    postgresql.drop(new)


def test_check_finds_and_repairs(data: Data) -> None:
    trio.run(data.make)
    assert data.command("check").output == "all is well\n"
    stray = data.folder / "blobs" / "logs" / "nobody"
    stray.mkdir()
    said = data.command("check")
    assert said.exit_code == 1
    assert "a folder of logs, 0 bytes, belongs to no run: nobody" in said.output
    assert "wrong: 1 (bassloop check --repair repairs what can be repaired)" in said.output
    said = data.command("check", "--repair")
    assert said.output.endswith("belongs to no run: nobody: removed\nrepaired 1; all is well now\n")
    assert data.command("check").output == "all is well\n"
