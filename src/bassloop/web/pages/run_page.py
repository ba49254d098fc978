"""A run's page, its steps' pages, and the buttons on them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import trio
from quart import Blueprint, Response, jsonify, redirect, render_template, request

from bassloop.checks.check_output import APPROVAL, is_verification
from bassloop.checks.run_comparison import is_slower, took, usual_durations
from bassloop.checks.run_failure import failure_json
from bassloop.lifecycle import RunState
from bassloop.units import format_duration
from bassloop.web import presentation
from bassloop.web.guard import current_visitor, may_rerun, may_write, run_or_404, visible_checks
from bassloop.web.pages.charts import lay_out_timeline
from bassloop.web.pages.commit_page import (
    VERIFY_LABEL,
    commit_url,
    has_failed,
    perform_action,
)
from bassloop.web.pages.downloads import artifact_json, run_with_outputs
from bassloop.web.pages.failure_card import FailureCard, LogExcerpt, failure_card
from bassloop.web.pages.statement_page import signature_view
from bassloop.web.presentation import STEP_PAGE_LINES, RunAction, abort_not_found, wants_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from werkzeug.wrappers import Response as AnyResponse

    from bassloop.store import Run, Step
    from bassloop.web.pages.commit_page import Action
    from bassloop.web.web_context import WebContext

T = TypeVar("T")

EXCERPT_LINES = 200
"""How many lines of an open log a run's page contains: the last ones, or those around the failing line."""

LINES_BEFORE = 60
"""How many lines of an excerpt precede the failing line."""

EXCERPT_SIZE = 400_000
"""The maximum size of an excerpt in characters of HTML, unless a single line is longer."""

NEW_RUN_SECONDS = 5.0
"""How long a request to run a check again waits for the new run to appear."""

RECORDER_LOST = "bassloop.recorder_lost"
"""The key in a request's scope for the name of the node that records the run, if that node can't be reached."""

MAX_EXCERPTS = 5
"""The maximum number of excerpts on a page."""

STEPS_AT_ONCE = 100
"""How many steps are rendered before other tasks get a turn."""


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("run_page", __name__)
    store = context.store

    @blueprint.get("/runs/<run_id>")
    async def run(run_id: str) -> str | Response:
        """Show a run and its steps."""
        found = await run_or_404(context, run_id)
        steps = await store.steps.of_run(run_id)
        if wants_json():
            listed = [presentation.step_json(step) async for step in _with_pauses(steps)]
            signature = await signature_view(context, found)
            kept = await store.artifacts.of_run(run_id)
            more = {
                "signature": signature.json() if signature is not None else None,
                "artifacts": [artifact_json(each) for each in kept],
                "vertexes": listed,
            }
            return jsonify({**presentation.run_json(found), **more})
        return await _render_run(context, found, steps)

    @blueprint.get("/runs/<run_id>/failure")
    async def failure(run_id: str) -> str | Response:
        """Return why a run did not succeed, as JSON or as the failure card for its page."""
        run = await run_or_404(context, run_id)
        card = await failure_card(context, run, await store.steps.of_run(run_id), time.time())
        if wants_json():
            found = None
            if card is not None:
                found = await failure_json(store, run_id, card.found, card.links)
            return jsonify({"failure": found})
        return await render_template("failure_card.html", run=run, card=card)

    @blueprint.get("/runs/<run_id>/actions")
    async def actions(run_id: str) -> str | Response:
        """Return the actions that the visitor may perform on a run now, as JSON or as buttons for its page."""
        run = await run_or_404(context, run_id)
        offered = await run_actions(context, run, await newer_run(context, run))
        if wants_json():
            listed = [{"label": action.label, "url": action.url} for action in offered]
            return jsonify({"actions": listed})
        view = presentation.view_run(run, time.time())
        return await render_template("run_actions.html", actions=offered, view=view)

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>")
    async def step(run_id: str, row: int) -> str | Response:
        """Show a step, and 1,000 lines of its log, from line `start` on or the last ones."""
        run = await run_or_404(context, run_id, "step")
        found = await store.steps.get(run_id, min(row, 2**62))
        if found is None:
            abort_not_found("step")
        if wants_json():
            return jsonify({"run": run_id, **presentation.step_json(found)})
        return await _render_step(context, run, found)

    @blueprint.post("/runs/<run_id>/cancel")
    async def cancel(run_id: str) -> Response | AnyResponse:
        """Cancel a run."""
        return await _perform(context, run_id, context.control.cancel)

    @blueprint.post("/runs/<run_id>/rerun")
    async def rerun(run_id: str) -> Response | AnyResponse:
        """Run a run's check again, and show the new run."""
        return await _perform(context, run_id, context.control.rerun, _new_run_url)

    @blueprint.post("/runs/<run_id>/verify")
    async def verify(run_id: str) -> Response | AnyResponse:
        """Make a trusted runner confirm a run, and show the new run."""
        return await _perform(context, run_id, context.control.verify, _new_run_url)

    @blueprint.post("/runs/<run_id>/approve")
    async def approve(run_id: str) -> Response | AnyResponse:
        """Approve a run's head commit."""
        return await _perform(context, run_id, context.control.approve)

    return blueprint


