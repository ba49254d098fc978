"""The HTTP servers: their sockets, Hypercorn on them, and the address of a client behind a trusted proxy.

A proxy appends the client's address to `X-Forwarded-For`, and anybody may have written what comes before it. So the
list is read from its end, as long as trusted proxies wrote it.
"""

from __future__ import annotations

import socket
import time
import traceback
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import hypercorn.trio
import structlog
import trio
from hypercorn.events import RawData
from hypercorn.protocol import h2, h11
from hypercorn.protocol.events import Body, Data, Request
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.trio import run as hypercorn_run
from hypercorn.trio import tcp_server

from bassloop.addresses import is_in, origins, parse_ip
from bassloop.bridge.http2 import PREFACE, FrameScanner, TooManyFrames
from bassloop.concurrency import TokenBucket, TTLCache
from bassloop.daemon import StartError
from bassloop.daemon.early_responses import drop_late_bodies
from bassloop.daemon.slow_readers import (
    TRANSPORT,
    ServerConfig,
    SlowReaders,
    end_slow_responses,
    slow_readers_of,
    transport,
)
from bassloop.setting_types import parse_address, reached

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from hypercorn.events import Event as ConnectionEvent
    from hypercorn.protocol.events import Event

    from bassloop.daemon.credentials import Certificate
    from bassloop.setting_types import Network

    ASGI = Callable[[Any, Any, Any], Awaitable[None]]

log = structlog.get_logger(__name__)

CONTROL_FRAMES = 400
"""The burst of HTTP/2 frames other than data per connection; a quarter of it is the rate per second. A page with all
of its parts needs about 150."""

ADDRESS_FRAMES = 800
"""The burst of such frames for all connections of an address; a sixteenth of it is the rate per second. Beyond that,
connections are read more slowly."""

LONGEST_DELAY = 10.0
"""How many seconds reading from a connection is delayed at most. One that would have to wait longer is closed."""

STREAMS = 32
"""How many concurrent requests an HTTP/2 connection may have. Each may keep a page in memory until it is read."""

ADDRESSES, ADDRESS_SECONDS = 10_000, 60.0
"""How many addresses are remembered, and for how long."""

FRAMES_AT_ONCE = 2
"""How many frames are processed between checkpoints. Each may be a request."""

READ_BYTES = 16 << 10
"""How many bytes of a request are parsed between checkpoints. A header of 64 KiB would take too long."""

SECURE = {"http": "https", "ws": "wss"}
PLAIN = {"https": "http", "wss": "ws"}


def bind(address: str, setting: str) -> socket.socket:
    """Return a socket bound to `HOST:PORT`, which refuses connections until `start_listening`.

    Raises StartError, which names the setting, if that fails.
    """
    host, port = parse_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise StartError(f"{setting}: can't listen on {address}: {error.strerror}") from error
    listening.setblocking(False)
    return listening


def start_listening(listening: socket.socket, setting: str) -> None:
    """Let a socket accept connections. Raises StartError if another process listens there by now."""
    try:
        listening.listen(128)
    except OSError as error:
        raise StartError(f"{setting}: can't listen: {error.strerror}") from error


def local_address(listening: socket.socket) -> str:
    """Return the `HOST:PORT` at which this machine reaches a socket."""
    return reached(*listening.getsockname()[:2])


