"""A repository's failures as an Atom feed (RFC 4287)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from quart import Blueprint, Response, abort, request

from bassloop.web import presentation
from bassloop.web.guard import visible_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Run
    from bassloop.web.context import WebContext

FAILURES = frozenset({"failed", "timed_out"})
ENTRIES = 50
_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def routes(context: WebContext) -> Blueprint:
    """The feeds' route."""
    blueprint = Blueprint("feeds", __name__)

    @blueprint.get("/repositories/<owner>/<name>/failures.atom")
    async def failures(owner: str, name: str) -> Response:
        """The newest 50 runs that failed, on one `branch` or any."""
        full = f"{owner}/{name}"[:200]
        branch = request.args.get("branch", "")[:200] or None
        wanted = {"repository": full, "head_branch": branch}
        known = await visible_runs(context, 1, **wanted)
        if not known.items:
            abort(404, "there is no such repository, or it is not for everyone to see")
        found = await visible_runs(context, ENTRIES, states=FAILURES, **wanted)
        text = feed(known.items[0], found.items, request.full_path, context.external_url)
        answer = Response(text, content_type="application/atom+xml; charset=utf-8")
        answer.headers["Cache-Control"] = "max-age=60"
        await answer.add_etag()
        await answer.make_conditional(request)
        return answer

    return blueprint


def feed(known: Run, runs: Sequence[Run], path: str, url: str) -> str:
    """The feed of these runs of a repository of which one run is known."""
    changed = max((_ended(run) for run in runs), default=known.created_at)
    own = f"{url}{path.rstrip('?')}"
    page = f"{url}/repositories/{known.repository}"
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<feed xmlns="http://www.w3.org/2005/Atom">\n'
        f"<id>{_text(own)}</id>\n"
        f"<title>Failures of {_text(known.repository)}</title>\n"
        f"<updated>{presentation.instant(changed)}</updated>\n"
        "<author><name>Bass Loop</name></author>\n"
        f'<link rel="self" href={_attribute(own)}/>\n'
        f'<link rel="alternate" type="text/html" href={_attribute(page)}/>\n'
        + "".join(_entry(run, url) for run in runs)
        + "</feed>\n"
    )


def _entry(run: Run, url: str) -> str:
    link = f"{url}/runs/{run.id}"
    where = f"#{run.pull_request}" if run.pull_request else run.head_branch or ""
    title = f"{run.check_name} {presentation.STATES[run.state][2]} on {where or run.head_sha[:7]}"
    summary = f"{run.repository} {run.head_sha[:7]}, sent by {run.login}\n{presentation.plain(run.message or '')}"
    return (
        "<entry>\n"
        f"<id>{_text(link)}</id>\n"
        f"<title>{_text(title)}</title>\n"
        f"<updated>{presentation.instant(_ended(run))}</updated>\n"
        f'<link rel="alternate" type="text/html" href={_attribute(link)}/>\n'
        f"<author><name>{_text(run.login)}</name></author>\n"
        f'<summary type="text">{_text(summary[:2000])}</summary>\n'
        "</entry>\n"
    )


def _ended(run: Run) -> float:
    return run.ended_at or run.created_at


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))


def _attribute(text: str) -> str:
    return quoteattr(_NOT_XML.sub("\ufffd", text))
