"""The service manager hears what systemd's protocol says, and nothing keeps the daemon from working."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from bassloop.telemetry.watchdog import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    """Listens where a service manager would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.setblocking(False)
        yield listening


def received_notifications(listening: socket.socket) -> list[str]:
    """All that was said since."""
    said = []
    while True:
        try:
            said.append(listening.recv(4096).decode())
        except BlockingIOError:
            return said


def test_the_service_manager_is_notified_from_start_to_stop(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with manager(path) as listening:
        notifier = Notifier.of({"NOTIFY_SOCKET": path})
        notifier.ready()
        notifier.status("2 runtimes\nREADY=0")
        notifier.status("2 runtimes\nREADY=0")
        notifier.stopping(60)
        said = received_notifications(listening)
    assert said == [
        "READY=1",
        "STATUS=2 runtimes READY=0",
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000",
    ]


def test_a_reload_is_announced_with_the_monotonic_time(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with manager(path) as listening:
        Notifier.of({"NOTIFY_SOCKET": path}).reloading()
        [said] = received_notifications(listening)
    assert said.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert said.rpartition("=")[2].isdigit()


def test_an_abstract_address_is_understood() -> None:
    name = f"bassloop-{os.getpid()}"
    with manager(f"\0{name}") as listening:
        Notifier.of({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert received_notifications(listening) == ["READY=1"]


async def test_the_watchdog_is_fed_four_times_as_often_as_it_needs(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = str(tmp_path / "notify")
    with manager(path) as listening:
        env = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "8000000", "WATCHDOG_PID": str(os.getpid())}
        notifier = Notifier.of(env)
        for _ in range(17):
            notifier.feed()
            await trio.sleep(0.5)
        assert received_notifications(listening) == ["WATCHDOG=1"] * 5


def test_a_watchdog_for_another_process_is_ignored() -> None:
    env = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "8000000", "WATCHDOG_PID": "1"}
    assert Notifier.of(env).watchdog_seconds is None


def test_a_missing_listener_is_no_error() -> None:
    Notifier.of({}).ready()
    Notifier.of({"NOTIFY_SOCKET": "/nowhere/at/all"}).ready()
