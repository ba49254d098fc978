"""The pages in a real Chromium, of a real loop."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bassloop.trial import Trial, Trying, trying
from tests.loop.conftest import make_repository  # noqa: F401 - a fixture
from tests.loop.test_whole_path import check_run, tried

if TYPE_CHECKING:
    from pathlib import Path

    from tests.loop.conftest import MakeRepository

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


async def look(its: Trying, run_id: str, scene: str, **environment: str) -> dict[str, Any]:
    """What a scene finds on a run's page; the console must not have complained."""
    command = [sys.executable, "-m", "tests.browser.look"]
    address = f"{its.serving.local_url}/runs/{run_id}"
    done = await trio.run_process(
        [*command, address, scene], capture_stdout=True, env={**os.environ, **environment}
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["complaints"] == []
    return found


async def test_a_run_is_followed_live_and_read_again_without_gap_or_double(
    make_repository: MakeRepository,  # noqa: F811
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    path = make_repository(
        f""":ticks (on src ($ sh -c "for n in 1 2 3; do echo tick $n; done
            until test -e {gate}; do sleep 0.1; done
            for n in 4 5 6 7 8 9; do echo tick $n; done"))"""
    )
    ticks = [f"tick {number}" for number in range(1, 10)]
    async with trying(Trial(path)) as its:
        async with its.serving.tail.follow(None) as following:
            while not (runs := (await its.serving.store.runs()).items):
                await following.changed()
        found = await look(its, runs[0].id, "live", GATE=str(gate))
        assert found["early"] == ticks[:3]
        assert found["late"] == ticks
        assert found["afterwards"] == ticks
        assert found["word"] == "succeeded"
        await its.serving.inbox.finished(its.guid)


async def test_a_failed_run_shows_why_and_a_line_has_an_address(
    make_repository: MakeRepository,  # noqa: F811
) -> None:
    path = make_repository(
        """:broken (on src ($ sh -c "echo '<b>one</b>'; printf '\\\\033[31mtwo\\\\033[0m'; exit 4"))"""
    )
    async with tried(path) as its:
        run = check_run(its, "broken")["external_id"]
        found = await look(its, run, "ended")
        assert "exit status 4" in found["why"]
        assert found["opened"] is True
        assert found["marked"] == "two"
        assert (await look(its, run, "phone"))["width"] == 390
        assert (await look(its, run, "plain"))["lines"] == ["<b>one</b>", "two"]
