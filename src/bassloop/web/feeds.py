"""A repository's state for other programs: a badge for READMEs, and an Atom feed of failures (RFC 4287)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from quart import Blueprint, Response, request

from bassloop.lifecycle import RunState
from bassloop.terminal import plain
from bassloop.web.guard import visible_checks, visible_runs
from bassloop.web.pages.failure_card import failure_summaries
from bassloop.web.presentation import (
    RUN_LABELS,
    SHORT_SHA,
    abort_not_found,
    instant,
    overall_state,
    render_document,
    revalidated,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bassloop.store import Run
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
    RunState.NEUTRAL: ("nothing to do", "#5d5f67"),
    "none": ("no pushes", "#5d5f67"),
}
"""The text and the colour of each state."""

MAX_LABEL = 40

FAILURES = frozenset({RunState.FAILED, RunState.TIMED_OUT})
MAX_ENTRIES = 50
MAX_SUMMARY = 2000
_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("feeds", __name__)

    @blueprint.get("/repositories/<owner>/<name>/badge.svg")
    async def badge(owner: str, name: str) -> Response:
        """Draw the state of the newest pushes: of one `check` or all, on one `branch` or any.

        Ignores pull requests, since anybody can open one that fails.
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

    @blueprint.get("/repositories/<owner>/<name>/failures.atom")
    async def failures(owner: str, name: str) -> Response:
        """List the newest 50 failed runs, on one `branch` or any."""
        filters = {
            "repository": f"{owner}/{name}"[:200],
            "head_branch": request.args.get("branch", "")[:200] or None,
        }
        newest = await visible_runs(context, 1, **filters)
        if not newest.items:
            abort_not_found("repository")
        failed = await visible_runs(context, MAX_ENTRIES, states=FAILURES, **filters)
        reasons = await failure_summaries(context, failed.items)
        text = atom_feed(
            newest.items[0], failed.items, reasons, request.full_path, context.external_url
        )
        response = Response(text, content_type="application/atom+xml; charset=utf-8")
        response.headers["Cache-Control"] = "max-age=60"
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


def atom_feed(
    newest: Run, failed: Sequence[Run], reasons: Mapping[str, str], path: str, external_url: str
) -> str:
    """Return the feed of a repository's failed runs.

    Args:
        newest: the repository's newest run, failed or not.
        reasons: one line for each run on why it failed, by the runs' ids.
    """
    updated = max((_ended_at(run) for run in failed), default=newest.created_at)
    return render_document(
        "failures.atom",
        repository=_valid_xml(newest.repository),
        feed_url=_valid_xml(f"{external_url}{path.rstrip('?')}"),
        page_url=_valid_xml(f"{external_url}/repositories/{newest.repository}"),
        updated=instant(updated),
        entries=[_entry(run, reasons.get(run.id, ""), external_url) for run in failed],
    )


def _entry(run: Run, reason: str, external_url: str) -> dict[str, str]:
    sha = run.head_sha[:SHORT_SHA]
    where = f"#{run.pull_request}" if run.pull_request else run.head_branch or sha
    summary = f"{run.repository} {sha}, triggered by {run.login}\n{plain(run.message or '')}"
    if reason and reason not in summary:
        summary = f"{reason}\n{summary}"
    return {
        "url": _valid_xml(f"{external_url}/runs/{run.id}"),
        "title": _valid_xml(f"{run.check_name} {RUN_LABELS[run.state].word} on {where}"),
        "updated": instant(_ended_at(run)),
        "author": _valid_xml(run.login),
        "summary": _valid_xml(summary[:MAX_SUMMARY]),
    }


def _ended_at(run: Run) -> float:
    return run.ended_at or run.created_at


def _valid_xml(text: str) -> str:
    """Replace the characters that XML can't contain, not even escaped."""
    return _NOT_XML.sub("\ufffd", text)
