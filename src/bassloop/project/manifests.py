"""What a project's own files ask for: versions of its languages, and how its Node packages are installed. No I/O.

Files that are invalid count as empty, since the project's own tools report them.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# --- versions that a project pins for its developers, with mise, asdf or a tool's own file ---

_VERSION_FILES = {
    "python": (".python-version",),
    "node": (".node-version", ".nvmrc"),
    "go": (".go-version",),
    "rust": ("rust-toolchain",),
    "ruby": (".ruby-version",),
    "java": (".java-version",),
    "elixir": (),
}
"""Files that only contain a version."""

_ASDF = {"node": "nodejs", "go": "golang"}
"""asdf's names of languages, if they differ from the usual ones."""

_MISE = ("mise.toml", ".mise.toml", "mise/config.toml", ".mise/config.toml", ".config/mise.toml")
MAX_READ = 1 << 20
"""The maximum number of characters that are read of a file."""


def pinned_version(language: str, read: Callable[[str], str | None], parts: int = 2) -> str | None:
    """Return the version of a language that a project pins; None if it pins none, or not by number.

    Args:
        read: returns the text of a file of the project, None if there is none.
        parts: the maximum number of components to return.
    """
    for text in _candidates(language, read):
        if found := re.match(r"[a-z]*-?v?(\d+(?:\.\d+)*)", text.strip()):
            return ".".join(found[1].split(".")[:parts])
    return None


def _candidates(language: str, read: Callable[[str], str | None]) -> Iterator[str]:
    for name in _VERSION_FILES[language]:
        yield read(name) or ""
    names = dict.fromkeys((language, _ASDF.get(language, language)))
    for name in _MISE:
        tools = table(parse_toml(read(name)).get("tools"))
        for tool in names:
            wanted = tools.get(tool)
            wanted = wanted[0] if isinstance(wanted, list) and wanted else wanted
            yield str(wanted.get("version", "") if isinstance(wanted, dict) else wanted or "")
    for line in (read(".tool-versions") or "")[:MAX_READ].splitlines():
        tool, _, wanted = line.partition("#")[0].strip().partition(" ")
        if tool in names:
            yield wanted
    if language == "rust":
        yield str(
            table(parse_toml(read("rust-toolchain.toml")).get("toolchain")).get("channel", "")
        )


def parse_toml(text: str | None) -> dict[str, Any]:
    """Return a TOML file's content; empty if there is none, or if it's invalid."""
    try:
        return tomllib.loads((text or "")[:MAX_READ])
    except (ValueError, RecursionError):  # also for a number with thousands of digits
        return {}


def table(value: object) -> dict[Any, Any]:
    """Return a value of a manifest if it's a table, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


# --- the oldest versions with which it works ---

_LEAST = re.compile(r"(?:>=|[~^])?\s*v?(\d+(?:\.\d+)*)")
_NODE_FOR_PNPM = {10: "18.12", 11: "22.13"}
"""The oldest versions of Node for the major versions of pnpm, from the `engines` of its package."""


@dataclass(frozen=True, slots=True)
class RequiredVersion:
    """The oldest version of a language with which a project works.

    Args:
        program: the program that has this version.
        source: what requires it, for messages.
    """

    language: str
    program: str
    version: tuple[int, ...]
    source: str


def required_versions(read: Callable[[str], str | None]) -> list[RequiredVersion]:
    """Return the versions that a project requires; none for what it doesn't say, or not as a lower bound.

    Args:
        read: returns the text of a file at the project's root, None if there is none.
    """
    return [*_required_node(read), *_required_python(read), *_required_rust(read)]


def _required_node(read: Callable[[str], str | None]) -> Iterator[RequiredVersion]:
    ranges = str(table(read_manifest(read).get("engines")).get("node") or "")
    least = [_least(each) for each in ranges.split("||")]
    if all(least):
        yield RequiredVersion(
            "Node", "node", min(map(version_numbers, least)), "engines in package.json"
        )
    manager = manager_package(read)
    if (found := re.fullmatch(r"pnpm@(\d{1,9})\b.*", manager)) and (
        wanted := _NODE_FOR_PNPM.get(int(found[1]))
    ):
        source = f"packageManager in package.json ({manager})"
        yield RequiredVersion("Node", "node", version_numbers(wanted), source)


def _required_python(read: Callable[[str], str | None]) -> Iterator[RequiredVersion]:
    wanted = table(parse_toml(read("pyproject.toml")).get("project")).get("requires-python")
    bounds = [each.strip() for each in str(wanted or "").split(",")]
    for bound in bounds:
        if bound.startswith((">=", "~=")) and (least := _least(f">={bound[2:]}")):
            source = "requires-python in pyproject.toml"
            yield RequiredVersion("Python", "python3", version_numbers(least), source)


def _required_rust(read: Callable[[str], str | None]) -> Iterator[RequiredVersion]:
    wanted = table(parse_toml(read("Cargo.toml")).get("package")).get("rust-version")
    if least := _least(str(wanted or "")):
        yield RequiredVersion("Rust", "rustc", version_numbers(least), "rust-version in Cargo.toml")


def _least(bound: str) -> str:
    """Return the lowest version that a part of a range allows; "" if it has no lower bound."""
    found = _LEAST.match(bound.strip())
    return found[1] if found else ""


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the components of a version as numbers, for comparisons."""
    return tuple(int(each[:9]) for each in version.split("."))


# --- its Node packages ---

NODE = 22
"""The version of Node for a project that doesn't name a newer one."""
YARN = "(command -v yarn || npm install --global yarn)"
_PNPM_FILES = ("pnpm-lock.yaml", "pnpm-workspace.yaml")
_MANAGER_FILES = (
    *_PNPM_FILES,
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
    scripts = table(package.get("scripts"))
    image = f"node:{_node_version(package, read)}"
    names = {name for name in _MANAGER_FILES if read(name) is not None}
    manager = manager_package(read)
    if manager.startswith("pnpm") and set(_PNPM_FILES) & names:
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
    if any(read(name) is not None for name in _PNPM_FILES):
        return "pnpm"  # also if a file of Yarn's was left behind
    if read(".yarnrc.yml") is not None:
        return "@yarnpkg/cli-dist"
    return "yarn" if read("yarn.lock") is not None else "pnpm"


def _node_version(package: Mapping[str, Any], read: Callable[[str], str | None]) -> str:
    """Return the major version of Node that the project requires, or a common one."""
    if pinned := pinned_version("node", read, parts=1):
        return pinned
    wanted = str(table(package.get("engines")).get("node") or "")
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
    return table(value)
