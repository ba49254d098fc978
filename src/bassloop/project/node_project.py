"""How a project for Node installs its packages, from the files at its root. No I/O."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bassloop.project.pinned_versions import MAX_READ, pinned_version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NODE = 22
YARN = "(command -v yarn || npm install --global yarn)"
_PNPM = ("pnpm-lock.yaml", "pnpm-workspace.yaml")
_MARKS = (
    *_PNPM,
    "yarn.lock",
    ".yarnrc.yml",
    "bun.lockb",
    "bun.lock",
    "package-lock.json",
    "npm-shrinkwrap.json",
)
"""The files that show which package manager a project uses."""


@dataclass(frozen=True, slots=True)
class NodeProject:
    """How to work on a project for Node.

    Args:
        install: the command that installs its packages, and its package manager before that.
        run: the beginning of a command that runs a script of package.json.
        scripts: those scripts.
    """

    image: str
    install: str
    run: str
    caches: Mapping[str, str]
    scripts: Mapping[str, Any]


def read_node_project(read: Callable[[str], str | None]) -> NodeProject | None:
    """Return the project; None if there is no package.json.

    Args:
        read: returns the text of a file at the root, None if there is none.
    """
    text = read("package.json")
    if text is None:
        return None
    package = _json(text)
    scripts = package.get("scripts")
    scripts = scripts if isinstance(scripts, dict) else {}
    image = f"node:{_node_version(package, read)}"
    names = {name for name in _MARKS if read(name) is not None}
    manager = manager_package(read)
    if manager.startswith("pnpm") and set(_PNPM) & names:
        install = f"npm install --global {manager}"
        install += " && pnpm install --frozen-lockfile"
        caches = {"pnpm": "/root/.local/share/pnpm/store"}
        return NodeProject(image, install, "pnpm run", caches, scripts)
    if "yarn.lock" in names:
        # The image has Yarn 1; newer versions have another package.
        enable = f"npm install --global {manager}" if manager.startswith("@") else YARN
        caches = {"yarn": "/root/.cache/yarn"}
        return NodeProject(image, f"{enable} && yarn install", "yarn run", caches, scripts)
    if {"bun.lockb", "bun.lock"} & names:
        caches = {"bun": "/root/.bun/install/cache"}
        return NodeProject("oven/bun:1", "bun install", "bun run", caches, scripts)
    locked = {"package-lock.json", "npm-shrinkwrap.json"} & names
    install = "npm ci" if locked else "npm install"
    return NodeProject(image, install, "npm run", {"npm": "/root/.npm"}, scripts)


def manager_package(read: Callable[[str], str | None]) -> str:
    """Return the npm package of a project's package manager, with the version that the project requires, if any."""
    wanted = re.match(
        r"(pnpm|yarn)@(\d[\w.-]*)",
        str(read_manifest(read).get("packageManager", "")),
    )
    if wanted is not None:
        is_new_yarn = wanted[1] == "yarn" and not re.match(r"[01]\b", wanted[2])
        return f"@yarnpkg/cli-dist@{wanted[2]}" if is_new_yarn else wanted[0]
    if any(read(name) is not None for name in _PNPM):
        return "pnpm"  # also if a file of Yarn's was left behind
    if read(".yarnrc.yml") is not None:
        return "@yarnpkg/cli-dist"
    return "yarn" if read("yarn.lock") is not None else "pnpm"


def _node_version(package: Mapping[str, Any], read: Callable[[str], str | None]) -> str:
    """Return the major version of Node that the project requires, or a common one."""
    if pinned := pinned_version("node", read, parts=1):
        return pinned
    engines = package.get("engines")
    wanted = str(engines.get("node") or "") if isinstance(engines, dict) else ""
    least = [int(each) for each in re.findall(r"(?:>=|\^)\s*(\d{1,2})\b", wanted)]
    return str(max(min(least, default=0), NODE))


def read_manifest(read: Callable[[str], str | None]) -> dict[str, Any]:
    """Return the content of package.json; empty if there is none, or if it's invalid."""
    return _json(read("package.json") or "")


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text[:MAX_READ])
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
