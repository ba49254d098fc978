"""The HTTP server in front of the pages: Hypercorn, on a socket that is open already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypercorn.config import Config

if TYPE_CHECKING:
    import socket

    from bassloop.config import Settings


def http_config(settings: Settings, listening: socket.socket) -> Config:
    """How pages are served on `listening`, which is the server's to close from now on."""
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.graceful_timeout = 3.0
    config.shutdown_timeout = 5.0
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    config.websocket_ping_interval = 20.0
    config.websocket_max_message_size = 64 * 1024  # pages say little
    config.certfile = str(settings.tls_cert_path) if settings.tls_cert_path else None
    config.keyfile = str(settings.tls_key_path) if settings.tls_key_path else None
    return config
