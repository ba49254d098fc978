"""A websocket client that opens its own stream, and closes it however the conversation ends."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    wrap_client_stream,
)

from bassloop.concurrency import open_flat_nursery

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from trio_websocket import WebSocketConnection

CONNECTION_ERRORS = (
    ConnectionRejected,
    ConnectionClosed,
    HandshakeError,
    trio.TooSlowError,
    OSError,
)
"""The exceptions that `open_websocket` and the connection raise, alone or in a group, if the other end is lost."""


@asynccontextmanager
async def open_websocket(
    url: str,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    connect_seconds: float,
    max_message: int,
    host: str | None = None,
) -> AsyncGenerator[WebSocketConnection]:
    """Open a websocket at a `ws://` or `wss://` address. Raises CONNECTION_ERRORS.

    Args:
        connect_seconds: how long the connection and the handshake may take together.
        max_message: the size limit for a message, in bytes.
        host: the `HOST` or `HOST:PORT` for the Host header and the certificate, if it differs from the address.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    asked_for = host or parts.netloc
    resource = f"{parts.path}?{parts.query}" if parts.query else parts.path
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(open_flat_nursery())
        with trio.fail_after(connect_seconds) as connecting:
            port = parts.port or (443 if secure else 80)
            plain = await trio.open_tcp_stream(parts.hostname or "", port)
            stack.push_async_callback(trio.aclose_forcefully, plain)
            name = urlsplit(f"//{asked_for}").hostname or ""
            stream = _encrypted(plain, name) if secure else plain
            socket = await wrap_client_stream(
                nursery,
                cast("trio.SocketStream", _CancelsAtEnd(stream, connecting)),
                asked_for,
                resource,
                extra_headers=list(headers),
                max_message_size=max_message,
            )
        yield socket
        with trio.move_on_after(1):
            await socket.aclose()
        nursery.cancel_scope.cancel()


class _CancelsAtEnd(trio.abc.Stream):
    """A stream that cancels a scope when it ends, because trio-websocket's handshake doesn't notice that."""

    def __init__(self, stream: trio.abc.Stream, scope: trio.CancelScope) -> None:
        self._stream = stream
        self._scope = scope

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self._scope.cancel()
            raise
        if not data:
            self._scope.cancel()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _encrypted(stream: trio.SocketStream, host: str) -> trio.SSLStream[trio.SocketStream]:
    context = ssl.create_default_context()
    return trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
