"""No bytes on one HTTP connection can end the others."""

from __future__ import annotations

import math
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio
from h2.connection import H2Connection
from h2.events import RemoteSettingsChanged, ResponseReceived
from h2.settings import SettingCodes, Settings
from hypercorn import protocol
from hypercorn.config import Config
from hypercorn.protocol import h2, h11
from hypercorn.trio import run as hypercorn_run
from hypercorn.trio import tcp_server
from quart import websocket
from quart_trio import QuartTrio

from bassloop.bridge.http2 import PREFACE
from bassloop.concurrency import TokenBucket, TTLCache
from bassloop.daemon import frame_limits
from bassloop.daemon.frame_limits import (
    ADDRESS_SECONDS,
    ADDRESSES,
    CONTROL_FRAMES,
    WEBSOCKET_FRAMES,
    FrameCounter,
    MeteredStream,
)
from bassloop.daemon.http_server import (
    READ_BYTES,
    STREAMS,
    ContainedServer,
    bind,
    serve_http,
    start_listening,
)
from bassloop.daemon.stalled_requests import EndingH2Protocol, EndingTaskGroup

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

EARLY = (
    b"GET /live HTTP/1.1\r\nHost: loop\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    + b"\x81\x80\0\0\0\0"
    * 1_000
)
"""A websocket's messages, before anybody has accepted it."""


PONG = b"\x00\x00\x08\x06\x01"
"""The beginning of the answer to a ping of HTTP/2."""


def test_hypercorn_still_has_the_parts_that_are_replaced() -> None:
    assert issubclass(ContainedServer, tcp_server.TCPServer)
    assert issubclass(EndingTaskGroup, tcp_server.TaskGroup)
    assert isinstance(tcp_server.MAX_RECV, int)
    assert hasattr(hypercorn_run, "TCPServer")
    assert hasattr(h11, "WSStream")
    assert hasattr(h2, "WSStream")
    assert issubclass(EndingH2Protocol, h2.H2Protocol)
    assert hasattr(protocol, "H2Protocol")


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
@pytest.mark.parametrize("mask", [False, True])
def test_frames_of_a_websocket_are_counted_however_they_are_cut(size: int, mask: bool) -> None:
    data = b""
    lengths = (0, 1, 125, 126, 65_535, 65_536, 0, 0)
    for length in lengths:
        header = bytes([0x82, mask << 7 | min(length, 126 if length < 65_536 else 127)])
        if length > 125:
            header += length.to_bytes(2 if length < 65_536 else 8)
        data += header + bytes(4 * mask + length)
    counter = FrameCounter()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert sum(map(counter.count, pieces)) == len(lengths)


@pytest.fixture
async def served() -> AsyncGenerator[tuple[str, int]]:
    """Serve an application, and give its address."""
    app, over, listening = QuartTrio("app"), trio.Event(), bind("127.0.0.1:0", "LISTEN")
    where = listening.getsockname()
    start_listening(listening, "LISTEN")

    @app.get("/")
    async def page() -> str:
        return "here"

    @app.websocket("/live")
    async def echo() -> None:
        while True:
            await websocket.send(await websocket.receive())

    async with trio.open_nursery() as nursery:
        await nursery.start(serve_http, app, listening, over)
        yield where
        nursery.cancel_scope.cancel()


def http2_frame(kind: int, flags: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags, 0, 0, 0, 0]) + payload


