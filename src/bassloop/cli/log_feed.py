"""A run's logs as they come over its websocket, whatever happens to the connection meanwhile.

The feed knows how many lines of each log it has; after a lost connection it says so to the server,
which goes on from there. So no line is missed and none comes twice.
"""

from __future__ import annotations

import json
import random
import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    wrap_client_stream,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from trio_websocket import WebSocketConnection

    from bassloop.cli.run_address import RunAddress

GONE = 4404
"""How the server closes a connection about a run that is not there, or not for the caller to see."""

MAX_MESSAGE = 64 << 20
CONNECT_SECONDS = 30.0
SILENT_SECONDS = 30.0
"""How long a server may leave a ping without an answer."""

PAUSE = 0.5
MAX_PAUSE = 15.0
TRIES = 5
"""How often a connection is tried in a row for a log that is not followed."""


_TROUBLE = (
    ConnectionRejected,
    ConnectionClosed,
    HandshakeError,
    trio.TooSlowError,
    OSError,
)


class FeedError(Exception):
    """The logs can't be had; the message says why."""


class _Lost(Exception):
    """The connection is lost; the message says how."""


@dataclass(eq=False)
class LogFeed:
    """What is asked for, and what came by now.

    Args:
        show: called with each message of the server. Its logs have exactly the lines that come next.
        lost: called with a sentence when the connection is lost, before it is tried again.
        only: the vertexes whose logs are wanted; None wants all.
        follow: stay until the run is over.
        headers: sent with each request, such as a session's.
    """

    address: RunAddress
    show: Callable[[dict[str, Any]], None]
    lost: Callable[[str], None]
    only: Sequence[int] | None = None
    follow: bool = False
    headers: Sequence[tuple[str, str]] = ()
    _places: dict[int, int] = field(default_factory=dict)
    _heard: bool = False

    async def serve(self) -> None:
        """Show all that there is and, when following, all that comes until the run is over.

        Raises FeedError when there is no such run, or its server can't be reached: at once if it
        never was, else after some tries when not following.
        """
        tries = 0
        heard_ever = False
        while True:
            self._heard = False
            try:
                await self._connected()
                return
            except _Lost as error:
                heard_ever = heard_ever or self._heard
                tries = 1 if self._heard else tries + 1
                if not heard_ever or (not self.follow and tries >= TRIES):
                    raise FeedError(f"{self.address.server}: {error}") from error
                pause = min(MAX_PAUSE, PAUSE * 2 ** (tries - 1)) * random.uniform(0.5, 1.0)  # noqa: S311
                self.lost(f"{error}; trying again in {pause:.1f} s")
                await trio.sleep(pause)

    async def _connected(self) -> None:
        """One connection, to its end. Raises FeedError, or _Lost."""
        try:
            async with self._open() as socket, trio.open_nursery() as nursery:
                nursery.start_soon(_keep_alive, socket)
                await socket.send_message(json.dumps(self._hello()))
                await self._receive(socket)
                nursery.cancel_scope.cancel()
        except (ExceptionGroup, *_TROUBLE) as error:
            leaf = _leaf(error)
            raise (self._told(leaf) or leaf) from error

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[WebSocketConnection]:
        """A websocket on a stream of our own, which is closed whoever ended the conversation."""
        parts = urlsplit(self.address.websocket)
        host, secure = parts.hostname or "", parts.scheme == "wss"
        headers = [(name.encode(), value.encode()) for name, value in self.headers]
        async with AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(trio.open_nursery())
            with trio.fail_after(CONNECT_SECONDS) as connecting:
                port = parts.port or (443 if secure else 80)
                plain = await trio.open_tcp_stream(host, port)
                stack.push_async_callback(trio.aclose_forcefully, plain)
                stream = _encrypted(plain, host) if secure else plain
                socket = await wrap_client_stream(
                    nursery,
                    cast(trio.SocketStream, _Noticed(stream, connecting.cancel)),
                    parts.netloc,
                    parts.path,
                    extra_headers=headers,
                    max_message_size=MAX_MESSAGE,
                )
            yield socket
            with trio.move_on_after(1):
                await socket.aclose()
            nursery.cancel_scope.cancel()

    async def _receive(self, socket: WebSocketConnection) -> None:
        while True:
            try:
                news = json.loads(await socket.get_message())
                if news.get("end"):
                    return
                for log in news.get("logs", ()):
                    self._take(log)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise FeedError(f"{self.address.page} does not speak as a loop does") from error
            self._heard = True
            self.show(news)

    def _take(self, log: dict[str, Any]) -> None:
        """Keep count of a log's lines; those that came before are taken out."""
        row, start, lines = int(log["row"]), int(log["start"]), log["lines"]
        place = self._places.get(row, 0)
        if start > place:
            raise ValueError(f"lines {place} to {start} are missing")
        log["lines"] = lines[place - start :]
        self._places[row] = max(place, start + len(lines))

    def _hello(self) -> dict[str, Any]:
        hello: dict[str, Any] = {"logs": self._places, "lines": "text", "follow": self.follow}
        return hello if self.only is None else {**hello, "only": list(self.only)}

    def _told(self, error: BaseException) -> Exception | None:
        """What is to be said of a connection's end; None of what has nothing to do with it."""
        if isinstance(error, FeedError):
            return error
        if isinstance(error, ConnectionRejected):
            status = error.status_code
            if status == 404:
                return FeedError(f"there is no loop at {self.address.server}: it answered 404")
            if status in (401, 403):
                return FeedError(f"{self.address.page}: not for you to see, it answered {status}")
            return _Lost(f"the server answered {status}")
        if isinstance(error, ConnectionClosed):
            if error.reason is not None and error.reason.code == GONE:
                return FeedError(
                    f"{self.address.page}: there is no such run, or it is not for you to see"
                )
            return _Lost("the connection was lost")
        if isinstance(error, OSError):
            return _Lost(f"can't be reached: {error.strerror or error}")
        if isinstance(error, _TROUBLE):
            return _Lost("the server did not answer")
        return None


class _Noticed(trio.abc.Stream):
    """A stream whose end is noticed: while it shakes hands, trio-websocket does not."""

    def __init__(self, stream: trio.abc.Stream, ended: Callable[[], None]) -> None:
        self._stream = stream
        self._ended = ended

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self._ended()
            raise
        if not data:
            self._ended()
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


async def _keep_alive(socket: WebSocketConnection) -> None:
    """Notice a connection that has gone without a word."""
    while True:
        await trio.sleep(SILENT_SECONDS)
        with trio.fail_after(SILENT_SECONDS):
            await socket.ping()


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
