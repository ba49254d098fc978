"""The bodies of webhooks that are on their way, and what happens when there are too many bytes of them."""

from __future__ import annotations

from typing import Any

import trio

from bassloop.daemon.request_limits import WebhookBodies
from bassloop.web.service_endpoints import WEBHOOKS


class Sender:
    """A client that sends a body in parts, and keeps the status of its answer."""

    def __init__(self, address: str) -> None:
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": WEBHOOKS,
            "client": (address, 1),
        }
        self.status = 0
        self._to_app, self.receive_part = trio.open_memory_channel[dict[str, Any]](0)

    async def part(self, size: int, *, more: bool = True) -> None:
        message = {"type": "http.request", "body": bytes(size), "more_body": more}
        await self._to_app.send(message)
        await trio.testing.wait_all_tasks_blocked()

    async def receive(self) -> dict[str, Any]:
        return await self.receive_part.receive()

    async def send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Read a body to its end, and accept it."""
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 202, "headers": []})


async def test_the_largest_body_of_the_address_with_the_most_bytes_is_dropped() -> None:
    bodies = WebhookBodies(app, most=100)
    small, large, github = Sender("10.0.0.1"), Sender("10.0.0.1"), Sender("10.0.0.2")
    async with trio.open_nursery() as nursery:
        for sender in (small, large, github):
            nursery.start_soon(bodies, sender.scope, sender.receive, sender.send)
        await small.part(25)
        await large.part(35)
        await github.part(40)
        assert (small.status, large.status, github.status) == (0, 0, 0)
        await github.part(10)
        assert (small.status, large.status, github.status) == (0, 503, 0)
        await github.part(10, more=False)
        assert github.status == 202
        await small.part(70)  # there is room again
        await small.part(1, more=False)
        assert small.status == 202
    assert "0 on their way, 0 bytes" in repr(bodies)


async def test_a_body_larger_than_the_shared_memory_is_refused() -> None:
    bodies = WebhookBodies(app, most=100)
    sender = Sender("10.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bodies, sender.scope, sender.receive, sender.send)
        await sender.part(101)
    assert sender.status == 503