async def run_actions(context: WebContext, run: Run, newer: Run | None = None) -> list[RunAction]:
    """Return the actions that the visitor may perform on a visible run.

    Args:
        newer: a newer run of the same check and head.
    """
    visitor, actions = await current_visitor(context), []
    may = await may_rerun(context, visitor, run)
    if may and newer is None and run.check_name != APPROVAL:
        actions.append(RunAction(f"/runs/{run.id}/rerun", "Run again", when="ended"))
    if may and await _failed_checks(context, run) > 1:
        url = commit_url(run.repository, run.head_sha)
        actions.append(RunAction(f"{url}/rerun-failed", "Run failed again", when="ended"))
    # If the newer run needs action, it is a confirmation for which there was no trusted runner.
    is_newest = newer is None or newer.state == RunState.ACTION_REQUIRED
    if (
        run.ended
        and is_newest
        and await may_write(context, visitor, run)
        and await context.control.is_any_verifiable(run.id)
    ):
        actions.append(RunAction(f"/runs/{run.id}/verify", VERIFY_LABEL))
    may_cancel = may and (
        not is_verification(run.check_name) or await may_write(context, visitor, run)
    )
    if not run.ended and may_cancel:
        actions.append(RunAction(f"/runs/{run.id}/cancel", "Cancel", when="live"))
    from_fork = run.head_branch is None
    waiting = not run.started_at and run.state in (RunState.QUEUED, RunState.ACTION_REQUIRED)
    if from_fork and waiting and await may_write(context, visitor, run):
        actions.append(RunAction(f"/runs/{run.id}/approve", "Approve", primary=True))
    return actions


async def _failed_checks(context: WebContext, run: Run) -> int:
    """Return the number of failed checks of a run's head."""
    checks = await visible_checks(context, run.repository, head_sha=run.head_sha)
    return len([each for each in checks if has_failed(each)])


async def newer_run(context: WebContext, run: Run) -> Run | None:
    """Return the newest run of the same check and head, or None if it is this one."""
    runs = await visible_checks(
        context, run.repository, head_sha=run.head_sha, check_name=run.check_name
    )
    return next((each for each in runs if each.id != run.id), None)


async def _new_run_url(context: WebContext, run: Run) -> str:
    """Return the URL of the new run of a check, or of its commit if the run doesn't appear soon."""
    with trio.move_on_after(NEW_RUN_SECONDS):
        async with context.live_runs.follow(None) as following:
            while True:
                await following.changed()
                newer = await newer_run(context, run)
                if newer is not None:
                    return f"/runs/{newer.id}"
    return commit_url(run.repository, run.head_sha)


async def _perform(
    context: WebContext,
    run_id: str,
    action: Action,
    url_after: Callable[[WebContext, Run], Awaitable[str]] | None = None,
) -> Response | AnyResponse:
    """Perform an action on a run. The guard has already checked the form's CSRF token.

    Args:
        url_after: returns the URL to redirect to, if not the run's page.
    """
    run = await run_or_404(context, run_id)
    done = await perform_action(context, [run], action)
    if wants_json():
        return jsonify({"done": done})
    after = f"/runs/{run_id}" if url_after is None else await url_after(context, run)
    return redirect(after, 303)


