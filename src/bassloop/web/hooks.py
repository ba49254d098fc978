"""Where GitHub's webhooks arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response, request

if TYPE_CHECKING:
    from bassloop.web.context import WebContext


def routes(context: WebContext) -> Blueprint:
    """The route; everything else is the inbox's."""
    blueprint = Blueprint("hooks", __name__)

    @blueprint.post("/integrations/github/events")
    async def github_events() -> Response:
        body = bytes(await request.get_data(cache=False, as_text=False))  # type: ignore[arg-type]
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = await context.inbox.accept(headers, body)
        return Response(
            f"{answer.message}\n", answer.status, content_type="text/plain; charset=utf-8"
        )

    return blueprint
