"""Whether the loop is alive and ready, and what it counts.

`/up` says that this process answers, `/ready` that it can do its work; both are for everybody, and
say nothing that a stranger may not know. `/metrics` is for who has the token, or who reaches its
own listener.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from quart import Blueprint, Response, abort, jsonify, request
from quart_trio import QuartTrio

if TYPE_CHECKING:
    from bassloop.web.context import Health, WebContext


def routes(context: WebContext) -> Blueprint:
    """The routes."""
    blueprint = Blueprint("service", __name__)
    health = context.health

    @blueprint.post("/integrations/github/events")
    async def github_events() -> Response:
        body = bytes(await request.get_data(cache=False, as_text=False))  # type: ignore[arg-type]
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = await context.inbox.accept(headers, body)
        return Response(
            f"{answer.message}\n", answer.status, content_type="text/plain; charset=utf-8"
        )

    @blueprint.get("/up")
    async def up() -> Response:
        return Response("up\n", content_type="text/plain; charset=utf-8")

    @blueprint.get("/ready")
    async def ready() -> tuple[Response, int]:
        findings = await health.ready()
        parts = {each.part: {"ready": each.ready, "why": each.why} for each in findings}
        all_are = all(each.ready for each in findings)
        return jsonify({"ready": all_are, "parts": parts}), 200 if all_are else 503

    @blueprint.get("/metrics")
    async def metrics() -> Response:
        if not health.metrics_token:
            abort(404, "metrics are off here: METRICS_TOKEN is not set")
        return await _metrics(health)

    return blueprint


def create_metrics_app(health: Health) -> QuartTrio:
    """An application that shows the metrics and nothing else, for a listener of its own."""
    app = QuartTrio("bassloop.metrics")

    @app.get("/metrics")
    async def metrics() -> Response:
        return await _metrics(health)

    return app


async def _metrics(health: Health) -> Response:
    token = health.metrics_token
    given = request.headers.get("Authorization", "")
    if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        abort(401, "metrics need the token of METRICS_TOKEN: Authorization: Bearer TOKEN")
    content, content_type = await health.metrics(request.headers.get("Accept", ""))
    return Response(content, content_type=content_type)
