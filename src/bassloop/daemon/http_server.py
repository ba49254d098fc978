"""The HTTP servers: Hypercorn, on sockets that are open already."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import hypercorn.trio
import trio
from hypercorn.config import Config

if TYPE_CHECKING:
    import socket

    from bassloop.daemon.certificates import Certificate


async def serve_http(
    app: Any,
    listening: socket.socket,
    over: trio.Event,
    certificate: Certificate | None = None,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application on `listening`, which is closed at the end, until `over` is set."""
    config = _config(listening)
    if certificate is not None:
        certificate.bind(config)
    serving = partial(hypercorn.trio.serve, app, config, mode="asgi")
    await serving(shutdown_trigger=over.wait, task_status=task_status)


def _config(listening: socket.socket) -> Config:
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.graceful_timeout = 3.0
    config.shutdown_timeout = 5.0
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    config.websocket_ping_interval = 20.0
    config.websocket_max_message_size = 64 * 1024  # pages say little
    return config
