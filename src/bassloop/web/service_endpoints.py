"""Endpoints for machines: webhooks, health, metrics, and the gateway's host key.

`/up` tells whether the process responds, `/ready` whether it can work, and `/open` whether it accepts new work. All are
public, and reveal nothing confidential. `/metrics` requires a token, or a separate listener.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

import structlog
import trio
from quart import Blueprint, Response, abort, jsonify, request

from bassloop.quart_app import QuartApp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from bassloop.deliveries.inbox import Inbox
    from bassloop.web.web_context import Health, WebContext

    ASGI = Callable[[Any, Any, Any], Awaitable[None]]

log = structlog.get_logger(__name__)

WEBHOOKS = "/integrations/github/events"
HEALTH = ("/up", "/open", "/ready", "/metrics")
AT_ONCE = frozenset({("POST", WEBHOOKS), *(("GET", path) for path in HEALTH)})
"""Methods and paths of requests that are served without waiting for others."""
TEXT = "text/plain; charset=utf-8"

MAX_WEBHOOK = 25 << 20
"""GitHub's limit on the size of a webhook, in bytes."""

BODY_SECONDS = 30.0


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


class _Refused(Exception):
    """A request is refused before it is read completely."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _Disconnected(Exception):
    """The sender has disconnected, so there is nobody to respond to."""


class WebhookEndpoint:
    """An ASGI application that passes webhooks to the inbox, and everything else to another application.

    It bypasses the web framework: a webhook needs no cookies, forms or templates, and the framework's work for these is
    a large part of the cost of accepting one.

    Args:
        app: the other application.
        headers: sent with each response.
    """

    def __init__(self, app: ASGI, inbox: Inbox, headers: Mapping[str, str]) -> None:
        self._app = app
        self._inbox = inbox
        self._headers = [(b"content-type", TEXT.encode())]
        self._headers += [(name.lower().encode(), each.encode()) for name, each in headers.items()]

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] != WEBHOOKS:
            await self._app(scope, receive, send)
            return
        headers = self._headers
        try:
            status, message = await self._accept(scope, receive)
        except _Disconnected:
            return
        except _Refused as refused:
            status, message = refused.status, refused.message
            if status == 405:
                headers = [*headers, (b"allow", b"POST")]
        except Exception:
            log.exception("webhook not accepted")
            status, message = 500, "something went wrong; deliver again later"
        body = f"{message}\n".encode()
        headers = [*headers, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(
            {"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body}
        )

    async def _accept(self, scope: dict[str, Any], receive: Any) -> tuple[int, str]:
        """Return the status and the text of the response."""
        if scope["method"] != "POST":
            raise _Refused(405, "use POST: this is the endpoint for webhooks from GitHub")
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        if int(headers.get("content-length") or 0) > MAX_WEBHOOK:
            raise _Refused(413, f"a webhook may have at most {MAX_WEBHOOK:,} bytes")
        body = b""
        with trio.move_on_after(BODY_SECONDS) as reading:
            body = await _read(receive)
        if reading.cancelled_caught:
            raise _Refused(408, f"the body didn't arrive within {BODY_SECONDS:.0f} s")
        answer = await self._inbox.accept(headers, body)
        return answer.status, answer.message


async def _read(receive: Any) -> bytes:
    """Return the body of a request. Raises _Refused if it's too large, and _Disconnected if it's incomplete."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        body += message.get("body", b"")
        if len(body) > MAX_WEBHOOK:
            raise _Refused(413, f"a webhook may have at most {MAX_WEBHOOK:,} bytes")
        if not message.get("more_body", False):
            return bytes(body)
