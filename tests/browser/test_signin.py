"""Signing in with GitHub in a real Chromium: private runs are visible to those who may read them, while they may."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.tools.trial import TrialOptions, open_trial

from .scene_runner import run_scene
from .signin_scenes import private

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

pytestmark = pytest.mark.browser


async def test_only_readers_who_signed_in_can_follow_a_private_run(
    make_repository: MakeRepository,
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    path = make_repository(
        f""":ticks (on src ($ sh -c "for n in 1 2 3; do echo tick $n; done
            until test -e {gate}; do sleep 0.1; done; echo tick 4"))"""
    )
    async with open_trial(TrialOptions(path, private=True)) as trial:
        trial.standin.add_user("mallory", permission="none")
        store = trial.daemon.store
        async with trial.daemon.live_runs.follow(None) as following:
            while not (runs := (await store.runs.newest(public_only=False)).items):
                await following.changed()
        assert (await store.runs.newest()).items == ()
        address = f"{trial.daemon.local_url}/runs/{runs[0].id}"
        found = await run_scene(private, address, GATE=str(gate), READER=trial.standin.login)
        await trial.daemon.inbox.finished(trial.guid)
        assert found["stranger"].startswith("Not found 404")
        assert found["back"] == address
        assert found["seen"] == [f"tick {number}" for number in range(1, 5)]
        assert found["offered"] == [["Cancel"], ["Run again"]]
        assert trial.standin.login in found["menu"]
        assert found["signed_out"] == found["stranger"]
        assert found["mallory"].startswith("Not found 404")
        assert "tick" not in found["mallory"]
        assert trial.standin.sign_ins.tokens == {}
