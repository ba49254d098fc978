"""The changes since the last green run of the same check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio
from quart import Blueprint, Response, jsonify, render_template

from bassloop.checks.run_comparison import (
    MAX_LINES,
    Difference,
    SlowerStep,
    added_lines,
    same_step,
    slower_steps,
    thunk_differences,
)
from bassloop.checks.run_failure import failing_step, read_log_end
from bassloop.terminal import plain, strip
from bassloop.units import format_duration
from bassloop.web.guard import run_or_404, thunk_of
from bassloop.web.pages.failure_card import last_green
from bassloop.web.presentation import run_json, view_runs, wants_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Run, Step
    from bassloop.web.web_context import WebContext


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


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("changes_page", __name__)

    @blueprint.get("/runs/<run_id>/changes")
    async def changes(run_id: str) -> str | Response:
        """Show what changed since the last green run of the same check."""
        run = await run_or_404(context, run_id)
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
    # In threads: comparing thousands of names takes a second.
    twin = culprit and await trio.to_thread.run_sync(same_step, culprit, before)
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
    slower = await trio.to_thread.run_sync(slower_steps, before, steps)
    return Changes(green, compare, inputs, slower, culprit, added)


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
