"""The endpoint of webhooks: what it refuses before the inbox has it, and what it leaves to the pages."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

from bassloop.deliveries.inbox import WebhookResponse
from bassloop.web.service_endpoints import BODY_SECONDS, MAX_WEBHOOK, WEBHOOKS, WebhookEndpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio.testing import MockClock

    from bassloop.deliveries.inbox import Inbox

BIG = bytes(MAX_WEBHOOK // 2 + 1)


class FakeInbox:
    """Remembers what it is given, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.given: list[tuple[dict[str, str], bytes]] = []
        self.error = error

    async def accept(self, headers: Mapping[str, str], body: bytes) -> WebhookResponse:
        if self.error is not None:
            raise self.error
        self.given.append((dict(headers), body))
        return WebhookResponse(202, "accepted")


async def page(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"a page"})


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def ask(
    inbox: FakeInbox,
    *messages: dict[str, Any],
    method: str = "POST",
    path: str = WEBHOOKS,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes, dict[bytes, bytes]] | None:
    """Return status, body and headers of the response to a request, or None if there is none."""
    waiting = deque(messages)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not waiting:
            await trio.sleep_forever()
        return waiting.popleft()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    encoded = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": path, "headers": encoded}
    endpoint = WebhookEndpoint(page, cast("Inbox", inbox), {"Cache-Control": "no-store"})
    await endpoint(scope, receive, send)
    if not sent:
        return None
    return sent[0]["status"], sent[1]["body"], dict(sent[0]["headers"])


async def test_a_body_in_parts_is_accepted_as_a_whole() -> None:
    inbox = FakeInbox()
    response = await ask(inbox, part(b"ab", more=True), part(b"c"), headers={"X-GitHub-Event": "e"})
    assert response is not None
    status, body, headers = response
    assert (status, body) == (202, b"accepted\n")
    assert headers[b"content-length"] == b"9"
    assert headers[b"cache-control"] == b"no-store"
    assert inbox.given == [({"x-github-event": "e"}, b"abc")]


async def test_other_addresses_are_passed_to_the_other_application() -> None:
    assert await ask(FakeInbox(), method="GET", path="/runs") == (200, b"a page", {})


@pytest.mark.parametrize(("method", "has_body"), [("GET", True), ("HEAD", False), ("PUT", True)])
async def test_other_methods_are_refused(method: str, has_body: bool) -> None:
    response = await ask(FakeInbox(), part(b"x"), method=method)
    assert response is not None
    status, body, headers = response
    assert (status, headers[b"allow"], bool(body)) == (405, b"POST", has_body)


async def test_a_body_that_will_be_too_large_is_refused_before_it_arrives(
    autojump_clock: MockClock,
) -> None:
    response = await ask(FakeInbox(), headers={"Content-Length": str(MAX_WEBHOOK + 1)})
    assert response is not None
    assert response[0] == 413
    assert trio.current_time() == 0


async def test_a_body_without_a_length_is_refused_once_it_is_too_large() -> None:
    inbox = FakeInbox()
    response = await ask(inbox, part(BIG, more=True), part(BIG, more=True))
    assert response is not None
    assert response[0] == 413
    assert inbox.given == []


async def test_a_body_that_does_not_end_is_refused(autojump_clock: MockClock) -> None:
    inbox = FakeInbox()
    response = await ask(inbox, part(b"x", more=True))
    assert response is not None
    assert response[0] == 408
    assert trio.current_time() == pytest.approx(BODY_SECONDS)
    assert inbox.given == []


async def test_a_sender_that_leaves_gets_no_response() -> None:
    inbox = FakeInbox()
    assert await ask(inbox, part(b"x", more=True), {"type": "http.disconnect"}) is None
    assert inbox.given == []


async def test_an_error_of_the_loop_is_answered_with_500() -> None:
    response = await ask(FakeInbox(RuntimeError("a secret")), part(b"x"))
    assert response is not None
    status, body, _ = response
    assert status == 500
    assert b"secret" not in body