async def _render_run(context: WebContext, run: Run, steps: Sequence[Step]) -> str:
    now = time.time()
    views = [presentation.view_step(step, now) async for step in _with_pauses(steps)]
    card = await failure_card(context, run, steps, now)
    culprit = card.step.record if card is not None and card.step is not None else None
    excerpts: dict[int, LogExcerpt] = {}
    open_steps = [view.record for view in views if view.open and not view.hidden]
    # The failing step comes first, since the number of excerpts is limited.
    for step in sorted(open_steps, key=lambda step: step != culprit)[:MAX_EXCERPTS]:
        excerpts[step.row] = await _excerpt(context, run, step, card)
    newer = await newer_run(context, run)
    started = min((step.started_at for step in steps if step.started_at), default=run.created_at)
    timeline = lay_out_timeline(steps, started, run.ended_at or now)
    return await render_template(
        "run.html",
        actions=await run_actions(context, run, newer),
        newer=newer,
        recorder_lost=request.scope.get(RECORDER_LOST),
        artifacts=await context.store.artifacts.of_run(run.id),
        outputs=run_with_outputs(context, [run]),
        signature=await signature_view(context, run),
        view=presentation.view_run(run, now),
        steps=views,
        steps_with_pauses=_with_pauses(views),
        inputs=presentation.visible_inputs(views),
        excerpts=excerpts,
        usual=await _usual_durations(context, run, steps),
        critical={bar.row for bar in timeline.bars if bar.critical},
        timeline=timeline,
        started=started,
        now=now,
        card=card,
        verdict=presentation.verdict(run),
    )


async def _with_pauses(items: Sequence[T]) -> AsyncIterator[T]:
    """Yield the items, and let other tasks run in between: a run may have ten thousand steps."""
    for number, item in enumerate(items):
        if number % STEPS_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
        yield item


async def _usual_durations(context: WebContext, run: Run, steps: Sequence[Step]) -> dict[int, str]:
    """Return the usual durations of those steps that took clearly longer, by row."""
    earlier = await context.store.steps.earlier_durations(run.id)
    # In a thread: earlier runs of many steps take seconds.
    usual = await trio.to_thread.run_sync(
        usual_durations, steps, earlier, limiter=context.scan_limiter
    )
    found = {}
    for step in steps:
        seconds, before = took(step), usual.get(step.row)
        if seconds is not None and before is not None and is_slower(seconds, before):
            found[step.row] = format_duration(before)
    return found


async def _render_step(context: WebContext, run: Run, step: Step) -> str:
    now = time.time()
    others = [each for each in await context.store.steps.of_run(run.id) if each.row != step.row]
    last = max(0, step.lines - 1) // STEP_PAGE_LINES * STEP_PAGE_LINES
    requested = request.args.get("start", last, int)
    start = max(0, min(requested, last)) if step.lines else 0
    stop = min(start + STEP_PAGE_LINES, step.lines)
    return await render_template(
        "step.html",
        view=presentation.view_run(run, now),
        step=presentation.view_step(step, now),
        inputs=[presentation.view_step(o, now) for o in others if o.digest in step.inputs],
        users=[presentation.view_step(o, now) for o in others if step.digest in o.inputs],
        lines=await context.log_lines(run, step.row, start, stop),
        start=start,
        last=last,
        page_lines=STEP_PAGE_LINES,
    )


async def _excerpt(
    context: WebContext, run: Run, step: Step, card: FailureCard | None
) -> LogExcerpt:
    start = max(0, step.lines - EXCERPT_LINES)
    if card is not None and card.step is not None and card.step.record == step and card.first:
        start = min(start, max(0, card.first.first - LINES_BEFORE))
    stop = min(start + EXCERPT_LINES, step.lines)
    lines = await context.log_lines(run, step.row, start, stop)
    return LogExcerpt(start, _truncated(lines), step.lines)


def _truncated(lines: list[str]) -> list[str]:
    """Return as many lines as fit into an excerpt, at least one."""
    room = EXCERPT_SIZE
    for index, line in enumerate(lines):
        room -= len(line)
        if room < 0:
            return lines[: max(index, 1)]
    return lines
