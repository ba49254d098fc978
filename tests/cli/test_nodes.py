"""Commands about daemons that share a database."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from click.testing import CliRunner, Result

from bassloop.cli import cli
from bassloop.store import new_node, open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.postgresql


@pytest.fixture(params=["postgresql"])  # a parameter, so that these tests run in its session
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def command(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    monkeypatch.setenv("BASSLOOP_SETTINGS", str(tmp_path / "none.env"))
    monkeypatch.setenv("DATABASE_URL", location)

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(cli, [*words, "--data-dir", str(tmp_path)])

    return invoke


async def test_a_node_is_listed_and_asked_to_drain(
    command: Callable[..., Result], location: str, tmp_path: Path
) -> None:
    run = partial(trio.to_thread.run_sync, command)
    node = new_node("loop-1", "http://10.0.0.1:3000", "1.0")
    async with open_store(location, tmp_path / "blobs", node=node) as store:
        said = await run("nodes")
        assert said.output == "loop-1  works  (http://10.0.0.1:3000, version 1.0)\n"
        assert json.loads((await run("nodes", "--json")).output)["alive"] is True
        said = await run("status")
        assert (
            said.output.splitlines()[0]
            == "      daemon  not answering here; there are nodes: loop-1"
        )
        assert "        node  loop-1 works" in said.output
        said = await run("drain", "loop-2")
        assert "no node loop-2 is there; bassloop nodes lists them" in said.output
        assert (await run("drain", "loop-1")).output == "loop-1 drains, and ends then\n"
        with trio.fail_after(200):
            await store.drain_requested.wait()
        assert "loop-1  drains  (" in (await run("nodes")).output
    said = await run("nodes")
    assert (said.exit_code, said.output) == (1, "bassloop: no node is there\n")


def test_a_database_in_a_file_has_no_nodes(
    command: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    (tmp_path / "loop.db").touch()
    said = command("nodes")
    assert said.exit_code == 1
    assert "the database is a file, which only one daemon uses: see bassloop status" in said.output
