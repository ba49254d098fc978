"""The changes since the last green run of the same check, and the outcomes of the same thunk."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import trio
from quart import Blueprint, Response, jsonify, render_template

from bassloop.checks.comparison import (
    MAX_LINES,
    Difference,
    SlowerStep,
    added_lines,
    same_step,
    slower_steps,
    thunk_differences,
)
from bassloop.checks.run_failure import failing_step, read_log_end
from bassloop.lifecycle import RunState
from bassloop.terminal import plain, strip
from bassloop.units import format_duration
from bassloop.web.guard import thunk_of, visible_run, visible_runs
from bassloop.web.presentation import abort_not_found, run_json, view_runs, wants_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Run, Step
    from bassloop.web.web_context import WebContext

MAX_RUNS = 50
"""The maximum number of runs that are considered."""


@dataclass(frozen=True, slots=True)
class AddedLine:
    """A line of the log that isn't in the green run's log. `number` counts from 1."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Changes:
    """The differences between a run and the last green one.

    Args:
        compare_url: GitHub's comparison of the two commits; None if they are the same, or without links to GitHub.
        step: the step whose log is compared.
    """

    green: Run
    compare_url: str | None
    inputs: Sequence[Difference]
    slower: Sequence[SlowerStep]
    step: Step | None
    added: Sequence[AddedLine]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The numbers of outcomes of the very same thunk."""

    succeeded: int = 0
    failed: int = 0

    @property
    def flaky(self) -> bool:
        """True if the thunk has both failed and succeeded."""
        return bool(self.succeeded and self.failed)


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("changes_page", __name__)

    @blueprint.get("/runs/<run_id>/changes")
    async def changes(run_id: str) -> str | Response:
        """Show what changed since the last green run of the same check."""
        run = await visible_run(context, run_id)
        if run is None:
            abort_not_found("run")
        green = await last_green(context, run)
        found = await find_changes(context, run, green) if green is not None else None
        if wants_json():
            return jsonify(_json(found))
        return await render_template(
            "changes.html",
            view=view_runs([run])[0],
            changes=found,
            green=view_runs([green])[0] if green is not None else None,
            format_duration=format_duration,
            plain=plain,
        )

    return blueprint


async def last_green(context: WebContext, run: Run) -> Run | None:
    """Return the last successful run of the same check before this one, on its branch or else of any push; or None."""
    filters: dict[str, Any] = {
        "repository": run.repository,
        "check_name": run.check_name,
        "state": RunState.SUCCEEDED,
    }
    if run.head_branch is not None:
        found = await visible_runs(context, 1, run.id, head_branch=run.head_branch, **filters)
        if found.items:
            return found.items[0]
    found = await visible_runs(context, 1, run.id, pushed=True, **filters)
    return found.items[0] if found.items else None


async def failed_since(context: WebContext, run: Run, green: Run) -> Sequence[Run]:
    """Return the runs of the same check and branch that have ended without success since a green run.

    Returns this one and at most MAX_RUNS before it, newest first.
    """
    filters: dict[str, Any] = {"repository": run.repository, "check_name": run.check_name}
    if run.head_branch is not None:
        filters["head_branch"] = run.head_branch
    else:
        filters["pull_request"] = run.pull_request
    earlier = await visible_runs(context, MAX_RUNS, run.id, **filters)
    between = takewhile(lambda each: each.id != green.id, earlier.items)
    return [run, *(each for each in between if each.ended and each.state != RunState.SUCCEEDED)]


async def outcomes_of_thunk(context: WebContext, run: Run) -> Outcomes:
    """Return how often the run's thunk has succeeded and failed."""
    if not run.thunk_digest:
        return Outcomes()
    runs = await visible_runs(context, MAX_RUNS, thunk_digest=run.thunk_digest)
    states = [each.state for each in runs.items if each.repository_id == run.repository_id]
    return Outcomes(states.count(RunState.SUCCEEDED), states.count(RunState.FAILED))


async def find_changes(context: WebContext, run: Run, green: Run) -> Changes:
    """Compare a run with one that succeeded."""
    store = context.store
    steps, before = await store.steps.of_run(run.id), await store.steps.of_run(green.id)
    thunks = [await thunk_of(context, each) for each in (green, run)]
    inputs: Sequence[Difference] = ()
    if thunks[0] is not None and thunks[1] is not None:
        commits = {green.head_sha: "<commit>", run.head_sha: "<commit>"}
        inputs = await trio.to_thread.run_sync(
            thunk_differences, thunks[0].json, thunks[1].json, commits
        )
    culprit = failing_step(steps)
    twin = same_step(culprit, before) if culprit is not None else None
    added: list[AddedLine] = []
    if culprit is not None and twin is not None:
        _, old = await read_log_end(store, green.id, twin, MAX_LINES)
        start, new = await read_log_end(store, run.id, culprit, MAX_LINES)
        one, other = [strip(line) for line in old], [strip(line) for line in new]
        positions = await trio.to_thread.run_sync(added_lines, one, other)
        added = [AddedLine(start + each + 1, other[each]) for each in positions]
    compare = None
    if context.source_links is not None and run.head_sha != green.head_sha:
        compare = context.source_links.compare_url(run.repository, green.head_sha, run.head_sha)
    return Changes(green, compare, inputs, slower_steps(before, steps), culprit, added)


def _json(changes: Changes | None) -> dict[str, Any]:
    if changes is None:
        return {"green": None}
    return {
        "green": run_json(changes.green),
        "compare": changes.compare_url,
        "inputs": [
            {"where": each.where, "before": each.before, "after": each.after}
            for each in changes.inputs
        ],
        "slower": [
            {"vertex": each.step.row, "before": each.before, "after": each.after}
            for each in changes.slower
        ],
        "vertex": changes.step.row if changes.step is not None else None,
        "added": [{"line": each.number - 1, "text": each.text} for each in changes.added],
    }
