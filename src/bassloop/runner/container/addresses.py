"""Where services are reached, and how that is written. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bassloop.runner.context import command_line
from bassloop.runner.errors import DriverError

if TYPE_CHECKING:
    from bassloop.wire import bass_pb2 as pb

HOST = "localhost"
"""The services of a call and whoever uses them share one network of their own."""

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+)|(.?))", re.DOTALL)
LISTENING = "0A"


def port_of(thunk: pb.Thunk, name: str) -> int:
    """The number of a thunk's named port. Raises DriverError."""
    for port in thunk.ports:
        if port.name == name:
            if not 0 < port.port < 1 << 16:
                raise DriverError(f"{port.port} is no number of a port")
            return port.port
    raise DriverError(f"{command_line(thunk)} has no port {name!r}")


def written(addr: pb.ThunkAddr) -> str:
    """An address as its format has it, with ``$host`` and ``$port``. Raises DriverError."""
    known = {"host": HOST, "port": str(port_of(addr.thunk, addr.port))}

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in known:
            raise DriverError(f"the address {addr.format!r} may have $host and $port in it only")
        return known[name]

    return _VARIABLE.sub(value, addr.format)


def listening(tables: str) -> set[int]:
    """The TCP ports on which something listens, out of ``/proc/net/tcp`` and ``tcp6``."""
    found = set()
    for line in tables.splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[3] == LISTENING:
            found.add(int(fields[1].rpartition(":")[2], 16))
    return found
