"""Requests take turns, by the addresses that they come from."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from bassloop.daemon.request_limits import (
    SLOT_SECONDS,
    SLOTS,
    UNANSWERED,
    WAITING,
    RequestQueue,
)


class App:
    """Answers each request when the test lets it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.answer = trio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.begun.append(scope["client"][0])
        await self.answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await trio.sleep_forever()


def scope(
    address: str, path: str = "/runs", kind: str = "http", method: str = "GET"
) -> dict[str, Any]:
    return {"type": kind, "path": path, "client": (address, 1), "method": method}


async def refused(queue: RequestQueue, asked: dict[str, Any]) -> bool:
    """Return whether a request is answered at once with 503."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    with trio.move_on_after(0.001):
        await queue(asked, None, send)
    return bool(sent) and sent[0].get("status") == 503


async def nothing(message: dict[str, Any]) -> None:
    """Send it to nobody."""


async def test_waiting_requests_of_different_addresses_take_turns(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = App()
    queue = RequestQueue(app)
    async with trio.open_nursery() as nursery:
        for _ in range(SLOTS + 10):
            nursery.start_soon(queue, scope("10.0.0.1"), None, nothing)
        await trio.testing.wait_all_tasks_blocked()
        assert app.begun == ["10.0.0.1"] * SLOTS
        for address in ("10.0.0.2", "10.0.0.3"):
            nursery.start_soon(queue, scope(address), None, nothing)
        await trio.testing.wait_all_tasks_blocked()
        app.answer.set()
        await trio.testing.wait_all_tasks_blocked()
        after = app.begun[SLOTS:]
        assert {"10.0.0.2", "10.0.0.3"} < set(after[:SLOTS])
        assert len(after) == 12
        nursery.cancel_scope.cancel()


async def test_a_request_that_waits_for_something_else_frees_its_slot(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = App()
    queue = RequestQueue(app)
    async with trio.open_nursery() as nursery:
        for _ in range(SLOTS):
            nursery.start_soon(queue, scope("10.0.0.1"), None, nothing)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(queue, scope("10.0.0.2"), None, nothing)
        await trio.sleep(SLOT_SECONDS / 2)
        assert "10.0.0.2" not in app.begun
        await trio.sleep(SLOT_SECONDS)
        assert "10.0.0.2" in app.begun
        nursery.cancel_scope.cancel()


async def test_too_many_requests_of_one_address_are_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    queue = RequestQueue(App())
    async with trio.open_nursery() as nursery:
        for _ in range(UNANSWERED):
            nursery.start_soon(queue, scope("10.0.0.1"), None, nothing)
        await trio.testing.wait_all_tasks_blocked()
        assert await refused(queue, scope("10.0.0.1"))
        assert not await refused(queue, scope("10.0.0.2"))
        nursery.cancel_scope.cancel()
    assert repr(queue) == "<RequestQueue: 0 begun, 0 waiting>"
    assert not await refused(queue, scope("10.0.0.1"))


async def test_too_many_requests_of_all_addresses_are_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    queue = RequestQueue(App())
    async with trio.open_nursery() as nursery:
        for number in range(WAITING + SLOTS):
            nursery.start_soon(queue, scope(f"10.0.0.{number // UNANSWERED}"), None, nothing)
        await trio.testing.wait_all_tasks_blocked()
        assert await refused(queue, scope("10.0.9.9"))
        nursery.cancel_scope.cancel()
    assert not await refused(queue, scope("10.0.9.9"))


@pytest.mark.parametrize(
    "asked",
    [
        scope("10.0.0.1", "/up"),
        scope("10.0.0.1", "/integrations/github/events", method="POST"),
        scope("10.0.0.1", kind="websocket"),
    ],
)
async def test_webhooks_and_health_checks_do_not_wait(asked: dict[str, Any]) -> None:
    app = App()
    queue = RequestQueue(app)
    async with trio.open_nursery() as nursery:
        for _ in range(SLOTS):
            nursery.start_soon(queue, scope("10.0.0.2"), None, nothing)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(queue, asked, None, nothing)
        await trio.testing.wait_all_tasks_blocked()
        assert app.begun[-1] == "10.0.0.1"
        nursery.cancel_scope.cancel()
