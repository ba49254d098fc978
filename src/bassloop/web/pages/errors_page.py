"""The errors of a repository's runs, searched: when each came first and last, and on which branches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from quart import Blueprint, Response, jsonify, render_template, request

from bassloop.terminal import plain
from bassloop.web.guard import visible_errors, visible_run, visible_runs
from bassloop.web.presentation import RunView, run_json, view_runs
from bassloop.web.responses import abort_not_found, wants_json

if TYPE_CHECKING:
    from bassloop.store import RepeatedError
    from bassloop.web.web_context import WebContext

MAX_QUERY = 500
MAX_ERRORS = 50


@dataclass(frozen=True, slots=True)
class FoundError:
    """An error, with the first and the last run that failed of it."""

    error: RepeatedError
    first: RunView
    last: RunView


def routes(context: WebContext) -> Blueprint:
    """Return the route."""
    blueprint = Blueprint("errors_page", __name__)

    @blueprint.get("/repositories/<owner>/<name>/errors")
    async def errors(owner: str, name: str) -> str | Response:
        """List the 50 latest errors that have `q` in them, in any case; all of them without `q`.

        `before` is the `next` of an earlier answer, which did not reach older runs.
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
            "errors.html",
            repository=newest.items[0].repository,
            query=query,
            errors=found,
            searched=search.runs,
            full=len(search.errors) == MAX_ERRORS,
            newest=before is None,
            older=urlencode({"q": query, "before": search.next}) if search.next else None,
            plain=plain,
        )

    return blueprint
