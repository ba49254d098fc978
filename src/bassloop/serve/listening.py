"""The sockets that the daemon listens on, and their addresses."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from bassloop.config import parse_address


class StartError(Exception):
    """The daemon can't start; the message names the thing and the mend."""


def listen(address: str, setting: str) -> socket.socket:
    """A socket that listens on `HOST:PORT`. Raises StartError, naming the setting, when it can't be had."""
    host, port = parse_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise StartError(f"{setting}: can't listen on {address}: {error.strerror}") from error
    listening.listen(128)
    listening.setblocking(False)
    return listening


def shown(listening: socket.socket) -> str:
    """`HOST:PORT` as this machine reaches it."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - read, not bound
    return f"{host}:{port}"


def host_of(url: str) -> str:
    """The host's name in an address."""
    return urlsplit(url).hostname or "localhost"
