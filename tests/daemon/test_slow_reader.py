"""A client that stops reading delays neither other tasks nor the end of the daemon."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import trio
from quart_trio import QuartTrio

from bassloop.daemon.http_server import bind, serve_http
from bassloop.daemon.stalled_requests import SlowReaders
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"),
    reason="this system does not break such connections off",
)


async def test_a_reader_that_stops_is_disconnected() -> None:
    app, sent = QuartTrio("flood"), 0

    @app.get("/")
    async def flood() -> AsyncGenerator[bytes]:
        async def body() -> AsyncGenerator[bytes]:
            nonlocal sent
            while True:
                yield b"x" * 65_536
                sent += 1

        return body()

    over, listening = trio.Event(), bind("127.0.0.1:0", "LISTEN")
    where = listening.getsockname()
    slow_readers = SlowReaders(0.5)
    slow_readers.limit(listening)
    with trio.fail_after(200):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_http, app, listening, over, None, slow_readers)
            async with await trio.open_tcp_stream(*where) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: loop\r\n\r\n")
                before = -1
                while not sent or sent != before:
                    before = sent
                    await trio.sleep(0.2)
                over.set()  # with a reader who still has the connection, and does not read
                await until(lambda: not nursery.child_tasks)
    assert slow_readers.connections == 1
