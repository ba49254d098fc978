"""Pages with all checks of a commit or a pull request, and actions on all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from quart import Blueprint, Response, abort, jsonify, redirect, render_template

from bassloop.checks.check_output import APPROVAL
from bassloop.checks.user_actions import NotAllowed, PermissionUnknown
from bassloop.lifecycle import RunState
from bassloop.web.guard import current_visitor, may_rerun, may_write, visible_checks, visible_runs
from bassloop.web.pages.failure_card import failure_summaries
from bassloop.web.presentation import (
    PAGE_SIZE,
    RUN_LABELS,
    SHORT_SHA,
    RunAction,
    abort_not_found,
    overall_state,
    run_json,
    view_runs,
    wants_json,
    worst_first,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from werkzeug.wrappers import Response as AnyResponse

    from bassloop.store import Run
    from bassloop.web.web_context import WebContext
    from bassloop.web.web_sessions import Visitor

    Action = Callable[[str, Visitor], Awaitable[bool | None]]
    """An action on the run with an id. Returns False if there was nothing to do."""

VERIFY_LABEL = "Run on a trusted runner"
"""The label of the button that makes a trusted runner confirm ended runs."""


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("commit_page", __name__)

    @blueprint.get("/repositories/<owner>/<name>/commits/<sha>")
    async def commit(owner: str, name: str, sha: str) -> str | Response:
        """Show the newest run of each check of a commit."""
        return await overview(f"{owner}/{name}", "commit", sha[:SHORT_SHA], head_sha=sha[:64])

    @blueprint.get("/repositories/<owner>/<name>/pulls/<int:number>")
    async def pull(owner: str, name: str, number: int) -> str | Response:
        """Show the newest run of each check of a pull request's newest head."""
        full_name = f"{owner}/{name}"[:200]
        number = min(number, 2**53)
        newest = await visible_runs(context, 1, repository=full_name, pull_request=number)
        sha = newest.items[0].head_sha if newest.items else ""
        return await overview(
            full_name, "pull request", f"#{number}", head_sha=sha, pull_request=number
        )

    @blueprint.post("/repositories/<owner>/<name>/commits/<sha>/rerun")
    async def rerun(owner: str, name: str, sha: str) -> Response | AnyResponse:
        """Run again all checks of a commit that have ended."""
        return await perform(f"{owner}/{name}", sha, is_rerunnable, context.control.rerun)

    @blueprint.post("/repositories/<owner>/<name>/commits/<sha>/rerun-failed")
    async def rerun_failed(owner: str, name: str, sha: str) -> Response | AnyResponse:
        """Run again those checks of a commit that have ended without success."""
        return await perform(f"{owner}/{name}", sha, has_failed, context.control.rerun)

    @blueprint.post("/repositories/<owner>/<name>/commits/<sha>/verify")
    async def verify(owner: str, name: str, sha: str) -> Response | AnyResponse:
        """Make a trusted runner confirm those checks of a commit for which that is possible."""
        return await perform(f"{owner}/{name}", sha, is_rerunnable, context.control.verify)

    @blueprint.post("/repositories/<owner>/<name>/commits/<sha>/cancel")
    async def cancel(owner: str, name: str, sha: str) -> Response | AnyResponse:
        """Cancel all runs of a commit that haven't ended."""
        return await perform(f"{owner}/{name}", sha, is_live, context.control.cancel)

    async def perform(
        full_name: str,
        sha: str,
        applies: Callable[[Run], bool],
        action: Action,
    ) -> Response | AnyResponse:
        """Perform an action on some checks of a commit. The guard has already checked the form's CSRF token."""
        checks = await visible_checks(context, full_name[:200], head_sha=sha[:64])
        if not checks:
            abort_not_found("commit")
        done = await perform_action(context, [run for run in checks if applies(run)], action)
        if wants_json():
            return jsonify({"done": done})
        return redirect(commit_url(full_name[:200], sha[:64]), 303)

    async def overview(full_name: str, kind: str, label: str, **filters: Any) -> str | Response:
        checks = await visible_checks(context, full_name[:200], **filters)
        if not checks:
            abort_not_found(kind)
        newest = max(checks, key=lambda run: run.created_at)
        state = overall_state(checks)
        if wants_json():
            return jsonify(
                {
                    "repository": newest.repository,
                    "head_sha": newest.head_sha,
                    "head_branch": newest.head_branch,
                    "pull_request": newest.pull_request,
                    "state": state,
                    "checks": [run_json(run) for run in checks],
                }
            )
        runs = await visible_runs(context, PAGE_SIZE, repository=full_name, **filters)
        current = {run.id for run in checks}
        which = (
            ("pull", number)
            if (number := filters.get("pull_request"))
            else ("sha", newest.head_sha)
        )
        feed = urlencode([("repository", newest.repository), which])
        return await render_template(
            "commit.html",
            kind=kind,
            label=label,
            newest=view_runs([newest])[0],
            state=RUN_LABELS[state],
            checks=view_runs(worst_first(checks)),
            reasons=await failure_summaries(context, checks),
            actions=await commit_actions(context, checks),
            # A run that has begun since the checks were read isn't an earlier one.
            earlier=view_runs(
                [
                    run
                    for run in runs.items
                    if run.id not in current and run.created_at <= newest.created_at
                ]
            ),
            live=f"/runs/live?{feed}",
        )

    return blueprint


async def perform_action(context: WebContext, runs: Sequence[Run], action: Action) -> bool:
    """Perform an action on runs, one after the other, and return whether there was something to do.

    Aborts if nobody is signed in, if the visitor may not do that, or if GitHub can't tell.
    """
    visitor = await current_visitor(context)
    if visitor is None:
        abort(401, "sign in first")
    try:
        done = [await action(run.id, visitor) for run in runs]
    except NotAllowed as error:
        abort(403, str(error))
    except PermissionUnknown as error:
        abort(502, f"GitHub can't tell whether you may do that; try again in a while ({error})")
    return any(each is not False for each in done)


async def commit_actions(context: WebContext, checks: Sequence[Run]) -> list[RunAction]:
    """Return the actions on a commit's checks that the visitor may perform."""
    visitor = await current_visitor(context)
    url = commit_url(checks[0].repository, checks[0].head_sha)
    choices = (
        ("rerun", "Run again", is_rerunnable),
        ("rerun-failed", "Run failed again", has_failed),
        ("cancel", "Cancel", is_live),
    )
    actions = []
    for name, label, applies in choices:
        runs = [run for run in checks if applies(run)]
        if runs and all([await may_rerun(context, visitor, run) for run in runs]):
            actions.append(RunAction(f"{url}/{name}", label))
    ended = [run.id for run in checks if is_rerunnable(run)]
    if (
        ended
        and await may_write(context, visitor, checks[0])
        and await context.control.is_any_verifiable(*ended)
    ):
        actions.append(RunAction(f"{url}/verify", VERIFY_LABEL))
    return actions


def commit_url(repository: str, sha: str) -> str:
    """Return the address of a commit's page."""
    return f"/repositories/{quote(repository)}/commits/{quote(sha)}"


def is_rerunnable(run: Run) -> bool:
    """Return whether a run has ended, and its check can run again."""
    return run.ended and run.check_name != APPROVAL


def has_failed(run: Run) -> bool:
    """Return whether a run has ended without success, and its check can run again."""
    return is_rerunnable(run) and run.state not in (RunState.SUCCEEDED, RunState.NEUTRAL)


def is_live(run: Run) -> bool:
    """Return whether a run hasn't ended."""
    return not run.ended