class MeteredStream:
    """A visitor's stream, which limits HTTP/2 frames other than data, and passes on a few at a time.

    Hypercorn itself answers any number of pings, and starts any number of requests. HTTP/2 by an upgrade of
    HTTP/1.1, which no browser uses, is refused.

    Args:
        address: the budget of frames for the visitor's address.
    """

    def __init__(
        self,
        stream: Any,
        has_upgraded: Callable[[], bool],
        address: TokenBucket,
        slow_readers: SlowReaders,
    ) -> None:
        self._stream = stream
        self._slow_readers = slow_readers
        self._has_upgraded = has_upgraded
        self._address = address
        self._has_begun = False
        self._control = TokenBucket(CONTROL_FRAMES, CONTROL_FRAMES / 4)
        self._frames: FrameScanner | None = None
        self._rest = bytearray()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def send_all(self, data: bytes) -> None:
        with self._slow_readers.counted():
            await self._stream.send_all(data)

    async def receive_some(self, max_bytes: int) -> bytes:
        if self._rest:
            await trio.lowlevel.checkpoint()
            return await self._few_frames()
        with self._slow_readers.counted():
            data = bytes(await self._stream.receive_some(max_bytes))
        if not self._has_begun:
            self._has_begun = True
            while len(data) < len(PREFACE) and data and PREFACE.startswith(data):
                if not (more := await self._stream.receive_some(max_bytes)):
                    break
                data += more
            if data.startswith(PREFACE):
                self._frames = FrameScanner(len(PREFACE), self._take_frame)
        if self._frames is None:
            if self._has_upgraded():
                raise trio.BrokenResourceError("HTTP/2 by an upgrade is refused")
            return data
        self._rest += data
        return await self._few_frames() if data else data

    def _take_frame(self) -> bool:
        """Count a control frame, for the address as well, and return whether the connection may send it."""
        self._address.charge(1)
        return self._control.take()

    async def _few_frames(self) -> bytes:
        """Return the next received bytes, a few frames at most, once the address may send them."""
        assert self._frames is not None
        if (delay := self._address.seconds_until(0)) > LONGEST_DELAY:
            raise trio.BrokenResourceError("its address sends too many frames")
        await trio.sleep(delay)
        try:
            size = self._frames.scan(self._rest, FRAMES_AT_ONCE)
        except (ValueError, TooManyFrames) as error:
            raise trio.BrokenResourceError("it sends frames that it may not") from error
        data = bytes(self._rest[:size])
        del self._rest[:size]
        return data


class ContainedServer(tcp_server.TCPServer):
    """One HTTP connection, whose errors end nothing but itself.

    Hypercorn lets errors in its protocols propagate to the nursery of all connections, and visitors can cause
    them: data before a websocket is accepted was enough to end the daemon.
    """

    _logged = TokenBucket(10, 1 / 6, clock=time.monotonic)
    _addresses = TTLCache[str, TokenBucket](ADDRESSES, ADDRESS_SECONDS, clock=time.monotonic)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        connection = getattr(self.stream, "transport_stream", self.stream).socket
        self.state = {**self.state, TRANSPORT: partial(transport, connection)}
        self.stream = MeteredStream(  # type: ignore[assignment]
            self.stream,
            lambda: isinstance(self.protocol.protocol, H2Protocol),
            self._frames_of_address(connection),
            slow_readers_of(self.config),
        )

    def _frames_of_address(self, connection: trio.socket.SocketType) -> TokenBucket:
        """Return the budget of frames for the visitor's address."""
        try:
            address = origins(connection.getpeername()[0])[0]
        except OSError:  # it has left already
            address = "unknown"
        if (frames := self._addresses.get(address)) is None:
            frames = TokenBucket(ADDRESS_FRAMES, ADDRESS_FRAMES / 16, clock=time.monotonic)
            self._addresses.store(address, frames)
        return frames

    async def protocol_send(self, event: ConnectionEvent) -> None:
        """Send a part of a response. The end of one with a `Content-Length` has no bytes, and isn't waited for."""
        if not isinstance(event, RawData) or event.data:
            await super().protocol_send(event)

    async def run(self) -> None:
        try:
            await super().run()
        except* Exception as errors:  # noqa: BLE001  (an error that its bytes cause affects only this connection)
            if self._logged.take():
                log.warning("http connection failed", error=_first(errors))


def _first(errors: BaseException) -> str:
    """Return the first error of a group, and where it was raised."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return "".join(traceback.format_exception(errors)[-2:])


def contain_connections() -> None:
    """Make Hypercorn use our classes, and read little at a time. It has no settings for that."""
    hypercorn_run.TCPServer = ContainedServer  # type: ignore[attr-defined, assignment]
    end_slow_responses()
    drop_late_bodies()
    tcp_server.MAX_RECV = READ_BYTES
    meter_websockets()


async def serve_http(
    app: Any,
    listening: socket.socket,
    stop: trio.Event,
    certificate: Certificate | None = None,
    slow_readers: SlowReaders | None = None,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application on `listening` until `stop` is set, and close the socket then."""
    contain_connections()
    config = _config(listening, slow_readers or SlowReaders())
    if certificate is not None:
        certificate.bind(config)
    serving = partial(hypercorn.trio.serve, app, config, mode="asgi")
    await serving(shutdown_trigger=stop.wait, task_status=task_status)


