"""Requests that are answered before all of their body has arrived cost their connection nothing."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset

from bassloop.daemon import stalled_requests
from bassloop.daemon.stalled_requests import SLOW_SECONDS

from .test_stalled_responses import GET, HEADERS, Visitor

POST = [(":method", "POST"), *HEADERS]
PIECE = bytes(10_000)
QUEUE = 10
"""How many messages Hypercorn's queue of an application has room for."""


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answer without having read the body."""
    await send({"type": "http.response.start", "status": 413, "headers": []})
    await send({"type": "http.response.body", "body": b"too large"})


def windows(visitor: Visitor, stream: int) -> int:
    return visitor.h2.local_flow_control_window(stream)


async def send_pieces(visitor: Visitor, stream: int, count: int) -> None:
    """Send parts of a body, each as soon as the server permits it."""
    for _ in range(count):
        assert windows(visitor, stream) >= len(PIECE)
        visitor.h2.send_data(stream, PIECE)
        await visitor.send()


async def answered(visitor: Visitor) -> list[int | None]:
    """Return the streams that have been answered completely."""
    await trio.testing.wait_all_tasks_blocked()
    return [each.stream_id for each in visitor.events if isinstance(each, StreamEnded)]


async def test_a_body_that_arrives_after_its_response_is_dropped_as_fast_as_it_is_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    visitor = Visitor(65_535)
    async with visitor.visits(refuse):
        late = await visitor.ask(POST)
        assert await answered(visitor) == [late]
        await send_pieces(visitor, late, 100)
        visitor.h2.end_stream(late)
        await visitor.send()
        other = await visitor.ask(GET)
        assert await answered(visitor) == [late, other]
        assert not visitor.has(StreamReset)


@pytest.mark.parametrize("piece", [b"x", PIECE])
async def test_a_connection_that_goes_on_sending_what_was_answered_ends(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    most = 20
    size = max(len(piece), stalled_requests.LEAST_BYTES)
    monkeypatch.setattr(stalled_requests, "DROPPED_BYTES", most * size)
    visitor = Visitor(65_535)
    async with visitor.visits(refuse):
        late = await visitor.ask(POST)
        assert await answered(visitor) == [late]
        for _ in range(most):
            visitor.h2.send_data(late, piece)
            await visitor.send()
        visitor.h2.send_data(late, piece)
        with pytest.raises(trio.BrokenResourceError, match="answered"):
            await visitor.send()


async def test_nobody_waits_for_an_application_that_ended_with_a_full_queue(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its response couldn't be sent, so the body had time to fill the queue."""
    visitor = Visitor(0)
    async with visitor.visits(refuse), trio.open_nursery() as nursery:
        full = await visitor.ask(POST)
        for _ in range(QUEUE + 5):
            visitor.h2.send_data(full, b"x")
        nursery.start_soon(visitor.send)
        await trio.testing.wait_all_tasks_blocked()
        assert visitor.has(ResponseReceived)
        assert nursery.child_tasks
        await trio.sleep(2 * SLOW_SECONDS)
        assert visitor.has(StreamReset)
        assert not nursery.child_tasks
        other = await visitor.ask(GET)
        await visitor.permit(100, other)
        assert await answered(visitor) == [other]
        assert sum(len(each.data) for each in visitor.events if isinstance(each, DataReceived)) == 9


async def test_an_application_gets_what_is_in_its_queue_before_it_gets_that_its_client_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    visitor, received = Visitor(65_535), []

    async def busy(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(1)
        for _ in range(4):
            received.append(await receive())

    async with visitor.visits(busy):
        stream = await visitor.ask(POST)
        await send_pieces(visitor, stream, 2)
        visitor.h2.reset_stream(stream)
        await visitor.send()
        await trio.sleep(2)
    assert [each["type"] for each in received] == ["http.request"] * 2 + ["http.disconnect"] * 2
