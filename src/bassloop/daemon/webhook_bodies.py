"""A limit on the memory for bodies of webhooks that are being received.

A webhook may have 25 MB, and its signature can't be verified before its last byte; until then, anybody may have sent
it. When there is no room for more, the address that uses the most loses its largest body. So a flood harms only
itself, and a webhook of ordinary size is never dropped.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import trio

from bassloop.addresses import origins
from bassloop.daemon.request_queue import refuse
from bassloop.web.service_endpoints import WEBHOOKS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    ASGI = Callable[[Any, Any, Any], Awaitable[None]]

MOST = 64 << 20
"""The size limit for all incomplete bodies, in bytes."""

REFUSAL = b"too many large webhooks are on their way: deliver this one again later\n"


class _Upload:
    """A body that is being received."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.size = 0
        self.scope = trio.CancelScope()
        self.is_answered = False


class WebhookBodies:
    """An ASGI application that limits the memory for bodies of webhooks.

    Args:
        most: the size limit for all incomplete bodies, in bytes.
    """

    def __init__(self, app: ASGI, most: int = MOST) -> None:
        self._app = app
        self._most = most
        self._size = 0
        self._uploads: set[_Upload] = set()

    def __repr__(self) -> str:
        return f"<WebhookBodies: {len(self._uploads)} on their way, {self._size:,} bytes>"

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", WEBHOOKS):
            await self._app(scope, receive, send)
            return
        upload = _Upload(origins((scope.get("client") or ["unknown"])[0])[0])

        async def receive_part() -> dict[str, Any]:
            message: dict[str, Any] = await receive()
            self._note(upload, message)
            return message

        async def answer(message: dict[str, Any]) -> None:
            upload.is_answered = True
            await send(message)

        self._uploads.add(upload)
        try:
            with upload.scope:
                await self._app(scope, receive_part, answer)
        finally:
            self._remove(upload)
        if upload.scope.cancelled_caught and not upload.is_answered:
            await refuse(send, REFUSAL, retry_after=10)

    def _note(self, upload: _Upload, message: dict[str, Any]) -> None:
        """Count a part of a body, and make room for it. Complete bodies aren't counted any more."""
        if upload not in self._uploads:
            return
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._remove(upload)
            return
        size = len(message.get("body", b""))
        upload.size += size
        self._size += size
        while self._size > self._most:
            largest = self._largest()
            largest.scope.cancel()
            self._remove(largest)

    def _largest(self) -> _Upload:
        """Return the largest body of the address that uses the most."""
        held: Counter[str] = Counter()
        for upload in self._uploads:
            held[upload.address] += upload.size
        return max(self._uploads, key=lambda each: (held[each.address], each.size))

    def _remove(self, upload: _Upload) -> None:
        if upload in self._uploads:
            self._uploads.remove(upload)
            self._size -= upload.size
