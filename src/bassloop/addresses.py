"""Addresses of this machine, and of others."""

from __future__ import annotations

import ipaddress
import ssl
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
"""The addresses that mean all of a machine's, and those at which it reaches itself."""


def is_loopback(url: str) -> bool:
    """Return whether a URL is this machine's own, which no proxy of the environment reaches."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def split_untrusted(url: str) -> SplitResult:
    """Split a URL from a stranger. One that is malformed, such as ``http://[``, has no parts."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def trusted_certificates(url: str) -> ssl.SSLContext | bool:
    """Return the value of httpx's `verify` for a URL: its default, or an empty context for plain HTTP.

    Loading the certificates would take most of the time of a request to loopback.
    """
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if urlsplit(url).scheme == "http" else True


def parse_ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an IP address, an IPv4 address in IPv6 as itself; or None for another text."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


def is_in(address: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Return whether an address is in one of the networks."""
    parsed = parse_ip(address)
    return parsed is not None and any(parsed in network for network in networks)


def origins(address: str) -> tuple[str, str]:
    """Return what counts as one address, and the network that it is in: for IPv6 a /64 and its /48."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address, address
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        subscriber = ipaddress.ip_network((parsed, 64), strict=False)
        return str(subscriber), str(subscriber.supernet(new_prefix=48))
    plain = str(parsed if parsed.version == 4 else parsed.ipv4_mapped)
    return plain, plain


def parse_address(value: str) -> tuple[str, int]:
    """Return host and port of ``host:port``, ``:port`` (all interfaces) or ``[v6]:port``.

    Raises ValueError, whose message says what is expected.
    """
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:3000 or :6455")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - what :port means


def reached(host: str, port: int) -> str:
    """Return the ``HOST:PORT`` at which this machine reaches a listener's address."""
    host = EVERY_ADDRESS.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
