"""A repository's pages: its checks as they stand, and all checks of a commit or a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from quart import Blueprint, Response, abort, jsonify, render_template, request

from bassloop.web import presentation
from bassloop.web.feeds.badge import overall
from bassloop.web.guard import visible_checks, visible_runs
from bassloop.web.pages.runs_page import PAGE_SIZE, viewed
from bassloop.web.responses import wants_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Run
    from bassloop.web.context import WebContext


def routes(context: WebContext) -> Blueprint:
    """The repositories' routes."""
    blueprint = Blueprint("repositories", __name__)

    @blueprint.get("/repositories/<owner>/<name>")
    async def repository(owner: str, name: str) -> str | Response:
        """Its checks, each by its newest run of a push (by branch, if one is asked for), and its
        runs, newest first."""
        full = f"{owner}/{name}"[:200]
        branch = request.args.get("branch", "")[:200] or None
        page = await visible_runs(
            context, PAGE_SIZE, request.args.get("before"), repository=full, head_branch=branch
        )
        checks = await visible_checks(context, full, pushed=True, head_branch=branch)
        if not page.items and not checks:
            abort(404, "there is no such repository, or it is not for everyone to see")
        written = (checks or page.items)[0].repository
        if wants_json():
            return jsonify(
                {
                    "repository": written,
                    "branch": branch,
                    "state": overall(checks),
                    "checks": [presentation.run_json(run) for run in checks],
                    "runs": [presentation.run_json(run) for run in page.items],
                    "next": page.next,
                }
            )
        asked = {"branch": branch} if branch else {}
        older = urlencode({**asked, "before": page.next}) if page.next else None
        return await render_template(
            "repository.html",
            repository=written,
            branch=branch,
            branches=_branches([*checks, *page.items]),
            checks=viewed(checks),
            runs=viewed(page.items),
            older=older,
            asked=urlencode(asked),
        )

    @blueprint.get("/repositories/<owner>/<name>/commits/<sha>")
    async def commit(owner: str, name: str, sha: str) -> str | Response:
        """All checks of a head, each by its newest run."""
        return await _overview(f"{owner}/{name}", "commit", sha[:7], head_sha=sha[:64])

    @blueprint.get("/repositories/<owner>/<name>/pulls/<int:number>")
    async def pull(owner: str, name: str, number: int) -> str | Response:
        """All checks of a pull request's newest head, each by its newest run."""
        full = f"{owner}/{name}"[:200]
        number = min(number, 2**53)
        newest = await visible_runs(context, 1, repository=full, pull_request=number)
        sha = newest.items[0].head_sha if newest.items else ""
        return await _overview(
            full, "pull request", f"#{number}", head_sha=sha, pull_request=number
        )

    async def _overview(full: str, what: str, label: str, **narrowed: Any) -> str | Response:
        checks = await visible_checks(context, full[:200], **narrowed)
        if not checks:
            abort(404, f"there is no such {what} here, or it is not for everyone to see")
        newest = max(checks, key=lambda run: run.created_at)
        if wants_json():
            return jsonify(
                {
                    "repository": newest.repository,
                    "head_sha": newest.head_sha,
                    "head_branch": newest.head_branch,
                    "pull_request": newest.pull_request,
                    "state": overall(checks),
                    "checks": [presentation.run_json(run) for run in checks],
                }
            )
        earlier = await visible_runs(context, PAGE_SIZE, repository=full, **narrowed)
        known = {run.id for run in checks}
        return await render_template(
            "overview.html",
            what=what,
            label=label,
            newest=viewed([newest])[0],
            state=presentation.STATES.get(overall(checks), presentation.STATES["queued"]),
            checks=viewed(checks),
            earlier=viewed([run for run in earlier.items if run.id not in known]),
        )

    return blueprint


def _branches(runs: Sequence[Run]) -> list[str]:
    """The branches that were pushed to, latest first."""
    newest = sorted(runs, key=lambda run: -run.created_at)
    names = [run.head_branch for run in newest if run.head_branch and run.pull_request is None]
    return list(dict.fromkeys(names))[:20]
