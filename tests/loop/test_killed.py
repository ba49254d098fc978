"""kill -9 at every point of a delivery's life: nothing is lost, and nothing is seen twice."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.standin import StandInError
from bassloop.store import open_store

from .world import open_world

if TYPE_CHECKING:
    from tests.repositories import MakeRepository

CRASHING = Path(__file__).with_name("crashing_daemon.py")

HOOK = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "COMMAND") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha))
"""

STORED = (
    "Deliveries.record 1",
    "Deliveries.set_state 1",
    "Users.put 1",
    "Checks.get_or_create 1",
    "Checks.bind 1",
    "Runs.start 1",
    "Steps._merge 1",
    "open_log 1",
    "Steps._merge 2",
    "close_log 1",
    "Runs.end 1",
    "Checks.conclude 1",
    "Deliveries.set_state 2",
)
ASKED = (
    "GET:/contents/project.bass$ 1",
    "POST:/check-runs$ 1",
    "PATCH:/check-runs/\\d+$ 1",
)
POINTS = [
    *(f"{when} store {what}" for what in STORED for when in ("before", "after")),
    *(f"{when} github {what}" for what in ASKED for when in ("before", "after")),
]


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
async def test_a_daemon_killed_at_any_point_loses_nothing_and_does_nothing_twice(
    make_repository: MakeRepository, location: Path | str, tmp_path: Path, point: str
) -> None:
    settings = {"DATABASE_URL": location} if isinstance(location, str) else {}
    ran = tmp_path / "ran"
    hook = HOOK.replace("COMMAND", f"echo ran >> {ran}; echo a line; sleep 0.1; echo another")
    repository = make_repository(**{"project.bass": hook})
    with trio.fail_after(600):
        async with open_world(repository, tmp_path / "world", DIE_AT=point, **settings) as world:
            async with world.daemon(main=CRASHING) as daemon, world.runner(daemon):
                payload = await world.standin.payload("check_suite")
                with suppress(StandInError):  # killed before it could answer
                    assert (
                        await world.standin.deliver(daemon.url, "check_suite", payload)
                    ).status == 202
                assert await daemon.process.wait() == -9, "the point was never reached"
            [attempt] = world.standin.attempts
            async with world.daemon() as daemon, world.runner(daemon):
                await world.concluded()
                await world.handled(attempt.guid)
        [shown] = world.standin.check_runs
        assert (shown["name"], shown["status"]) == ("it", "completed")
        async with open_store(world.database, tmp_path / "blobs", owner=False) as store:
            [run] = (await store.runs.newest(public_only=False)).items
            assert await store.checks.unfinished() == []
            assert await store.deliveries.unfinished() == []
        times = len(ran.read_text().splitlines()) if ran.exists() else 0
        assert (shown["conclusion"], run.state, times) in (
            ("success", "succeeded", 1),
            # It had started, or was about to: it is not started anew in silence.
            ("cancelled", "interrupted", 1),
            ("cancelled", "interrupted", 0),
        )
