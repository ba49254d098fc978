"""HTTP/2 responses of which the reader permits nothing to be sent end, and slow ones don't."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes, Settings
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.events import Closed, RawData
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from bassloop.daemon.stalled_requests import (
    SLOW_SECONDS,
    TRANSPORT,
    EndingH2Protocol,
    EndingTaskGroup,
    ServerConfig,
    SlowReaders,
    Transport,
    end_stalled_requests,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from h2.events import Event
    from hypercorn.events import Event as ConnectionEvent

SIZE = 100_000
HEADERS = [(":path", "/"), (":scheme", "http"), (":authority", "loop")]
GET = [(":method", "GET"), *HEADERS]
CONNECT = [(":method", "CONNECT"), (":protocol", "websocket"), *HEADERS]


class Visitor:
    """A client of HTTP/2 on a connection in memory, whose streams have an initial window of `window` bytes."""

    def __init__(self, window: int) -> None:
        self.slow_readers = SlowReaders()
        self.transport = Transport(0, 0)
        self.events: list[Event] = []
        self.h2 = H2Connection()
        given = {SettingCodes.INITIAL_WINDOW_SIZE: window}
        self.h2.local_settings = Settings(client=True, initial_values=given)
        self.h2.initiate_connection()
        self._protocol: EndingH2Protocol

    @asynccontextmanager
    async def visits(self, app: Any) -> AsyncGenerator[None]:
        """Connect to an application."""
        end_stalled_requests()
        config = ServerConfig()
        config.slow_readers = self.slow_readers
        state = ConnectionState({TRANSPORT: lambda: self.transport})
        async with EndingTaskGroup() as tasks:
            self._protocol = EndingH2Protocol(
                ASGIWrapper(app),
                config,
                WorkerContext(None),
                tasks,
                state,
                False,
                None,
                None,
                self._receive,
            )
            await self._protocol.initiate()
            await self.send()
            yield
            await self._protocol.handle(Closed())

    async def _receive(self, event: ConnectionEvent) -> None:
        if isinstance(event, RawData):
            self.events += self.h2.receive_data(event.data)

    async def send(self) -> None:
        """Send what the client has to send."""
        await self._protocol.handle(RawData(self.h2.data_to_send()))

    async def ask(self, headers: list[tuple[str, str]] = GET) -> int:
        """Send a request, and return its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, headers, end_stream=headers[0] in GET)
        await self.send()
        return stream

    async def permit(self, size: int, stream: int) -> None:
        """Let so many more bytes of a response be sent."""
        self.h2.increment_flow_control_window(size, stream)
        await self.send()

    def has(self, kind: type[Event]) -> bool:
        return any(isinstance(event, kind) for event in self.events)

    def received(self) -> int:
        """Return how many bytes have arrived."""
        return sum(len(each.data) for each in self.events if isinstance(each, DataReceived))

    def kept(self) -> int:
        """Return how many responses the server remembers."""
        return len(self._protocol.stream_buffers)


class Page:
    """An application that answers with a page, and notes that its request has ended."""

    def __init__(self) -> None:
        self.has_ended = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(SIZE)})
        self.has_ended = True


@pytest.mark.parametrize("window", [0, 10])
async def test_a_response_of_which_nothing_may_be_sent_is_reset(
    autojump_clock: trio.testing.MockClock, window: int
) -> None:
    visitor, page = Visitor(window), Page()
    async with visitor.visits(page):
        stream = await visitor.ask()
        await trio.sleep(SLOW_SECONDS)
        assert visitor.has(ResponseReceived)
        assert not page.has_ended
        await trio.sleep(SLOW_SECONDS)
        assert page.has_ended
        [reset] = [each for each in visitor.events if isinstance(each, StreamReset)]
        assert (reset.stream_id, reset.error_code) == (stream, ErrorCodes.CANCEL)
        assert visitor.slow_readers.responses == 1
        assert not visitor.kept()
        assert visitor.received() == window


