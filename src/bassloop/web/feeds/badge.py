"""A badge with the state of a repository's checks, for its README: SVG without scripts, fonts or styles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response, request

from bassloop.lifecycle import RunState
from bassloop.terminal import plain
from bassloop.web.guard import visible_checks
from bassloop.web.presentation import overall_state
from bassloop.web.responses import abort_not_found, render_document, revalidated

if TYPE_CHECKING:
    from bassloop.web.web_context import WebContext

BADGES = {
    RunState.SUCCEEDED: ("passing", "#1a7446"),
    RunState.FAILED: ("failing", "#b92a39"),
    RunState.TIMED_OUT: ("timed out", "#b92a39"),
    RunState.RUNNING: ("running", "#1d5cab"),
    RunState.QUEUED: ("waiting", "#5d5f67"),
    RunState.CANCELLED: ("cancelled", "#855600"),
    RunState.INTERRUPTED: ("interrupted", "#855600"),
    RunState.ACTION_REQUIRED: ("needs a runner", "#855600"),
    "none": ("no pushes", "#5d5f67"),
}
"""The word and the colour of each state."""

MAX_LABEL = 40


def routes(context: WebContext) -> Blueprint:
    """Return the route."""
    blueprint = Blueprint("badge", __name__)

    @blueprint.get("/repositories/<owner>/<name>/badge.svg")
    async def badge(owner: str, name: str) -> Response:
        """Draw the state of the newest pushes: of one `check` or all, on one `branch` or any.

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
            abort_not_found("check")
        svg = badge_svg(check or "checks", overall_state(runs))
        response = Response(svg, content_type="image/svg+xml")
        response.headers["Cache-Control"] = "no-cache"
        return await revalidated(response)

    return blueprint


def badge_svg(label: str, state: str) -> str:
    """Draw a badge with the state of a check."""
    label = plain(label)
    label = label if len(label) <= MAX_LABEL else f"{label[: MAX_LABEL - 1]}…"
    word, colour = BADGES[state]
    return render_document(
        "badge.svg", label=label, word=word, colour=colour, left=_width(label), right=_width(word)
    )


def _width(text: str) -> int:
    """Estimate the width of a text in Verdana at 11 pixels, with margins."""
    return 12 + round(
        sum(3.6 if char in "fijlrt.,:;|!'I " else 9.6 if char in "mwMW…" else 7 for char in text)
    )
