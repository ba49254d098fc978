"""The oldest versions of languages with which a project works, according to its own files. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bassloop.project.node_project import manager_package, read_manifest
from bassloop.project.pinned_versions import parse_toml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LEAST = re.compile(r"(?:>=|[~^])?\s*v?(\d+(?:\.\d+)*)")
_PNPM = {10: "18.12", 11: "22.13"}
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
    return [*_node(read), *_python(read), *_rust(read)]


def _node(read: Callable[[str], str | None]) -> Iterator[RequiredVersion]:
    engines = read_manifest(read).get("engines")
    ranges = str(engines.get("node") or "") if isinstance(engines, dict) else ""
    least = [_least(each) for each in ranges.split("||")]
    if all(least):
        yield RequiredVersion("Node", "node", min(map(_numbers, least)), "engines in package.json")
    manager = manager_package(read)
    if (found := re.fullmatch(r"pnpm@(\d+)\b.*", manager)) and (wanted := _PNPM.get(int(found[1]))):
        source = f"packageManager in package.json ({manager})"
        yield RequiredVersion("Node", "node", _numbers(wanted), source)


def _python(read: Callable[[str], str | None]) -> Iterator[RequiredVersion]:
    wanted = _table(parse_toml(read("pyproject.toml")).get("project")).get("requires-python")
    bounds = [each.strip() for each in str(wanted or "").split(",")]
    for bound in bounds:
        if bound.startswith((">=", "~=")) and (least := _least(f">={bound[2:]}")):
            source = "requires-python in pyproject.toml"
            yield RequiredVersion("Python", "python3", _numbers(least), source)


def _rust(read: Callable[[str], str | None]) -> Iterator[RequiredVersion]:
    wanted = _table(parse_toml(read("Cargo.toml")).get("package")).get("rust-version")
    if least := _least(str(wanted or "")):
        yield RequiredVersion("Rust", "rustc", _numbers(least), "rust-version in Cargo.toml")


def _least(bound: str) -> str:
    """Return the lowest version that a part of a range allows; "" if it has no lower bound."""
    found = _LEAST.match(bound.strip())
    return found[1] if found else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each[:9]) for each in version.split("."))


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
