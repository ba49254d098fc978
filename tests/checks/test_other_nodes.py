"""Waiting for a run that another node has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from bassloop.checks.live_runs import LiveRuns
from bassloop.checks.other_nodes import OtherNodesRuns
from bassloop.lifecycle import RunState
from bassloop.store import StoreError, StoreUnreachable

if TYPE_CHECKING:
    from trio.testing import MockClock

RUNNING = SimpleNamespace(ended=False, node="other", state=RunState.RUNNING)
SUCCEEDED = SimpleNamespace(ended=True, node="other", state=RunState.SUCCEEDED)


def store_of(*answers: Any) -> Any:
    """A store of which each read of a run gives the next of these answers, or raises it."""
    waiting = list(answers)

    async def get(run_id: str) -> Any:
        answer = waiting.pop(0)
        if isinstance(answer, StoreError):
            raise answer
        return answer

    return SimpleNamespace(runs=SimpleNamespace(get=get), nodes=SimpleNamespace(own_id="own"))


async def test_a_database_that_is_out_of_reach_for_a_while_does_not_end_the_wait(
    autojump_clock: MockClock,
) -> None:
    store = store_of(RUNNING, StoreUnreachable("it doesn't answer"), SUCCEEDED)
    assert await OtherNodesRuns(store, LiveRuns()).wait_for("run") is SUCCEEDED
