"""The sockets that the daemon listens on, and their addresses."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from bassloop.settings import parse_address, reached


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


def drop_slow(listening: socket.socket, seconds: float) -> None:
    """Have the system break off connections whose other end does not read for so long.

    Hypercorn shields what it sends from cancellation, so that one reader who stopped would hold its
    task, and the daemon's end, for ever. Where the system can't (macOS), it does.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = max(int(seconds * 1000), 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def shown(listening: socket.socket) -> str:
    """`HOST:PORT` as this machine reaches it."""
    return reached(*listening.getsockname()[:2])


def host_of(url: str) -> str:
    """The host's name in an address."""
    return urlsplit(url).hostname or "localhost"
