"""The daemon's unit under a systemd that was booted for it: it starts, evaluates hooks, and comes back."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bassloop.tools.setup.unit_files import ServeFacts, serve_unit
from bassloop.tools.trial import app_key

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.booted, pytest.mark.timeout(600)]

CREDENTIALS = Path("/etc/bass-loop/credentials")
KEY, SECRET = "GITHUB_APP_PRIVATE_KEY", "GITHUB_APP_WEBHOOK_SECRET"
SETTINGS = """
LISTEN=127.0.0.1:8000
SSH_ADDR=127.0.0.1:6455
GITHUB_API_URL=http://127.0.0.1:9
GITHUB_APP_ID=1
"""
BOOT = Path(__file__).with_name("boot_systemd.sh")
IMPORTED = "bassloop.cli.serve", "bassloop.daemon.serve", "bassloop.evaluator.fork_server"
"""Modules that the daemon's processes import; compiled once for all that are started."""


@dataclass
class Machine:
    """A systemd that runs. `pid` is that of its first process, as this machine counts."""

    pid: int

    def command(self, *command: str) -> list[str]:
        """Return a command that runs another one inside."""
        inside = ["nsenter", "-t", str(self.pid), "-m", "-p", "-C", "-i", "-u", "-n", "-r", "-w"]
        path = f"PATH={Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        return [*inside, "env", "-i", path, "HOME=/root", *command]

    def run(self, *command: str, text: str = "") -> str:
        """Run a command inside, and return what it prints."""
        done = subprocess.run(
            self.command(*command), input=text, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def write(self, path: Path, text: str, mode: int = 0o600) -> None:
        """Write a file."""
        self.run("install", "-D", "-m", f"{mode:o}", "/dev/stdin", str(path), text=text)

    def shown(self, name: str) -> str:
        """Return a property of the daemon's unit."""
        return self.run("systemctl", "show", "bass-loop", "--value", "-p", name)

    @contextmanager
    def following(self) -> Iterator[Iterator[str]]:
        """Give the lines that are said of, or by, the unit from now on, which are shown if the test fails."""
        follow = self.command("journalctl", "-u", "bass-loop", "-o", "cat", "-f", "-n", "0")
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as journal:
            assert journal.stdout is not None
            try:
                yield (self._shown(line) for line in journal.stdout)
            finally:
                journal.kill()

    @staticmethod
    def _shown(line: str) -> str:
        print(line, end="")
        return line


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(120)
        booting = subprocess.Popen([str(BOOT), str(tmp_path)])
        with booting, killed_at_the_end(booting):
            while b"READY=1" not in notified.recv(4096).splitlines():
                pass
            # systemd goes on to notify, and would block on a socket that is open but isn't read.
            notified.close()
            children = Path(f"/proc/{booting.pid}/task/{booting.pid}/children")
            yield Machine(int(children.read_text()))


@contextmanager
def killed_at_the_end(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill a process at the end."""
    try:
        yield
    finally:
        process.kill()


def open_up(machine: Machine) -> None:
    """Let everybody read the Python that runs this test, whose user's home may be closed, and its libraries."""
    paths = {sys.executable, os.path.realpath(sys.executable), *filter(None, sys.path)}
    parents = {str(parent) for path in paths for parent in Path(path).parents}
    machine.run("chmod", "o+rx", *sorted(parents))
    machine.run(
        "env",
        f"PYTHONPATH={os.pathsep.join(filter(None, sys.path))}",
        *(sys.executable, "-c", f"import {', '.join(IMPORTED)}"),
    )


def until(lines: Iterator[str], text: str) -> str:
    """Return the next line with a text."""
    return next(line for line in lines if text in line)


def until_restarted(lines: Iterator[str]) -> None:
    """Wait until systemd knows that the daemon is ready again: one that is stopped before isn't watched yet."""
    until(lines, "Scheduled restart job")
    until(lines, "Started bass-loop.service")


def test_the_daemon_evaluates_hooks_and_comes_back_when_it_is_killed_or_hangs(
    machine: Machine,
) -> None:
    open_up(machine)
    credentials = {KEY: app_key().private, SECRET: "secret"}
    for name, content in credentials.items():
        machine.write(CREDENTIALS / name, content)
    machine.write(CREDENTIALS.parent / "settings.env", SETTINGS)
    facts = ServeFacts(
        (sys.executable, "-m", "bassloop", "serve"),
        credentials=tuple((name, CREDENTIALS / name) for name in credentials),
    )
    unit = serve_unit(facts)
    # As it is installed, but for the test's own Python, which may be in somebody's home.
    for shipped, here in (
        ("ProtectHome=yes", "ProtectHome=read-only"),
        ("WatchdogSec=30", "WatchdogSec=15"),
        ("Environment=", f"Environment=PYTHONPATH={os.pathsep.join(filter(None, sys.path))} "),
    ):
        assert unit.count(shipped) == 1
        unit = unit.replace(shipped, here)
    machine.write(Path("/etc/systemd/system/bass-loop.service"), unit, 0o644)
    machine.run("systemctl", "daemon-reload")
    with machine.following() as said:
        machine.run("systemctl", "start", "bass-loop")
        until(said, '"event": "ready"')
        assert "no network, no processes" in until(said, "ready to evaluate hooks")
        assert machine.shown("StatusText").startswith("0 runtimes")

        machine.run("systemctl", "kill", "-s", "KILL", "--kill-whom=main", "bass-loop")
        until_restarted(said)

        machine.run("systemctl", "kill", "-s", "STOP", "--kill-whom=main", "bass-loop")
        until(said, "Watchdog timeout")
        until_restarted(said)
        assert machine.shown("NRestarts") == "2"

        machine.run("systemctl", "restart", "bass-loop")
        until(said, '"event": "stopped"')
        until(said, '"event": "ready"')
        machine.run("systemctl", "stop", "bass-loop")
        assert machine.shown("Result") == "success"
