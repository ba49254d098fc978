"""Find out whether a container engine is installed on this machine, and which command installs one."""

from __future__ import annotations

import os
from shutil import which

COMMANDS = {
    "apt": "apt install podman",
    "dnf": "dnf install podman",
    "zypper": "zypper install podman",
    "pacman": "pacman -S podman",
    "apk": "apk add podman",
    "xbps-install": "xbps-install podman",
    "brew": "brew install podman && podman machine init && podman machine start",
}
"""The command that installs Podman, by the package manager's program."""


def has_engine() -> bool:
    """Return whether a container engine's program is installed, whether it works or not."""
    return any(map(which, ("podman", "docker")))


def install_command() -> str | None:
    """Return the command that installs Podman here; None if the package manager isn't known."""
    manager = next(filter(which, COMMANDS), None)
    if manager is None:
        return None
    command = COMMANDS[manager]
    if manager == "brew" or os.geteuid() == 0:
        return command
    return f"sudo {command}" if which("sudo") else f'su -c "{command}"'


def advise_installation() -> str:
    """Return how to get an engine, as the beginning of a sentence."""
    command = install_command()
    return f"Install Podman ({command}) or Docker" if command else "Install Podman or Docker"
