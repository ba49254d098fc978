"""The HTTP servers: their sockets, TLS certificate and trusted proxies, and Hypercorn on them.

A connection's errors end nothing but itself.
"""

from __future__ import annotations

import socket
import ssl
import time
import traceback
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import hypercorn.trio
import structlog
import trio
from hypercorn.events import RawData
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.trio import run as hypercorn_run
from hypercorn.trio import tcp_server

from bassloop.addresses import is_in, parse_address, parse_ip, reached
from bassloop.concurrency import TokenBucket
from bassloop.daemon import StartError
from bassloop.daemon.frame_limits import MeteredStream, address_budget, meter_websockets
from bassloop.daemon.stalled_requests import (
    TRANSPORT,
    ServerConfig,
    SlowReaders,
    end_stalled_requests,
    slow_readers_of,
    transport,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from hypercorn.config import Config
    from hypercorn.events import Event as ConnectionEvent

    from bassloop.setting_types import Network
    from bassloop.web.service_endpoints import ASGI

log = structlog.get_logger(__name__)

STREAMS = 32
"""How many concurrent requests an HTTP/2 connection may have. Each may keep a page in memory until it is read."""

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


class Certificate:
    """A certificate chain and its key, and the TLS context for new connections.

    Raises StartError if the files can't be used.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain, self._key = chain, key
        self.context: ssl.SSLContext | None = None
        self._check()

    def bind(self, config: Config) -> None:
        """Make a server use this certificate."""
        config.certfile, config.keyfile = str(self._chain), str(self._key)
        create_context = config.create_ssl_context

        def create() -> ssl.SSLContext | None:
            self.context = create_context()
            return self.context

        config.create_ssl_context = create  # type: ignore[method-assign]

    def reload(self) -> None:
        """Read the files again, for future connections.

        Raises StartError if they can't be used. The old certificate stays in use then.
        """
        self._check()
        if self.context is not None:
            self._load(self.context)

    def _check(self) -> None:
        """Test the files with a temporary context, because a failure halfway would spoil the one in use."""
        self._load(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))

    def _load(self, context: ssl.SSLContext) -> None:
        for path, setting in ((self._chain, "TLS_CERT_PATH"), (self._key, "TLS_KEY_PATH")):
            try:
                path.read_bytes()
            except OSError as error:
                raise StartError(f"{setting}: can't read {path}: {error.strerror}") from error
        try:
            context.load_cert_chain(self._chain, self._key, password=_no_password)
        except (OSError, ValueError) as error:
            raise StartError(
                f"TLS_CERT_PATH, TLS_KEY_PATH: {self._chain} and {self._key} can't be used "
                f"({_reason(error)}). They are PEM: the certificate first, then its issuers, in "
                "the one file, and its key, without a password, in the other"
            ) from error


def _no_password() -> str:
    raise ValueError("the key has a password")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error)


class ContainedServer(tcp_server.TCPServer):
    """One HTTP connection, whose errors end nothing but itself.

    Hypercorn lets errors in its protocols propagate to the nursery of all connections, and visitors can cause
    them: data before a websocket is accepted was enough to end the daemon.
    """

    _logged = TokenBucket(10, 1 / 6, clock=time.monotonic)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        connection = getattr(self.stream, "transport_stream", self.stream).socket
        self.state = {**self.state, TRANSPORT: partial(transport, connection)}
        self.stream = MeteredStream(  # type: ignore[assignment]
            self.stream,
            lambda: isinstance(self.protocol.protocol, H2Protocol),
            address_budget(connection),
            slow_readers_of(self.config),
        )

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
    end_stalled_requests()
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
    """An application behind trusted proxies, which sees the client's address and scheme.

    A proxy appends the client's address to `X-Forwarded-For`, and anybody may have written what comes before it. So
    the list is read from its end, as long as trusted proxies wrote it.
    """

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
