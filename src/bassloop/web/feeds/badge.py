"""A repository's state in a picture, for its README: SVG without script, font or style."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from quart import Blueprint, Response, abort, request

from bassloop.web.guard import visible_checks
from bassloop.web.presentation import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Run
    from bassloop.web.context import WebContext

WORST_FIRST = (
    "failed",
    "timed_out",
    "interrupted",
    "cancelled",
    "action_required",
    "running",
    "queued",
    "succeeded",
)
LOOKS = {
    "succeeded": ("passing", "#1a7446"),
    "failed": ("failing", "#b92a39"),
    "timed_out": ("out of time", "#b92a39"),
    "running": ("running", "#1d5cab"),
    "queued": ("waiting", "#5d5f67"),
    "cancelled": ("cancelled", "#855600"),
    "interrupted": ("interrupted", "#855600"),
    "action_required": ("needs a runner", "#855600"),
    "none": ("no pushes", "#5d5f67"),
}
LABEL = "#3b3d45"


def overall(runs: Sequence[Run]) -> str:
    """The state of several checks together: the worst of theirs; `none` of no checks."""
    states = {run.state for run in runs}
    return next((state for state in WORST_FIRST if state in states), "none")


def routes(context: WebContext) -> Blueprint:
    """The badges' route."""
    blueprint = Blueprint("badges", __name__)

    @blueprint.get("/repositories/<owner>/<name>/badge.svg")
    async def badge(owner: str, name: str) -> Response:
        """What the newest pushes came to: of one `check` or all, on one `branch` or any.

        Pull requests don't count: anybody can open one that fails.
        """
        check = request.args.get("check", "")[:200] or None
        runs = await visible_checks(
            context,
            f"{owner}/{name}"[:200],
            pushed=True,
            check_name=check,
            head_branch=request.args.get("branch", "")[:200] or None,
        )
        if not runs:
            abort(404, "there is no such check, or it is not for everyone to see")
        picture = Response(
            badge_svg(check or "checks", overall(runs)), content_type="image/svg+xml"
        )
        picture.headers["Cache-Control"] = "no-cache"
        await picture.add_etag()
        await picture.make_conditional(request)
        return picture

    return blueprint


def badge_svg(label: str, state: str) -> str:
    """A badge that says how a check stands."""
    label = plain(label)
    label = label if len(label) <= 40 else f"{label[:39]}…"
    word, colour = LOOKS[state]
    left, right = _width(label), _width(word)
    safe = html.escape(label)
    whole = left + right
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" '
        f'aria-label="{safe}: {word}"><title>{safe}: {word}</title>'
        f'<clipPath id="r"><rect width="{whole}" height="20" rx="4"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="{LABEL}"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{colour}"/></g>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" '
        'text-anchor="middle">'
        f'<text x="{left / 2:g}" y="14" textLength="{left - 12}">{safe}</text>'
        f'<text x="{left + right / 2:g}" y="14" textLength="{right - 12}">{word}</text></g></svg>\n'
    )


def _width(text: str) -> int:
    """Room for a text in Verdana 11: narrow letters count half."""
    return 12 + round(
        sum(3.6 if char in "fijlrt.,:;|!'I " else 9.6 if char in "mwMW…" else 7 for char in text)
    )
