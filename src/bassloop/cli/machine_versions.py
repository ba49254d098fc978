"""Compare the versions of this machine's programs with those that a project requires."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from bassloop.project.manifests import required_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 10.0
"""The time limit for a program that prints its version."""


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
    path = shutil.which(program)
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
