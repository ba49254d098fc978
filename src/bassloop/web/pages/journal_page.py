"""A repository's journal: who started, signed, approved, cancelled and reran what, and what was verified."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from quart import Blueprint, Response, render_template

from bassloop.web.guard import visible_repository
from bassloop.web.presentation import instant
from bassloop.web.responses import abort_not_found

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bassloop.web.web_context import WebContext

SHOWN = 200


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("journal_page", __name__)
    journals = context.store.journals

    @blueprint.get("/repositories/<owner>/<name>/journal")
    async def journal(owner: str, name: str) -> str:
        """Show the newest entries."""
        found = await visible_repository(context, f"{owner}/{name}"[:200])
        if found is None:
            abort_not_found("repository")
        entries = await journals.newest(found.id, SHOWN)
        return await render_template(
            "journal.html", repository=found.full_name, entries=entries, instant=instant
        )

    @blueprint.get("/repositories/<owner>/<name>/journal.jsonl")
    async def export(owner: str, name: str) -> Response:
        """Return all entries, oldest first, a JSON object per line."""
        found = await visible_repository(context, f"{owner}/{name}"[:200])
        if found is None:
            abort_not_found("repository")

        async def lines() -> AsyncGenerator[bytes]:
            number = 0
            while entries := await journals.following(found.id, number):
                yield "".join(json.dumps(each.json()) + "\n" for each in entries).encode()
                number = entries[-1].number

        return Response(lines(), content_type="application/jsonl")

    return blueprint
