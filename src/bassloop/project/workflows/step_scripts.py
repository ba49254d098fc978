"""Adapt the scripts of a workflow's steps to where checks run. No I/O.

In a container, commands run as root, in an image without most of GitHub's programs and without package lists. Without
an engine, they run in a sandbox with the machine's own programs, and can't install any for the whole system.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUDO = re.compile(r"(^|[;&|()]\s*|\b(?:then|do|else) +)sudo (?:-[EHn]+ )*(?!-)", re.MULTILINE)
"""In a container, commands run as root, and there is no sudo."""

_ASKING = re.compile(
    r"(\bapt(?:-get)?(?: -\S+)* (?:install|upgrade|dist-upgrade))\b(?![^\n;&|]* (?:-\w*y|-qq|--yes|--assume-yes)\b)"
)
"""A command of apt that asks for confirmation. On GitHub's machines, apt is configured not to."""

BASH = re.compile(
    r"\[\[|pipefail|<<<|<\(|=\(|\bsource |\bfunction |(?:^|[\s!])(?:\[|test)\s[^\n;&|]*\s==\s",
    re.MULTILINE,
)
"""What only bash understands in a script."""

_GAP = r"(?:[ \t]|\\\n)+"
_UPDATE = rf"apt(?:-get)?(?:{_GAP}-[\w-]+)*{_GAP}update(?:{_GAP}-[\w-]+)*"
_ONLY_UPDATE = re.compile(rf"^[ \t]*{_UPDATE}[ \t]*(?:\n|\Z)", re.MULTILINE)
_INSTALL = re.compile(rf"\bapt(?:-get)?{_GAP}(?:-\S+{_GAP})*install\b")
_ONLY_INSTALL = re.compile(
    rf"^(?P<indent>[ \t]*)(?:{_UPDATE}[ \t]*(?:&&|;)[ \t]*)?"
    rf"(?P<install>apt(?:-get)?(?:{_GAP}-[\w-]+)*{_GAP}install"
    rf"(?P<words>(?:{_GAP}(?:-[\w-]+|[a-z0-9][a-z0-9+.-]+))+))[ \t]*$",
    re.MULTILINE,
)
"""A line that does nothing but install packages with these names."""

_REPORTS_COVERAGE = re.compile(
    r"codecov\.io/|^\s*(?:npx +|python3? -m +)?(?:codecov|coveralls)\b", re.MULTILINE
)
"""A command that uploads coverage, which isn't a check and needs a token."""

_PUBLISHES = re.compile(
    r"(?:^|&&|;)\s*(?:(?:npx|pnpx|bunx|uvx|pnpm (?:dlx|exec)|yarn dlx|python3? -m|uv run)\s+(?:--?\S+\s+)*)?"
    r"(?:(?:npm|pnpm|yarn|yarn npm|bun|cargo|poetry|uv|flit|hatch|changeset|lerna|vsce|pkg-pr-new)\s+"
    r"(?:--?\S+\s+)*publish|twine\s+upload|gem\s+push|gh\s+release\s+(?:create|upload)|semantic-release)\b(?![^\n]*--dry-run)",
    re.MULTILINE,
)
"""A command that publishes a package or a release. That isn't a check, and nothing to do on a contributor's machine."""

_COREPACK = re.compile(r"^([ \t]*)corepack enable[ \t]*$", re.MULTILINE)
_NOTHING = re.compile(r"\s*(?:true|:|exit(?: 0)?|echo\b[^|&;<>`$]*|#.*)?\s*")
_NODE_INSTALL = re.compile(
    r"\b(?:npm|pnpm|yarn|bun)\b[^\n;&|]*\s(?:install|i|ci|add)\b|^[ \t]*(?:yarn|pnpm)[ \t]*(?:-|$)",
    re.MULTILINE,
)
_NODE_USE = re.compile(r"^[ \t]*(?:npm|pnpm|yarn|npx|pnpx)[ \t]+\S", re.MULTILINE)


def adapt_script(script: str, package_manager: str) -> str:
    """Return a script that does the same as root, without a terminal, and with or without an engine.

    Args:
        package_manager: the npm package that corepack would get.
    """
    script = _SUDO.sub(r"\1", script)
    script = _ASKING.sub(_assume_yes, script)
    # A sandbox doesn't let corepack write beside Node, and newer versions of Node don't contain it.
    install = f"corepack enable 2>/dev/null || npm install --global {package_manager}"
    return _COREPACK.sub(lambda match: match[1] + install, script)


