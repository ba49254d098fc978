"""A systemd that is booted for a test, over this machine's files, which stay as they are."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BOOT = Path(__file__).with_name("boot_systemd.sh")
CREDENTIALS = Path("/etc/bass-loop/credentials")
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
            self.command(*command), input=text, capture_output=True, text=True, timeout=600
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
    def following(self, *matches: str) -> Iterator[Iterator[str]]:
        """Give the lines that match in the journal from now on, which are shown if the test fails.

        Args:
            matches: journalctl's; by default, what is said of, or by, the daemon's unit.
        """
        match = matches or ("-u", "bass-loop")
        follow = self.command("journalctl", *match, "-o", "cat", "-f", "-n", "0")
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as journal:
            assert journal.stdout is not None
            try:
                yield (_shown(line) for line in journal.stdout)
            finally:
                journal.kill()


@contextmanager
def boot(folder: Path) -> Iterator[Machine]:
    """Boot systemd, and end it and all that it runs at the end.

    Args:
        folder: an empty one.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(folder / "notify"))
        notified.settimeout(300)
        booting = subprocess.Popen([str(BOOT), str(folder)])
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
        f"PYTHONPATH={python_path()}",
        *(sys.executable, "-c", f"import {', '.join(IMPORTED)}"),
    )


def python_path() -> str:
    """Return the PYTHONPATH with which another Python imports what this one does."""
    return os.pathsep.join(filter(None, sys.path))


def changed(text: str, *changes: tuple[str, str]) -> str:
    """Return a unit in which each text, which is there once, is replaced by another one."""
    for shipped, here in changes:
        assert text.count(shipped) == 1, shipped
        text = text.replace(shipped, here)
    return text


def until(lines: Iterator[str], text: str) -> str:
    """Return the next line with a text."""
    return next(line for line in lines if text in line)


def until_restarted(lines: Iterator[str], unit: str = "bass-loop.service") -> None:
    """Wait until systemd knows that a unit is ready again: one that is stopped before isn't watched yet."""
    until(lines, "Scheduled restart job")
    until(lines, f"Started {unit}")


def _shown(line: str) -> str:
    print(line, end="")
    return line
