"""What a trial still does when it's cancelled while a check runs, as by Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from bassloop.runner.runner_events import ThunkStarted
from bassloop.tools.trial import TrialOptions, open_trial

if TYPE_CHECKING:
    from bassloop.runner import RunnerEvent
    from bassloop.standin import StandIn
    from tests.repositories import MakeRepository


async def test_a_cancelled_trial_reports_how_its_check_ended_before_the_stand_in_ends(
    make_repository: MakeRepository,
) -> None:
    path = make_repository(':waits (from (linux/alpine) ($ sh -c "sleep 1000"))')
    standins: list[StandIn] = []
    scope = trio.CancelScope()

    def hear(event: RunnerEvent) -> None:
        if isinstance(event, ThunkStarted) and "sleep" in event.cmdline:
            scope.cancel()

    with trio.fail_after(600), scope:
        async with open_trial(TrialOptions(path), hear) as trial:
            standins.append(trial.standin)
            await trio.sleep_forever()
    [check_run] = standins[0].check_runs
    assert (check_run["status"], check_run["conclusion"]) == ("completed", "cancelled")