def _config(listening: socket.socket, slow_readers: SlowReaders) -> ServerConfig:
    config = ServerConfig()
    config.slow_readers = slow_readers
    config.bind = [f"fd://{listening.detach()}"]
    config.graceful_timeout = 3.0
    config.shutdown_timeout = 5.0
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    config.h2_max_concurrent_streams = STREAMS
    config.websocket_max_message_size = 64 * 1024  # pages send little
    return config


@dataclass(frozen=True, eq=False)
class Proxies:
    """An application behind proxies, which sees the client's address and scheme."""

    app: ASGI
    trusted: Sequence[Network]

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request. Its log lines have the client's address."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        seen = self._seen(scope)
        with structlog.contextvars.bound_contextvars(client=(seen.get("client") or ["unknown"])[0]):
            await self.app(seen, receive, send)

    def _seen(self, scope: dict[str, Any]) -> dict[str, Any]:
        client = scope.get("client")
        if not client or not is_in(client[0], self.trusted):
            return scope
        addresses = _values(scope["headers"], b"x-forwarded-for")
        seen = dict(scope)
        for address in reversed(addresses):
            if parse_ip(address) is None:
                break
            seen["client"] = (address, 0)
            if not is_in(address, self.trusted):
                break
        schemes = _values(scope["headers"], b"x-forwarded-proto")
        if schemes[-1:] == ["https"]:
            seen["scheme"] = SECURE.get(scope["scheme"], scope["scheme"])
        elif schemes[-1:] == ["http"]:
            seen["scheme"] = PLAIN.get(scope["scheme"], scope["scheme"])
        return seen


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """Return the values of all headers with a name, in order."""
    lines = [value.decode("latin-1") for key, value in headers if key.lower() == name]
    return [part.strip() for part in ",".join(lines).split(",") if part.strip()]


WEBSOCKET_FRAMES = 100
"""The burst of frames for a websocket; a tenth of it is the rate per second. A frame may have only six bytes, but costs
as much as a kilobyte of data. A page sends a message when it opens its websocket, and then a short one every few
seconds."""

_EXTENSIONS = b"sec-websocket-extensions"
_MASK_BYTES = 4
_LENGTH_BYTES = {126: 2, 127: 8}


class FrameCounter:
    """Counts the frames in a websocket's bytes, however these are split."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._payload = 0

    def count(self, data: bytes) -> int:
        """Return how many frames begin in these bytes, which continue those of the last call."""
        at = begun = 0
        while at < len(data):
            if self._payload:
                step = min(self._payload, len(data) - at)
                self._payload -= step
            else:
                begun += not self._header
                step = min(self._header_size() - len(self._header), len(data) - at)
                self._header += data[at : at + step]
                if len(self._header) == self._header_size():
                    self._payload = self._payload_size()
                    self._header.clear()
            at += step
        return begun

    def _header_size(self) -> int:
        if len(self._header) < 2:
            return 2
        mask = _MASK_BYTES if self._header[1] & 0x80 else 0
        return 2 + _LENGTH_BYTES.get(self._header[1] & 0x7F, 0) + mask

    def _payload_size(self) -> int:
        short = self._header[1] & 0x7F
        return int.from_bytes(self._header[2 : 2 + _LENGTH_BYTES[short]]) if short > 125 else short


class MeteredWebSocket(WSStream):
    """Hypercorn's websocket, but it closes its connection if too many frames arrive, and never compresses.

    With `permessage-deflate` (RFC 7692), 16 KB from a visitor would inflate to 16 MB on the loop's thread, and each
    MiB for a page would take 60 ms to deflate.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._counter = FrameCounter()
        self._allowed = TokenBucket(WEBSOCKET_FRAMES, WEBSOCKET_FRAMES / 10, clock=time.monotonic)

    async def handle(self, event: Event) -> None:
        """Handle received data. Raises BrokenResourceError if it has too many frames."""
        if isinstance(event, (Body, Data)) and not self._allowed.take(
            self._counter.count(event.data)
        ):
            raise trio.BrokenResourceError("it sends too many frames on a websocket")
        if isinstance(event, Request):
            headers = [each for each in event.headers if each[0].lower() != _EXTENSIONS]
            event = replace(event, headers=headers)
        await super().handle(event)


def meter_websockets() -> None:
    """Make Hypercorn use `MeteredWebSocket`. It has no setting for that."""
    h11.WSStream = h2.WSStream = MeteredWebSocket  # type: ignore[attr-defined, assignment]
