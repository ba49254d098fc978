"""Whether a container engine is installed on this machine, and the command that installs one."""

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
"""The command for each package manager, by the name of its program."""


def has_engine() -> bool:
    """Return whether a program of a container engine is installed, working or not."""
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
    """Return what to do to have an engine, as the beginning of a sentence."""
    command = install_command()
    return f"Install Podman ({command}) or Docker" if command else "Install Podman or Docker"
