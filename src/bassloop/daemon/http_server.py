"""The HTTP servers: their sockets, and Hypercorn on them."""

from __future__ import annotations

import socket
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

import hypercorn.trio
import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio import run as hypercorn_run
from hypercorn.trio import tcp_server

from bassloop.concurrency import TokenBucket
from bassloop.daemon.errors import StartError
from bassloop.setting_types import parse_address, reached

if TYPE_CHECKING:
    from bassloop.daemon.certificates import Certificate

log = structlog.get_logger(__name__)

READ_BYTES = 16 << 10
"""How much of a request is parsed at once; a header of 64 KiB would hold the loop for too long."""


def bind(address: str, setting: str) -> socket.socket:
    """Return a socket that has `HOST:PORT`, and refuses connections until `start_listening`.

    Raises StartError, which names the setting, if it can't.
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
    """Let a socket take connections. Raises StartError if another process has its address by now."""
    try:
        listening.listen(128)
    except OSError as error:
        raise StartError(f"{setting}: can't listen: {error.strerror}") from error


def drop_slow_readers(listening: socket.socket, seconds: float) -> None:
    """Have the kernel reset connections whose other end acknowledges nothing for so long.

    Hypercorn shields its sends from cancellation, so one reader who has stopped would keep its task, and the
    daemon, from ever ending. macOS has no such option, and there it does.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = max(int(seconds * 1000), 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def local_address(listening: socket.socket) -> str:
    """Return the `HOST:PORT` at which this machine reaches a socket."""
    return reached(*listening.getsockname()[:2])


class ContainedServer(tcp_server.TCPServer):
    """One HTTP connection, whose errors end it and nothing else.

    Hypercorn lets errors of its protocols through to the nursery of all connections, and a visitor can cause
    them: data before a websocket is accepted was enough to end the daemon.
    """

    _logged = TokenBucket(10, 1 / 6, clock=time.monotonic)

    async def run(self) -> None:
        try:
            await super().run()
        except* Exception as errors:  # noqa: BLE001  (whatever its bytes provoke is its fault)
            if self._logged.take():
                log.warning("http connection failed", error=_first(errors))


def _first(errors: BaseException) -> str:
    """Return the first error of a group, and where it was raised."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return "".join(traceback.format_exception(errors)[-2:])


def contain_connections() -> None:
    """Have Hypercorn serve connections with `ContainedServer`, a little at a time. It has no settings for either."""
    hypercorn_run.TCPServer = ContainedServer  # type: ignore[attr-defined]
    tcp_server.MAX_RECV = READ_BYTES


async def serve_http(
    app: Any,
    listening: socket.socket,
    stop: trio.Event,
    certificate: Certificate | None = None,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application on `listening` until `stop` is set, and close the socket then."""
    contain_connections()
    config = _config(listening)
    if certificate is not None:
        certificate.bind(config)
    serving = partial(hypercorn.trio.serve, app, config, mode="asgi")
    await serving(shutdown_trigger=stop.wait, task_status=task_status)


def _config(listening: socket.socket) -> Config:
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.graceful_timeout = 3.0
    config.shutdown_timeout = 5.0
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    config.websocket_ping_interval = 20.0
    config.websocket_max_message_size = 64 * 1024  # pages send little
    return config
