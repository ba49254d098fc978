"""The history of a failing check: since when it fails, when it last succeeded, and whether it is flaky."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from bassloop.lifecycle import RunState
from bassloop.web.guard import visible_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Run
    from bassloop.web.web_context import WebContext

MAX_RUNS = 50
"""The maximum number of runs that are considered."""

FAILURES = frozenset({RunState.FAILED, RunState.TIMED_OUT})
"""The states of runs whose commands failed. A cancelled or interrupted run says nothing about them."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcomes of the very same thunk.

    Args:
        succeeded: the number of runs that succeeded, at most MAX_RUNS.
        failed: the number of runs that failed, at most MAX_RUNS.
        green: the newest run that succeeded, perhaps of another branch, or newer than the run in question.
    """

    succeeded: int = 0
    failed: int = 0
    green: Run | None = None

    @property
    def flaky(self) -> bool:
        """True if the thunk has both failed and succeeded."""
        return bool(self.succeeded and self.failed)


@dataclass(frozen=True, slots=True)
class CheckHistory:
    """The history of a check before a run that did not succeed.

    Args:
        green: the last successful run before it.
        failed: the run and its predecessors that failed since, newest first; empty if it was stopped.
        older: True if runs older than those were not considered.
    """

    green: Run | None = None
    failed: Sequence[Run] = ()
    older: bool = False
    outcomes: Outcomes = field(default_factory=Outcomes)

    @property
    def since(self) -> Run | None:
        """The run with which the check began to fail, if that was an earlier one."""
        return self.failed[-1] if len(self.failed) > 1 else None


async def check_history(context: WebContext, run: Run) -> CheckHistory:
    """Return the history of a run's check, as far as the visitor may see it."""
    green = await last_green(context, run)
    outcomes = await outcomes_of_thunk(context, run)
    if run.ended and run.state not in FAILURES:
        return CheckHistory(green, outcomes=outcomes)
    since_green = await _runs_since(context, run, green)
    failed = [run, *(each for each in since_green if each.state in FAILURES)]
    return CheckHistory(green, failed, len(since_green) == MAX_RUNS, outcomes)


async def last_green(context: WebContext, run: Run) -> Run | None:
    """Return the last successful run of the same check before this one, or None.

    A run of the same branch comes first, then one of any push, and then one of the very same thunk.
    """
    succeeded = {"repository": run.repository, "state": RunState.SUCCEEDED}
    same_check = {**succeeded, "check_name": run.check_name}
    searches: list[dict[str, Any]] = [{**same_check, "pushed": True}]
    if run.head_branch is not None:
        searches.insert(0, {**same_check, "head_branch": run.head_branch})
    if run.thunk_digest:
        searches.append({**succeeded, "thunk_digest": run.thunk_digest})
    for filters in searches:
        found = await visible_runs(context, 1, run.id, **filters)
        if found.items:
            return found.items[0]
    return None


async def outcomes_of_thunk(context: WebContext, run: Run) -> Outcomes:
    """Return how often the run's thunk has succeeded and failed."""
    if not run.thunk_digest:
        return Outcomes()
    found = await visible_runs(context, MAX_RUNS, thunk_digest=run.thunk_digest)
    runs = [each for each in found.items if each.repository_id == run.repository_id]
    green = [each for each in runs if each.state == RunState.SUCCEEDED]
    failed = [each for each in runs if each.state == RunState.FAILED]
    return Outcomes(len(green), len(failed), green[0] if green else None)


async def _runs_since(context: WebContext, run: Run, green: Run | None) -> Sequence[Run]:
    """Return the runs of the same check and branch between a green run, if any, and this one, newest first."""
    filters: dict[str, Any] = {"repository": run.repository, "check_name": run.check_name}
    if run.head_branch is not None:
        filters["head_branch"] = run.head_branch
    else:
        filters["pull_request"] = run.pull_request
    earlier = await visible_runs(context, MAX_RUNS, run.id, **filters)
    return [*takewhile(lambda each: green is None or each.id != green.id, earlier.items)]
