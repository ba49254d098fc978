"""A repository's page: its checks as the latest pushes left them, and its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from quart import Blueprint, Response, jsonify, render_template, request

from bassloop.checks.check_output import VERIFICATION
from bassloop.lifecycle import RunState
from bassloop.web.guard import visible_checks, visible_run, visible_runs
from bassloop.web.pages.failure_card import failure_summaries
from bassloop.web.presentation import PAGE_SIZE, overall_state, run_json, view_runs
from bassloop.web.responses import abort_not_found, wants_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Run, SpotCheckRecord
    from bassloop.web.web_context import WebContext

MAX_BRANCHES = 20
SPOT_CHECKS = 5
"""Spot checks that a repository's page lists."""


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
        spots = await context.store.heads.spot_checks(
            (checks or page.items)[0].repository_id, VERIFICATION, SPOT_CHECKS
        )
        if wants_json():
            return jsonify(
                {
                    "repository": spelled_name,
                    "spot_checks": _spot_checks_json(spots),
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
            reasons=await failure_summaries(context, checks),
            older=urlencode({**query, "before": page.next}) if page.next else None,
            badge_query=urlencode(query),
            spots=_spot_checks_json(spots),
            spot_runs=view_runs(await _runs(context, spots.newest)),
        )

    return blueprint


def _spot_checks_json(record: SpotCheckRecord) -> dict[str, int]:
    """Return the record of spot checks: how many were drawn of how many, and how they ended."""
    verified = record.states.get(RunState.SUCCEEDED, 0)
    differs = record.states.get(RunState.FAILED, 0)
    return {
        "passed": record.passed,
        "drawn": record.drawn,
        "verified": verified,
        "differs": differs,
        "not_verified": sum(record.states.values()) - verified - differs,
    }


async def _runs(context: WebContext, ids: Sequence[str]) -> list[Run]:
    """Return those of the runs that the visitor may see."""
    found = [await visible_run(context, run_id) for run_id in ids]
    return [run for run in found if run is not None]


def _branches(runs: Sequence[Run]) -> list[str]:
    """Return the branches that were pushed to, the latest first."""
    newest_first = sorted(runs, key=lambda run: -run.created_at)
    names = [
        run.head_branch for run in newest_first if run.head_branch and run.pull_request is None
    ]
    return list(dict.fromkeys(names))[:MAX_BRANCHES]
