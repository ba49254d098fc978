"""A repository's pages: its checks and runs, a search of its errors, and its journal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from quart import Blueprint, Response, jsonify, render_template, request

from bassloop.checks.check_output import VERIFICATION
from bassloop.lifecycle import RunState
from bassloop.terminal import plain
from bassloop.web.guard import (
    repository_or_404,
    visible_checks,
    visible_errors,
    visible_run,
    visible_runs,
)
from bassloop.web.pages.failure_card import failure_summaries
from bassloop.web.presentation import (
    PAGE_SIZE,
    RunView,
    abort_not_found,
    instant,
    overall_state,
    run_json,
    view_runs,
    wants_json,
    worst_first,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from bassloop.store import RepeatedError, Run, SpotCheckRecord
    from bassloop.web.web_context import WebContext


MAX_QUERY = 500
MAX_ERRORS = 50

MAX_BRANCHES = 20
SPOT_CHECKS = 5
"""The number of spot checks on a repository's page."""


@dataclass(frozen=True, slots=True)
class FoundError:
    """An error, with the first and the last run that failed because of it."""

    error: RepeatedError
    first: RunView
    last: RunView


SHOWN = 200


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("repository_page", __name__)
    journals = context.store.journals

    @blueprint.get("/repositories/<owner>/<name>")
    async def repository(owner: str, name: str) -> str | Response:
        """Show the newest pushed run of each check, on one `branch` or any, and all runs, newest first."""
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
            checks=view_runs(worst_first(checks)),
            runs=view_runs(page.items),
            reasons=await failure_summaries(
                context, list({run.id: run for run in (*checks, *page.items)}.values())
            ),
            older=urlencode({**query, "before": page.next}) if page.next else None,
            badge_query=urlencode(query),
            spots=_spot_checks_json(spots),
            spot_runs=view_runs(await _runs(context, spots.newest)),
        )

    @blueprint.get("/repositories/<owner>/<name>/errors")
    async def errors(owner: str, name: str) -> str | Response:
        """List the 50 latest errors that contain `q`, ignoring case; all errors without `q`.

        `before` is the `next` of an earlier response, to continue with older runs.
        """
        full_name, query = f"{owner}/{name}"[:200], request.args.get("q", "")[:MAX_QUERY]
        newest = await visible_runs(context, 1, repository=full_name)
        if not newest.items:
            abort_not_found("repository")
        found = []
        before = request.args.get("before")
        search = await visible_errors(context, full_name, query, MAX_ERRORS, before)
        for error in search.errors:
            first = await visible_run(context, error.first_run)
            last = await visible_run(context, error.last_run)
            if first is not None and last is not None:
                found.append(FoundError(error, *view_runs([first, last])))
        if wants_json():
            return jsonify(
                {
                    "errors": [
                        {
                            "text": each.error.text,
                            "runs": each.error.count,
                            "branches": list(each.error.branches),
                            "first": run_json(each.first.run),
                            "last": run_json(each.last.run),
                        }
                        for each in found
                    ],
                    "searched": search.runs,
                    "next": search.next,
                }
            )
        return await render_template(
            "repository_errors.html",
            repository=newest.items[0].repository,
            query=query,
            errors=found,
            searched=search.runs,
            full=len(search.errors) == MAX_ERRORS,
            newest=before is None,
            older=urlencode({"q": query, "before": search.next}) if search.next else None,
            plain=plain,
        )

    @blueprint.get("/repositories/<owner>/<name>/journal")
    async def journal(owner: str, name: str) -> str:
        """Show the newest entries of the journal."""
        found = await repository_or_404(context, f"{owner}/{name}"[:200])
        entries = await journals.newest(found.id, SHOWN)
        return await render_template(
            "journal.html", repository=found.full_name, entries=entries, instant=instant
        )

    @blueprint.get("/repositories/<owner>/<name>/journal.jsonl")
    async def export(owner: str, name: str) -> Response:
        """Return all entries of the journal, oldest first, one JSON object per line."""
        found = await repository_or_404(context, f"{owner}/{name}"[:200])

        async def lines() -> AsyncGenerator[bytes]:
            number = 0
            while entries := await journals.following(found.id, number):
                yield "".join(json.dumps(each.json()) + "\n" for each in entries).encode()
                number = entries[-1].number

        return Response(lines(), content_type="application/jsonl")

    return blueprint


def _spot_checks_json(record: SpotCheckRecord) -> dict[str, int]:
    """Return the record of spot checks for JSON, with the number of runs by result."""
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
    """Return the branches that were pushed to, latest first."""
    newest_first = sorted(runs, key=lambda run: -run.created_at)
    names = [
        run.head_branch for run in newest_first if run.head_branch and run.pull_request is None
    ]
    return list(dict.fromkeys(names))[:MAX_BRANCHES]
