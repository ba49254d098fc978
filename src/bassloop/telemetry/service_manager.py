"""Notifications to the service manager, in systemd's protocol: datagrams of `NAME=value` lines.

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
    """Notifies the service manager of the daemon's state, if there is one.

    No method blocks or raises: the daemon goes on if the manager doesn't listen.

    Args:
        address: the manager's socket, or None.
        watchdog_seconds: the manager's watchdog timeout, or None.
    """

    address: str | None = None
    watchdog_seconds: float | None = None
    _status: str = ""
    _fed_at: float = -math.inf

    @classmethod
    def of(cls, env: Mapping[str, str] = os.environ) -> Notifier:
        """Return a notifier for the manager named by the environment."""
        address, seconds = env.get("NOTIFY_SOCKET"), env.get("WATCHDOG_USEC", "")
        mine = env.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = address and mine and seconds.isdigit() and int(seconds)
        return cls(address, int(seconds) / 1e6 if watched else None)

    def ready(self) -> None:
        """Say that the daemon has started, or has reloaded."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Say that the daemon is reloading. Call `ready` when it's done."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, seconds: float) -> None:
        """Say that the daemon is stopping, and how long that may take."""
        self._tell(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, text: str) -> None:
        """Report the daemon's state as a line for people, if it has changed."""
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={' '.join(text.split())}")

    def feed(self) -> None:
        """Feed the watchdog, as often as it needs that."""
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
