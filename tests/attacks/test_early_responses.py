"""Visitors who go on sending requests that have been answered already."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio
from h2.connection import H2Connection
from h2.events import Event, ResponseReceived, StreamEnded, StreamReset, WindowUpdated
from h2.settings import SettingCodes, Settings

from .conftest import STUCK_SECONDS
from .test_visitors import address

if TYPE_CHECKING:
    from .conftest import Target

pytestmark = pytest.mark.attacks

SETTINGS = {"PAGE_SLOW_SECONDS": "2s"}
PUT = [
    (":method", "PUT"),
    (":path", "/integrations/github/events"),
    (":scheme", "http"),
    (":authority", "loop"),
]
"""A request that the daemon answers, with 405, without its body."""
GET_UP = [(":method", "GET"), (":path", "/up"), *PUT[2:]]
LIVE_PAGE = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":path", "/runs/live"),
    *PUT[2:],
    ("sec-websocket-version", "13"),
]

PIECE = bytes(16_000)
PIECES = 100
CONNECTIONS = 20
FULL = 15
"""Pieces of a body that are more than an application's queue has room for."""


class Client:
    """One HTTP/2 connection of a visitor."""

    def __init__(self, stream: trio.SocketStream, window: int = 65_535) -> None:
        self.events: list[Event] = []
        self.h2 = H2Connection()
        given = {SettingCodes.INITIAL_WINDOW_SIZE: window}
        self.h2.local_settings = Settings(client=True, initial_values=given)
        self.h2.initiate_connection()
        self._stream = stream

    async def send(self) -> None:
        await self._stream.send_all(self.h2.data_to_send())

    async def ask(self, headers: list[tuple[str, str]], *, end_stream: bool = False) -> int:
        """Send the headers of a request; return its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, headers, end_stream=end_stream)
        await self.send()
        return stream

    async def receive(self, kind: type[Event], stream: int) -> None:
        """Wait for an event of a stream."""
        while not any(
            isinstance(each, kind) and getattr(each, "stream_id", None) == stream
            for each in self.events
        ):
            await self.receive_some()

    async def receive_some(self) -> None:
        data = await self._stream.receive_some()
        assert data, f"the daemon ended the connection after {self.events[-5:]}"
        self.events += self.h2.receive_data(data)
        await self.send()


async def test_a_body_that_is_sent_after_its_response_leaves_other_requests_their_responses(
    target: Target,
) -> None:
    with trio.fail_after(STUCK_SECONDS):
        async with await trio.open_tcp_stream(*address(target)) as stream:
            client = Client(stream)
            live = await client.ask(LIVE_PAGE)  # or else the connection is idle, and ends
            await client.receive(ResponseReceived, live)
            late = await client.ask(PUT)
            await client.receive(StreamEnded, late)
            for _ in range(PIECES):
                while client.h2.local_flow_control_window(late) < len(PIECE):
                    await client.receive_some()
                client.h2.send_data(late, PIECE)
                await client.send()
            client.h2.end_stream(late)
            up = await client.ask(GET_UP, end_stream=True)
            await client.receive(StreamEnded, up)
    assert any(isinstance(each, WindowUpdated) for each in client.events)
    assert not target.daemon.lines_with("http connection failed")


async def test_responses_to_bodies_that_nobody_reads_are_reset(
    target: Target,
) -> None:
    """They permit no byte of their responses to be sent, so that the daemon has time to receive their bodies."""
    over = trio.Event()

    async def dial() -> None:
        async with await trio.open_tcp_stream(*address(target)) as stream:
            client = Client(stream, window=0)
            full = await client.ask(PUT)
            await client.receive(ResponseReceived, full)
            for _ in range(FULL):
                client.h2.send_data(full, b"x")
            await client.send()
            # A connection that is idle for seconds, on a busy machine, may be closed before its client reads.
            with suppress(trio.BrokenResourceError):
                await client.receive(StreamReset, full)

    async def flood() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(CONNECTIONS):
                nursery.start_soon(dial)
        over.set()

    await target.withstand("bodies that nobody reads", flood, over)
