"""Find out what this machine lacks for a project's checks: a container engine, or newer versions of programs."""

from __future__ import annotations

import os
import re
import subprocess
from shutil import which
from typing import TYPE_CHECKING

from bassloop.project.manifests import required_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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

SECONDS = 10.0
"""The time limit for a program that prints its version."""


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


def explain_old_programs(read: Callable[[str], str | None]) -> list[str]:
    """Return which of this machine's programs are older than a project requires.

    Runs those programs, once each. Blocks.

    Args:
        read: returns the text of a file at the project's root, None if there is none.
    """
    return list(dict.fromkeys(_explain(read)))


def _explain(read: Callable[[str], str | None]) -> Iterator[str]:
    found: dict[str, str] = {}
    for each in required_versions(read):
        if each.program not in found:
            found[each.program] = _version_of(each.program)
        version = found[each.program]
        if version and tuple(map(int, version.split("."))) < each.version:
            wanted = ".".join(map(str, each.version))
            yield (
                f"this machine has {each.language} {version}, and {each.source} requires {wanted} or newer"
            )


def _version_of(program: str) -> str:
    """Return a program's version; "" if it isn't installed or doesn't print one."""
    path = which(program)
    if path is None:
        return ""
    try:
        # In a folder without files in which a version manager looks for another version.
        done = subprocess.run(
            [path, "--version"],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    numbers = re.search(r"\d+(?:\.\d+)+", done.stdout)
    return numbers[0] if numbers else ""
