"""The PROXY protocol, version 2: what a balancer says of a client's address before the client's first byte. No I/O.

    reader = HeaderReader()
    while reader.wanted:
        reader.feed(await stream.receive_some(reader.wanted))
    reader.source

It never wants more than the header has, so that the bytes after it are left for whoever speaks next.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
MAX_HEADER = 1024
"""The bytes of a header, at most. Addresses take 52, and what balancers add to them is small."""

_START = struct.Struct(">12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_TCP_OVER_IPV4, _TCP_OVER_IPV6 = 0x11, 0x21
_UNSPECIFIED = 0x00
_VERSION_1 = b"PROXY "


class BadHeader(ValueError):
    """These bytes aren't a header of version 2; the message says what they are instead."""


class HeaderReader:
    """Reads a header from the bytes that are fed to it, however they are divided.

    Attributes:
        wanted: the bytes that may be fed next, at most; 0 once the header is complete.
        source: then, the client's address, or None if the balancer speaks for itself.
    """

    def __init__(self) -> None:
        self.wanted = _START.size
        self.source: IPv4Address | IPv6Address | None = None
        self._data = b""
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises BadHeader as soon as they can't be a header any more."""
        if len(data) > self.wanted:
            raise ValueError(f"{len(data)} bytes were fed, and {self.wanted} were wanted")
        self._data += data
        self.wanted -= len(data)
        if not self._size:
            self._check_signature()
        if self.wanted:
            return
        if not self._size:
            self._size = self.wanted = self._read_start()
        if not self.wanted:
            self.source = self._read_source()

    def _check_signature(self) -> None:
        start = self._data[: len(SIGNATURE)]
        if SIGNATURE.startswith(start):
            return
        if start.startswith(_VERSION_1[: len(start)]):
            if len(start) < len(_VERSION_1):
                return
            raise BadHeader("it is version 1 of the PROXY protocol; send version 2 (send-proxy-v2)")
        raise BadHeader("there is no header of the PROXY protocol; send version 2 (send-proxy-v2)")

    def _read_start(self) -> int:
        """Return how many bytes follow the start of the header."""
        _, command, _, size = _START.unpack(self._data)
        if command not in (_LOCAL, _PROXY):
            raise BadHeader(f"version and command {command:#04x} are unknown")
        if _START.size + size > MAX_HEADER:
            raise BadHeader(f"the header has more than {MAX_HEADER} bytes")
        return int(size)

    def _read_source(self) -> IPv4Address | IPv6Address | None:
        _, command, family, size = _START.unpack_from(self._data)
        body = self._data[_START.size :]
        if command == _LOCAL or family == _UNSPECIFIED:
            return None
        if family == _TCP_OVER_IPV4 and size >= 12:
            return IPv4Address(body[:4])
        if family == _TCP_OVER_IPV6 and size >= 36:
            address = IPv6Address(body[:16])
            return address.ipv4_mapped or address
        raise BadHeader(f"it has no address of TCP (family {family:#04x}, {size} bytes)")
