"""The versions of languages that a project pins for its developers, with mise, asdf or a tool's own file. No I/O."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILES = {
    "python": (".python-version",),
    "node": (".node-version", ".nvmrc"),
    "go": (".go-version",),
    "rust": ("rust-toolchain",),
    "ruby": (".ruby-version",),
    "java": (".java-version",),
    "elixir": (),
}
"""Files that only contain a version."""

ASDF = {"node": "nodejs", "go": "golang"}
"""asdf's names of languages, if they differ from the usual ones."""

MISE = ("mise.toml", ".mise.toml", "mise/config.toml", ".mise/config.toml", ".config/mise.toml")
MAX_READ = 1 << 20


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
    for name in FILES[language]:
        yield read(name) or ""
    names = {language, ASDF.get(language, language)}
    for name in MISE:
        tools = parse_toml(read(name)).get("tools")
        for tool in names:
            wanted = tools.get(tool) if isinstance(tools, dict) else None
            wanted = wanted[0] if isinstance(wanted, list) and wanted else wanted
            yield str(wanted.get("version", "") if isinstance(wanted, dict) else wanted or "")
    for line in (read(".tool-versions") or "")[:MAX_READ].splitlines():
        tool, _, wanted = line.partition("#")[0].strip().partition(" ")
        if tool in names:
            yield wanted
    if language == "rust":
        toolchain = parse_toml(read("rust-toolchain.toml")).get("toolchain")
        yield str(toolchain.get("channel", "")) if isinstance(toolchain, dict) else ""


def parse_toml(text: str | None) -> dict[str, Any]:
    """Return a TOML file's content; empty if it's invalid, which the project's own tools will report."""
    try:
        return tomllib.loads((text or "")[:MAX_READ])
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}
