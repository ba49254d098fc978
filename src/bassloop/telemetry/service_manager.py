"""Notifies the service manager: systemd's protocol, a datagram of `NAME=value` lines.

https://www.freedesktop.org/software/systemd/man/sd_notify.html
"""

from __future__ import annotations

import math
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(eq=False)
class Notifier:
    """Tells the service manager how the daemon is; without one, nothing is told.

    Nothing of it waits or raises: a manager that does not listen is no reason to end.

    Args:
        address: where it listens; None when nobody does.
        watchdog_seconds: how often it wants to hear from us at least; None when it does not.
    """

    address: str | None = None
    watchdog_seconds: float | None = None
    _status: str = ""
    _fed_at: float = -math.inf

    @classmethod
    def of(cls, env: Mapping[str, str] = os.environ) -> Notifier:
        """The one that the environment names."""
        address, seconds = env.get("NOTIFY_SOCKET"), env.get("WATCHDOG_USEC", "")
        mine = env.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = address and mine and seconds.isdigit() and int(seconds)
        return cls(address, int(seconds) / 1e6 if watched else None)

    def ready(self) -> None:
        """The daemon has started, or has taken its new settings."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The daemon takes new settings; `ready` says when it has."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, seconds: float) -> None:
        """The daemon ends, and takes so long for it at most."""
        self._tell(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, text: str) -> None:
        """Report the daemon's state, in a line for people. The same line twice is sent once."""
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={' '.join(text.split())}")

    def feed(self) -> None:
        """The watchdog hears that the loop turns, as often as it needs to."""
        now = trio.current_time()
        if self.watchdog_seconds and not 0 <= now - self._fed_at < self.watchdog_seconds / 4:
            self._fed_at = now
            self._tell("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        if self.address is None:
            return
        where = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as own,
        ):
            own.setblocking(False)
            own.sendto(text.encode(), where)