async def test_nothing_is_sent_for_the_end_of_a_response_of_known_length(
    served: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    send_all = MeteredStream.send_all

    async def send(stream: MeteredStream, data: bytes) -> None:
        sent.append(bytes(data))
        await send_all(stream, data)

    monkeypatch.setattr(MeteredStream, "send_all", send)
    received = b""
    with trio.fail_after(200):
        async with await trio.open_tcp_stream(*served) as stream:
            for _ in range(2):  # the second shows that the first one has ended
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: loop\r\n\r\n")
                while not received.endswith(b"here"):
                    received += await stream.receive_some()
                received += b"."
    assert received.count(b"HTTP/1.1 200") == 2
    assert sent[1::2] == [b"here", b"here"]
    assert all(sent)


async def test_requests_over_http2_are_served(served: tuple[str, int]) -> None:
    client = H2Connection()
    client.initiate_connection()
    headers = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "loop")]
    client.send_headers(1, headers, end_stream=True)
    received = b""
    with trio.fail_after(200):
        async with await trio.open_tcp_stream(*served) as stream:
            for byte in client.data_to_send():
                await stream.send_all(bytes([byte]))
            while not received.endswith(b"here") and b"here" not in received:
                received += await stream.receive_some()


@pytest.mark.parametrize("size", [10, 1 << 20])
async def test_requests_end_with_their_http2_connection(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A visitor who asks for pages, reads none of them and leaves, leaves nothing behind."""
    begun, ended, closed = 0, trio.Semaphore(0), trio.Event()
    run = ContainedServer.run

    async def run_until_closed(server: ContainedServer) -> None:
        await run(server)
        closed.set()

    monkeypatch.setattr(ContainedServer, "run", run_until_closed)
    monkeypatch.setattr(Config, "keep_alive_timeout", math.inf)
    over, listening = trio.Event(), bind("127.0.0.1:0", "LISTEN")
    where = listening.getsockname()
    start_listening(listening, "LISTEN")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal begun
        assert (
            scope["type"] == "http"
        )  # an error tells Hypercorn that the app needs no lifespan events
        begun += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": bytes(size)})
        finally:
            ended.release()

    client = H2Connection()
    no_window = {SettingCodes.INITIAL_WINDOW_SIZE: 0}
    client.local_settings = Settings(client=True, initial_values=no_window)
    client.initiate_connection()
    headers = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "loop")]
    for number in range(STREAMS):
        client.send_headers(1 + 2 * number, headers, end_stream=True)
    with trio.fail_after(200):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_http, app, listening, over)
            async with await trio.open_tcp_stream(*where) as stream:
                await stream.send_all(client.data_to_send())
                answered = 0
                while answered < STREAMS:
                    events = client.receive_data(await stream.receive_some())
                    answered += sum(isinstance(event, ResponseReceived) for event in events)
                assert begun == STREAMS
                assert ended.value == 0
            for _ in range(STREAMS):
                await ended.acquire()
            await closed.wait()
            over.set()


async def test_a_flood_of_pings_ends_its_connection(served: tuple[str, int]) -> None:
    pings = http2_frame(6, 0, bytes(8)) * (2 * CONTROL_FRAMES)
    with trio.fail_after(200):
        async with await trio.open_tcp_stream(*served) as stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(PREFACE + http2_frame(4, 0, b"") + pings)
                while await stream.receive_some():
                    pass


async def pings_answered(stream: trio.SocketStream, most: int) -> int:
    """Return how many pings are answered until the connection ends, or `most` are."""
    received = b""
    with suppress(trio.BrokenResourceError):
        while received.count(PONG) < most and (data := await stream.receive_some()):
            received += data
    return received.count(PONG)


async def test_connections_of_an_address_share_a_budget_of_frames(
    served: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def clock() -> float:
        return 0.0

    monkeypatch.setattr(frame_limits, "ADDRESS_FRAMES", 16)
    monkeypatch.setattr(frame_limits, "LONGEST_DELAY", 0.5)
    monkeypatch.setattr(frame_limits, "time", SimpleNamespace(monotonic=clock))
    addresses = TTLCache[str, TokenBucket](ADDRESSES, ADDRESS_SECONDS, clock=clock)
    monkeypatch.setattr(frame_limits, "BUDGETS", addresses)
    greeting, ping, most = PREFACE + http2_frame(4, 0, b""), http2_frame(6, 0, bytes(8)), 12
    with trio.fail_after(200):
        async with await trio.open_tcp_stream(*served) as first:
            await first.send_all(greeting + ping * most)
            assert await pings_answered(first, most) == most
            async with await trio.open_tcp_stream(*served) as second:
                await second.send_all(greeting + ping * most)
                assert await pings_answered(second, most) < most


async def test_an_upgrade_to_http2_is_refused(served: tuple[str, int]) -> None:
    """Its frames would not be counted."""
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: loop\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    )
    with trio.fail_after(200):
        async with await trio.open_tcp_stream(*served) as stream:
            await stream.send_all(upgrade)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")
            with suppress(trio.BrokenResourceError):
                await stream.send_all(
                    PREFACE + http2_frame(4, 0, b"") + http2_frame(6, 0, bytes(8))
                )
            assert await pings_answered(stream, 1) == 0


async def test_an_http2_connection_has_a_limited_number_of_concurrent_requests(
    served: tuple[str, int],
) -> None:
    client = H2Connection()
    client.initiate_connection()
    with trio.fail_after(200):
        async with await trio.open_tcp_stream(*served) as stream:
            await stream.send_all(client.data_to_send())
            events: list[Any] = []
            while not any(isinstance(each, RemoteSettingsChanged) for each in events):
                events += client.receive_data(await stream.receive_some())
    assert client.remote_settings.max_concurrent_streams == STREAMS


async def test_a_large_message_ends_its_websocket(served: tuple[str, int]) -> None:
    head, _, _ = EARLY.partition(b"\r\n\r\n")
    piece = (60_000).to_bytes(2) + bytes(4 + 60_000)
    answer = b""
    with trio.fail_after(200):
        async with await trio.open_tcp_stream(*served) as stream:
            await stream.send_all(head + b"\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")
            with suppress(trio.BrokenResourceError):
                await stream.send_all(b"\x01\xfe" + piece + b"\x80\xfe" + piece)
                answer = await stream.receive_some()
    assert answer[:1] in (b"", b"\x88")  # a frame that closes it, instead of an echo


async def test_a_flood_of_frames_on_a_websocket_ends_its_connection(
    served: tuple[str, int],
) -> None:
    head, _, frames = EARLY.partition(b"\r\n\r\n")
    frame = frames[:6]
    with trio.fail_after(200):
        async with await trio.open_tcp_stream(*served) as stream:
            await stream.send_all(head + b"\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")
            await stream.send_all(frame * WEBSOCKET_FRAMES)
            answers = b""
            while len(answers) < 2 * WEBSOCKET_FRAMES:
                answers += await stream.receive_some()
            with suppress(trio.BrokenResourceError):
                await stream.send_all(frame * WEBSOCKET_FRAMES)
                while await stream.receive_some():
                    pass


async def test_a_websocket_is_not_compressed(served: tuple[str, int]) -> None:
    """A compressed message could inflate to a thousand times its size."""
    head, _, _ = EARLY.partition(b"\r\n\r\n")
    offer = b"\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    compressed = b"\xc1\x80\0\0\0\0"
    with trio.fail_after(200):
        async with await trio.open_tcp_stream(*served) as stream:
            await stream.send_all(head + offer)
            answer = await stream.receive_some()
            assert answer.startswith(b"HTTP/1.1 101")
            assert b"extensions" not in answer.lower()
            with suppress(trio.BrokenResourceError):
                await stream.send_all(compressed)
                assert await stream.receive_some() == b""


async def test_messages_before_a_websocket_is_accepted_do_not_stop_the_server(
    served: tuple[str, int],
) -> None:
    with trio.fail_after(200):
        assert tcp_server.MAX_RECV == READ_BYTES
        for _ in range(3):
            async with await trio.open_tcp_stream(*served) as stream:
                await stream.send_all(EARLY)
                await stream.receive_some()
        async with await trio.open_tcp_stream(*served) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: loop\r\n\r\n")
            answer = b""
            while not answer.endswith(b"here"):
                piece = await stream.receive_some()
                assert piece, answer
                answer += piece