def adapt_packages(commands: Sequence[Any]) -> list[Any]:
    """Return commands that install Debian packages only if some are missing, and update the package lists before that.

    So a check also runs in a sandbox on a machine that has the packages. If a command installs something that isn't
    known, such as the value of a variable, the lists are updated first, and the commands stay as they are.
    """
    texts = [_script_of(command) for command in commands]
    if not any(map(_INSTALL.search, texts)):
        return list(commands)
    if any(_INSTALL.search(_ONLY_INSTALL.sub("", text)) for text in texts):
        has_update = any("apt-get update" in text or "apt update" in text for text in texts)
        return list(commands) if has_update else ["apt-get update", *commands]
    adapted = []
    for command, text in zip(commands, texts, strict=True):
        script = _ONLY_INSTALL.sub(_if_missing, _ONLY_UPDATE.sub("", text)).strip("\n")
        if script.strip():
            adapted.append(script if isinstance(command, str) else (*command[:-1], script))
    return adapted


def sent_elsewhere(script: str) -> str | None:
    """Return what a script does that sends something to others and so isn't a check; None if it doesn't."""
    if _REPORTS_COVERAGE.search(script):
        return "uploads coverage"
    return "publishes something" if _PUBLISHES.search(script) else None


def lacks_node_packages(commands: Sequence[Any]) -> bool:
    """Return whether commands use a project's Node packages, which none of them installs."""
    text = "\n".join(map(_script_of, commands))
    return bool(_NODE_USE.search(text)) and not _NODE_INSTALL.search(text)


def is_idle(commands: Sequence[Any]) -> bool:
    """Return whether commands do nothing, so that they always succeed."""
    lines = "\n".join(map(_script_of, commands)).splitlines()
    return all(map(_NOTHING.fullmatch, lines))


_SEPARATOR = re.compile(r"\n|&&|\|\||;+")
_LED = re.compile(r"(?:(?:then|else|do|exec|time|env|(?:case .* in )?\S+\))[ \t]+|\w+=\S*[ \t]+)+")
_PREPARING = re.compile(
    r"""
    (?:cd|export|unset|set|shopt|echo|printf|mkdir|ls|pwd|cat|cp|mv|ln|rm|chmod|true|:|exit|source|\.|which)(?:\s|$)
    |(?:if|elif|while|until)\s(?:\[|test\s|!\s*\[|command\s-v)|(?:fi|done|esac|then|else|case\s.*)$|for\s|\#|\w+=
    |command\s-v|type\s|dpkg\s-s|curl\s|wget\s|tar\s|unzip\s
    |git\s(?:config|fetch|submodule|lfs|checkout|clone|--version)
    |(?:apt|apt-get|apk|dnf|yum|pacman|brew)\s
    |(?:python[\d.]*\s+-m\s+)?(?:pip[\d.]*|pipx)\s.*\b(?:install|upgrade|list|freeze|config|debug)\b
    |(?:python[\d.]*\s+-m\s+)?(?:venv|virtualenv)\s|python[\d.]*\s+-m\s+venv\s
    |uv\s(?:sync|venv|lock|pip\s|tool\sinstall|python\s|self\s)|(?:poetry|pdm)\s(?:install|config|lock|env)
    |(?:npm|pnpm|yarn|bun)\s(?:.*\s)?(?:i|ci|install|add|config|set|dedupe)(?:\s|$)|yarn$|corepack\s
    |rustup\s|cargo\s(?:install|binstall|fetch)\b|go\s(?:mod\s|install\s|get\s|env|version)
    |(?:bundle|bundler|gem)\s(?:install|config|update)|composer\s(?:install|update|require|config)
    |mix\s(?:deps\.get|local\.)
    |\S+\s(?:-V|-v|--version)$
    """,
    re.VERBOSE,
)
"""The beginning of commands that set up what later ones need, and of the shell's own words around them."""


def is_preparation(commands: Sequence[Any]) -> bool:
    """Return whether commands only install programs, set variables and the like, so that they check nothing."""
    text = "\n".join(map(_script_of, commands)).replace("\\\n", " ")
    parts = (_LED.sub("", part.strip(" \t(){}"), count=1) for part in _SEPARATOR.split(text))
    return all(map(_PREPARING.match, filter(None, parts)))


def shell_word(text: str) -> str:
    """Return a word for the shell, in which nothing is expanded."""
    return "'" + text.replace("'", "'\\''") + "'"


def expanding_word(text: str) -> str:
    """Return a word for the shell, in which variables are still expanded."""
    if re.fullmatch(r"[\w./@:+-]+", text):
        return text
    escaped = re.sub(r'(["\\`])', r"\\\1", text)
    return f'"{escaped}"'


def _script_of(command: Any) -> str:
    return command if isinstance(command, str) else str(command[-1])


def _if_missing(match: re.Match[str]) -> str:
    names = [word for word in match["words"].replace("\\\n", " ").split() if word[0] != "-"]
    wanted = " ".join(names)
    install = " ".join(match["install"].replace("\\\n", " ").split())
    return (
        f"{match['indent']}dpkg -s {wanted} >/dev/null 2>&1 || (apt-get update && {install})"
        if names
        else match[0]
    )


def _assume_yes(match: re.Match[str]) -> str:
    return (
        match[0] if re.search(r" -(?:\w*y|qq|-yes|-assume-yes)\b", match[0]) else f"{match[0]} -y"
    )