async def test_other_responses_of_the_connection_continue(
    autojump_clock: trio.testing.MockClock,
) -> None:
    visitor = Visitor(0)
    async with visitor.visits(Page()):
        await visitor.ask()
        await trio.sleep(2 * SLOW_SECONDS)
        stream = await visitor.ask()
        await visitor.permit(SIZE, stream)
        visitor.h2.increment_flow_control_window(SIZE)
        await visitor.send()
        await trio.testing.wait_all_tasks_blocked()
        assert visitor.received() == SIZE
        assert visitor.has(StreamEnded)


async def test_a_slow_response_is_not_reset(autojump_clock: trio.testing.MockClock) -> None:
    visitor, page = Visitor(0), Page()
    async with visitor.visits(page):
        stream = await visitor.ask()
        for _ in range(20):
            await trio.sleep(SLOW_SECONDS - 1)
            await visitor.permit(1, stream)
        await trio.testing.wait_all_tasks_blocked()
        assert visitor.received() == 20
        assert not page.has_ended
        assert not visitor.slow_readers.responses


async def test_data_that_is_still_being_sent_over_a_slow_connection_is_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The window opens again only when what fills it has arrived. What is sent later doesn't matter."""
    visitor, page = Visitor(65_535), Page()
    async with visitor.visits(page):
        visitor.transport = Transport(sent=70_000, acknowledged=0)
        await visitor.ask()
        await trio.sleep(20 * SLOW_SECONDS)
        assert not page.has_ended
        visitor.transport = Transport(sent=80_000, acknowledged=70_000)
        await trio.sleep(2 * SLOW_SECONDS)
        assert page.has_ended


async def test_responses_that_wait_for_others_of_their_connection_continue(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """These use the connection's window, of which little is opened at a time."""
    visitor, pages = Visitor(2 * SIZE), [Page(), Page()]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await pages[scope["path"] == "/second"](scope, receive, send)

    first = [(":method", "GET"), *HEADERS]
    second = [*first[:1], (":path", "/second"), *HEADERS[1:]]
    async with visitor.visits(app):
        for headers in (first, second):
            await visitor.ask(headers)
        for _ in range(20):
            await trio.sleep(SLOW_SECONDS - 1)
            visitor.h2.increment_flow_control_window(1)
            await visitor.send()
        assert not visitor.slow_readers.responses
        await trio.sleep(2 * SLOW_SECONDS)
        assert visitor.slow_readers.responses == 2


async def test_a_response_with_nothing_to_send_continues(
    autojump_clock: trio.testing.MockClock,
) -> None:
    visitor = Visitor(65_535)

    async def live_log(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(5):
            await trio.sleep(20 * SLOW_SECONDS)
            await send({"type": "http.response.body", "body": b"a line\n", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with visitor.visits(live_log):
        await visitor.ask()
        await trio.sleep(101 * SLOW_SECONDS)
        assert visitor.has(StreamEnded)
        assert visitor.received() == 5 * len(b"a line\n")


async def test_a_websocket_that_nobody_reads_is_disconnected(
    autojump_clock: trio.testing.MockClock,
) -> None:
    visitor, received = Visitor(0), []

    async def live_page(scope: Any, receive: Any, send: Any) -> None:
        received.append(await receive())
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": bytes(SIZE)})
        received.append(await receive())

    async with visitor.visits(live_page):
        await visitor.ask([*CONNECT, ("sec-websocket-version", "13")])
        await trio.sleep(2 * SLOW_SECONDS)
        assert [each["type"] for each in received] == ["websocket.connect", "websocket.disconnect"]
        assert visitor.has(StreamReset)


async def test_a_response_that_ran_out_of_time_is_reset(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its reader would take a part of it for all, and the rest would stay in memory."""
    visitor = Visitor(10)

    async def impatient(scope: Any, receive: Any, send: Any) -> None:
        with trio.move_on_after(1):
            await Page()(scope, receive, send)

    async with visitor.visits(impatient):
        await visitor.ask()
        await trio.sleep(2)
        assert visitor.has(StreamReset)
        assert not visitor.kept()
        assert not visitor.slow_readers.responses
