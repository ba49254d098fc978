"""A repository's page with its checks, and pages with all checks of a commit or a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from quart import Blueprint, Response, abort, jsonify, redirect, render_template, request

from bassloop.checks.actions import NotAllowed, PermissionUnknown
from bassloop.checks.check_output import APPROVAL
from bassloop.lifecycle import RunState
from bassloop.web.guard import current_visitor, may_rerun, visible_checks, visible_runs
from bassloop.web.pages.failure_card import failure_summaries
from bassloop.web.presentation import (
    PAGE_SIZE,
    RUN_LABELS,
    SHORT_SHA,
    overall_state,
    run_json,
    view_runs,
)
from bassloop.web.responses import abort_not_found, wants_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from werkzeug.wrappers import Response as AnyResponse

    from bassloop.store import Run
    from bassloop.web.web_context import WebContext

MAX_BRANCHES = 20


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("repository_page", __name__)

    @blueprint.get("/repositories/<owner>/<name>")
    async def repository(owner: str, name: str) -> str | Response:
        """Show each check by its newest run of a push, on one `branch` or any, and all runs, newest first."""
        full_name = f"{owner}/{name}"[:200]
        branch = request.args.get("branch", "")[:200] or None
        page = await visible_runs(
            context, PAGE_SIZE, request.args.get("before"), repository=full_name, head_branch=branch
        )
        checks = await visible_checks(context, full_name, pushed=True, head_branch=branch)
        if not page.items and not checks:
            abort_not_found("repository")
        spelled_name = (checks or page.items)[0].repository
        if wants_json():
            return jsonify(
                {
                    "repository": spelled_name,
                    "branch": branch,
                    "state": overall_state(checks),
                    "checks": [run_json(run) for run in checks],
                    "runs": [run_json(run) for run in page.items],
                    "next": page.next,
                }
            )
        query = {"branch": branch} if branch else {}
        return await render_template(
            "repository.html",
            repository=spelled_name,
            branch=branch,
            branches=_branches([*checks, *page.items]),
            checks=view_runs(checks),
            runs=view_runs(page.items),
            older=urlencode({**query, "before": page.next}) if page.next else None,
            badge_query=urlencode(query),
        )

    @blueprint.get("/repositories/<owner>/<name>/commits/<sha>")
    async def commit(owner: str, name: str, sha: str) -> str | Response:
        """Show all checks of a commit, each by its newest run."""
        return await overview(f"{owner}/{name}", "commit", sha[:SHORT_SHA], head_sha=sha[:64])

    @blueprint.get("/repositories/<owner>/<name>/pulls/<int:number>")
    async def pull(owner: str, name: str, number: int) -> str | Response:
        """Show all checks of a pull request's newest head, each by its newest run."""
        full_name = f"{owner}/{name}"[:200]
        number = min(number, 2**53)
        newest = await visible_runs(context, 1, repository=full_name, pull_request=number)
        sha = newest.items[0].head_sha if newest.items else ""
        return await overview(
            full_name, "pull request", f"#{number}", head_sha=sha, pull_request=number
        )

    @blueprint.post("/repositories/<owner>/<name>/commits/<sha>/rerun-failed")
    async def rerun_failed(owner: str, name: str, sha: str) -> Response | AnyResponse:
        """Run those checks of a commit again that did not succeed. The guard has checked the form."""
        visitor = await current_visitor(context)
        if visitor is None:
            abort(401, "sign in first")
        full_name = f"{owner}/{name}"[:200]
        checks = await visible_checks(context, full_name, head_sha=sha[:64])
        if not checks:
            abort_not_found("commit")
        failed = [run for run in checks if is_rerunnable(run)]
        try:
            done = [await context.control.rerun(run.id, visitor) for run in failed]
        except NotAllowed as error:
            abort(403, str(error))
        except PermissionUnknown as error:
            abort(502, f"GitHub can't tell whether you may do that; try again in a while ({error})")
        if wants_json():
            return jsonify({"done": any(done)})
        return redirect(f"/repositories/{quote(full_name)}/commits/{quote(sha[:64])}", 303)

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
        reasons = await failure_summaries(context, checks)
        visitor, failed = (
            await current_visitor(context),
            [each for each in checks if is_rerunnable(each)],
        )
        may = [await may_rerun(context, visitor, run) for run in failed]
        own = f"/repositories/{quote(newest.repository)}/commits/{quote(newest.head_sha)}"
        return await render_template(
            "overview.html",
            kind=kind,
            label=label,
            newest=view_runs([newest])[0],
            state=RUN_LABELS.get(state, RUN_LABELS[RunState.QUEUED]),
            checks=view_runs(checks),
            reasons=reasons,
            rerun_failed=f"{own}/rerun-failed" if may and all(may) else None,
            earlier=view_runs([run for run in runs.items if run.id not in current]),
        )

    return blueprint


def is_rerunnable(run: Run) -> bool:
    """Return whether a run is over without success, and its check can run again."""
    over_well = (RunState.SUCCEEDED, RunState.NEUTRAL)
    return run.ended and run.state not in over_well and run.check_name != APPROVAL


def _branches(runs: Sequence[Run]) -> list[str]:
    """Return the branches that were pushed to, the latest first."""
    newest_first = sorted(runs, key=lambda run: -run.created_at)
    names = [
        run.head_branch for run in newest_first if run.head_branch and run.pull_request is None
    ]
    return list(dict.fromkeys(names))[:MAX_BRANCHES]
