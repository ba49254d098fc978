"""One HTTP connection can't end the others, whatever comes on it."""

from __future__ import annotations

import trio
from hypercorn.trio import run as hypercorn_run
from hypercorn.trio import tcp_server
from quart_trio import QuartTrio

from bassloop.daemon.http_server import READ_BYTES, ContainedServer, listen, serve_http

EARLY = (
    b"GET /live HTTP/1.1\r\nHost: loop\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    + b"\x81\x80\0\0\0\0"
    * 1_000
)
"""A websocket's messages, before anybody has accepted it."""


def test_hypercorn_still_has_what_is_replaced() -> None:
    assert issubclass(ContainedServer, tcp_server.TCPServer)
    assert isinstance(tcp_server.MAX_RECV, int)
    assert hasattr(hypercorn_run, "TCPServer")


async def test_messages_before_a_websocket_is_accepted() -> None:
    app, over, listening = QuartTrio("app"), trio.Event(), listen("127.0.0.1:0", "LISTEN")
    where = listening.getsockname()

    @app.get("/")
    async def page() -> str:
        return "here"

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_http, app, listening, over)
            assert tcp_server.MAX_RECV == READ_BYTES
            for _ in range(3):
                async with await trio.open_tcp_stream(*where) as stream:
                    await stream.send_all(EARLY)
                    await stream.receive_some()
            async with await trio.open_tcp_stream(*where) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: loop\r\n\r\n")
                answer = b""
                while not answer.endswith(b"here"):
                    piece = await stream.receive_some()
                    assert piece, answer
                    answer += piece
            over.set()
