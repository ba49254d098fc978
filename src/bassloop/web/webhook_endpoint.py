"""The endpoint for webhooks, which bypasses the web framework.

A webhook needs no cookies, forms or templates, and the framework's work for these is a large part of the cost of
accepting one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
import trio

from bassloop.web.service_endpoints import TEXT, WEBHOOKS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from bassloop.deliveries.inbox import Inbox

    ASGI = Callable[[Any, Any, Any], Awaitable[None]]

log = structlog.get_logger(__name__)

MAX_WEBHOOK = 25 << 20
"""GitHub's limit on the size of a webhook, in bytes."""

BODY_SECONDS = 30.0


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
