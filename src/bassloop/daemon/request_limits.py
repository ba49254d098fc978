"""Limits on what requests use, however many somebody sends: a fair queue, and a limit on memory.

An HTTP/2 connection can send a hundred requests at once, and a visitor can open many connections. Processed together,
they would compete with everybody's pages, webhooks and runners, and each would take as long as all of them. So a
request waits for a slot, addresses take turns, and excess requests are refused. A slot is given back when the
response begins, or after a moment, since a request that takes longer is mostly waiting for GitHub or a disk.

A webhook may have 25 MB, and its signature can't be verified before its last byte; until then, anybody may have sent
it. When there is no room for more, the address that uses the most loses its largest body. So a flood harms only
itself, and a webhook of ordinary size is never dropped.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, Any

import trio

from bassloop.addresses import origins
from bassloop.concurrency import open_flat_nursery
from bassloop.web.service_endpoints import AT_ONCE, WEBHOOKS

if TYPE_CHECKING:
    from bassloop.web.service_endpoints import ASGI

SLOTS = 4
"""The number of requests that are processed at a time."""
SLOT_SECONDS = 0.25
"""The maximum time for which a request keeps its slot, in seconds."""
WAITING = 1_000
"""The maximum number of requests that wait for a slot."""
UNANSWERED = 200
"""The limit on requests of one address that wait for a slot or are unfinished. A page has about 50 parts."""

BODY_BYTES = 64 << 20
"""The size limit for all incomplete bodies of webhooks, in bytes."""

TOO_MANY = b"too many requests are waiting: try again in a moment\n"
TOO_LARGE = b"too many large webhooks are on their way: deliver this one again later\n"


class _RequestSlot:
    """A request's slot, or its wait for one."""

    def __init__(self) -> None:
        self.given = trio.Event()
        self.is_free = False


class RequestQueue:
    """An ASGI application whose requests take turns. Websockets, health checks and webhooks don't wait."""

    def __init__(self, app: ASGI) -> None:
        self._app = app
        self._free = SLOTS
        self._waiting: OrderedDict[str, deque[_RequestSlot]] = OrderedDict()
        self._count = 0
        self._unanswered: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<RequestQueue: {SLOTS - self._free} begun, {self._count} waiting>"

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request when its turn comes."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) in AT_ONCE:
            await self._app(scope, receive, send)
            return
        address = origins((scope.get("client") or ["unknown"])[0])[0]
        if self._count >= WAITING or self._unanswered[address] >= UNANSWERED:
            await _refuse(send, TOO_MANY, retry_after=1)
            return
        self._unanswered[address] += 1
        try:
            await self._serve(address, scope, receive, send)
        finally:
            self._unanswered[address] -= 1
            if not self._unanswered[address]:
                del self._unanswered[address]

    async def _serve(self, address: str, scope: dict[str, Any], receive: Any, send: Any) -> None:
        slot = await self._wait(address)
        try:
            async with open_flat_nursery() as nursery:
                nursery.start_soon(self._give_back_later, slot)
                await self._app(scope, receive, self._watching(slot, send))
                nursery.cancel_scope.cancel()
        finally:
            self._give_back(slot)

    async def _wait(self, address: str) -> _RequestSlot:
        """Wait for a slot, and return it. If cancelled, it leaves the queue."""
        slot = _RequestSlot()
        if self._free:
            self._free -= 1
            slot.given.set()
            return slot
        queue = self._waiting.setdefault(address, deque())
        queue.append(slot)
        self._count += 1
        try:
            await slot.given.wait()
        except trio.Cancelled:
            if slot.given.is_set():
                self._give_back(slot)
            else:
                queue.remove(slot)
                self._count -= 1
                if not queue:
                    del self._waiting[address]
            raise
        return slot

    def _give_back(self, slot: _RequestSlot) -> None:
        """Free a slot once, and give it to the next address in turn."""
        if slot.is_free:
            return
        slot.is_free = True
        if not self._waiting:
            self._free += 1
            return
        address, queue = self._waiting.popitem(last=False)
        queue.popleft().given.set()
        self._count -= 1
        if queue:
            self._waiting[address] = queue

    async def _give_back_later(self, slot: _RequestSlot) -> None:
        await trio.sleep(SLOT_SECONDS)
        self._give_back(slot)

    def _watching(self, slot: _RequestSlot, send: Any) -> Any:
        """Return `send`, which frees the slot when the response begins."""

        async def send_and_free(message: dict[str, Any]) -> None:
            self._give_back(slot)
            await send(message)

        return send_and_free


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

    def __init__(self, app: ASGI, most: int = BODY_BYTES) -> None:
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
            await _refuse(send, TOO_LARGE, retry_after=10)

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


async def _refuse(send: Any, why: bytes, retry_after: int) -> None:
    """Answer a request with 503, a line of text, and Retry-After in seconds."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(why)).encode()),
        (b"retry-after", str(retry_after).encode()),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": why})
