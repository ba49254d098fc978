"""Endpoints for machines: health, metrics, and the gateway's host key. The one for webhooks is in `webhook_endpoint`.

`/up` tells whether the process responds, `/ready` whether it can work, and `/open` whether it accepts new work. All are
public, and reveal nothing confidential. `/metrics` requires a token, or a separate listener.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from quart import Blueprint, Response, abort, jsonify, request

from bassloop.quart_app import QuartApp

if TYPE_CHECKING:
    from bassloop.web.web_context import Health, WebContext

WEBHOOKS = "/integrations/github/events"
HEALTH = ("/up", "/open", "/ready", "/metrics")
AT_ONCE = frozenset({("POST", WEBHOOKS), *(("GET", path) for path in HEALTH)})
"""Methods and paths of requests that are served without waiting for others."""
TEXT = "text/plain; charset=utf-8"


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("service", __name__)
    health = context.health

    @blueprint.get("/ssh")
    async def known_hosts() -> Response:
        return Response(f"{context.known_hosts}\n", content_type=TEXT)

    @blueprint.get("/up")
    async def up() -> Response:
        return Response("up\n", content_type=TEXT)

    @blueprint.get("/open")
    async def is_open() -> Response:
        if context.inbox.is_draining:
            return Response("draining\n", 404, content_type=TEXT)
        return Response("open\n", content_type=TEXT)

    @blueprint.get("/ready")
    async def ready() -> tuple[Response, int]:
        """Return the status of all parts, or of those in `only`, separated by commas."""
        named = request.args.get("only")
        only = None if named is None else frozenset(named.split(","))
        statuses = await health.ready(only)
        if only is not None and (unknown := only - {each.part for each in statuses}):
            abort(400, f"there is no part {', '.join(sorted(unknown))}")
        parts = {each.part: {"ready": each.ready, "why": each.why} for each in statuses}
        all_ready = all(each.ready for each in statuses)
        return jsonify({"ready": all_ready, "parts": parts}), 200 if all_ready else 503

    @blueprint.get("/metrics")
    async def metrics() -> Response:
        if not health.metrics_token:
            abort(404, "metrics are off here: METRICS_TOKEN is not set")
        return await _metrics(health)

    return blueprint


def create_metrics_app(health: Health) -> QuartApp:
    """Return an application that serves only the metrics, for a separate listener."""
    app = QuartApp("bassloop.metrics")

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
