"""The button "Run on a trusted runner" in a real Chromium, with two runners that sign for themselves."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncssh
import pytest
import trio

from bassloop.runner import run_runner
from bassloop.tools.trial import TrialOptions, open_trial
from tests.loop.test_whole_path import check_run, tried
from tests.runners import host_runner

from .scene_runner import run_scene
from .trusted_scenes import pressed, pressed_live

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from bassloop.tools.trial import Trial
    from tests.repositories import MakeRepository

pytestmark = pytest.mark.browser


@asynccontextmanager
async def trusted_runner(trial: Trial, folder: Path) -> AsyncGenerator[None]:
    """A runner of alice, who can write to the repository."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    trial.standin.add_user("alice", [key.export_public_key().decode().strip()], permission="write")
    ssh = trial.daemon.ssh
    (alice := folder / "alice").mkdir()
    options = host_runner("alice", key, alice, known_host=ssh.known_hosts_line, port=ssh.port)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_runner, options)
        yield
        nursery.cancel_scope.cancel()


async def press(trial: Trial, number: int, sender: str) -> str | None:
    """Press the button on GitHub; what became of the delivery."""
    payload = await trial.standin.payload(
        "check_run",
        "requested_action",
        check_run=number,
        requested_action="verify",
        sender=sender,
    )
    delivered = await trial.standin.deliver(trial.daemon.local_url, "check_run", payload)
    assert delivered.status == 202
    return (await trial.daemon.inbox.finished(delivered.guid)).error


async def test_only_people_who_can_write_can_have_a_trusted_runner_confirm_a_run(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(
        ':hello (on src ($ sh -c "echo hello"))',
        **{".bassloop.toml": '[trust]\nrunners = ["alice"]\n'},
    )
    async with tried(path) as trial, trusted_runner(trial, tmp_path):
        trial.standin.add_user("reader", permission="read")
        first = check_run(trial, "hello")
        address = f"{trial.daemon.local_url}/runs/{first['external_id']}"
        found = await run_scene(pressed, address, MAINTAINER=trial.standin.login)
        assert found["buttons"] == [0, 0, 1, 0]
        assert "reader may not have this check verified" in found["forged"]
        assert found["live"].startswith("verified by alice: same thunk, same outcome")
        assert found["live"] in found["said"]
        assert "signed by alice" in found["said"]
        assert found["links"] == [address]
        # And on GitHub, where the button is on the check run.
        newest = trial.standin.check_runs[-1]
        assert (newest["name"], newest["conclusion"]) == ("hello", "success")
        assert "reader may not" in str(await press(trial, newest["id"], "reader"))
        assert trial.standin.check_runs[-1] is newest
        assert await press(trial, newest["id"], "alice") is None
        again = trial.standin.check_runs[-1]
        assert (again["id"] != newest["id"], again["conclusion"]) == (True, "success")


async def test_a_page_that_watches_a_run_end_offers_the_button_and_so_does_the_commits(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    script = f"echo started; until test -e {gate}; do sleep 0.1; done"
    path = make_repository(
        f':waits (on src ($ sh -c "{script}"))',
        **{".bassloop.toml": '[trust]\nrunners = ["alice"]\n'},
    )
    async with open_trial(TrialOptions(path)) as trial, trusted_runner(trial, tmp_path):
        store = trial.daemon.store
        async with trial.daemon.live_runs.follow(None) as following:
            while not (runs := (await store.runs.newest()).items):
                await following.changed()
        address = f"{trial.daemon.local_url}/runs/{runs[0].id}"
        found = await run_scene(
            pressed_live, address, GATE=str(gate), MAINTAINER=trial.standin.login
        )
        assert found["before"] == ["Cancel"]
        assert found["after"] == ["Run again", "Run on a trusted runner"]
        assert (found["kept"], found["tokens"], found["commit"]) == (1, 1, True)
        assert "waits" in found["checks"]
        newest = (await store.runs.newest()).items[0]
        assert (newest.runner_login, newest.state) == ("alice", "succeeded")
