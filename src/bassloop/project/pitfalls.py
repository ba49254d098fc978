"""Find what is valid in declared checks, but probably not meant. No I/O."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from bassloop.project.compiling import VARIABLE, jobs
from bassloop.project.toml_text import TomlLines, load_toml

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from bassloop.project.declaration import CheckDeclaration

_EXPRESSION = re.compile(r"\$\{\{\s*(?P<context>[\w-]+)(?:\.(?P<name>[\w-]+))?[^}]{0,200}\}\}")
_LABEL = re.compile(r"(?:ubuntu|windows|macos)-(?:latest|[\d.]+)\Z")
_LOST = re.compile(r"\s*(?:cd|pushd|export|unset|umask|source|\.)\s+[^;&|\n]*\Z")
_SPLIT = re.compile(r"\s*--?[A-Za-z]")


MAX_NAMES = 20
"""The maximum number of checks that a message lists."""


class Pitfall(NamedTuple):
    """A probable mistake.

    Args:
        path: the keys that lead to it.
    """

    path: tuple[str, ...]
    message: str


def find_pitfalls(checks: Mapping[str, CheckDeclaration]) -> Iterator[Pitfall]:
    """Yield the probable mistakes in checks."""
    for name, check in checks.items():
        for key, message in _in_check(check):
            yield Pitfall(("checks", name, key), message)


def pitfall_lines(checks: Mapping[str, CheckDeclaration], text: str, name: str) -> list[str]:
    """Return the probable mistakes as lines ``FILE:LINE: warning: problem``.

    Args:
        text: the file that declares the checks.
        name: what to call it.
    """
    lines = TomlLines(text)
    return [
        f"{name}:{lines.line(each.path)}: warning: {'.'.join(each.path)}: {each.message}"
        for each in find_pitfalls(checks)
    ]


def unmatched_limits(
    text: str, checks: Mapping[str, CheckDeclaration], started: Collection[str], name: str
) -> list[str]:
    """Return lines like `pitfall_lines` for the time limits in `[checks]` of checks that don't exist.

    Args:
        text: the file that declares the checks.
        started: the names of checks that the repository's hook starts.
        name: what to call the file.
    """
    table = load_toml(text).get("checks", {})
    lines = TomlLines(text)
    limits = [key for key, value in table.items() if isinstance(value, (int, float))]
    names = list(dict.fromkeys([*(job.name for job in jobs(checks)), *sorted(started)]))
    there = f"there is {', '.join(names[:MAX_NAMES])}" if names else "there are no checks"
    return [
        f"{name}:{lines.line(('checks', key))}: warning: checks.{key}: a number is a time limit in "
        f"seconds for the check of that name, and there is none; {there}"
        for key in limits
        if key not in names
    ]


def _in_check(check: CheckDeclaration) -> Iterator[tuple[str, str]]:
    if check.image is not None and _LABEL.match(check.image):
        yield (
            "image",
            f'{check.image} is the name of a machine of GitHub, not of an image such as "ubuntu:24.04"',
        )
    texts = [(key, text) for key, text in _texts(check)]
    for key, text in texts:
        for found in _EXPRESSION.finditer(text):
            yield key, _explain_expression(found)
    used = {each for _, text in texts for each in VARIABLE.findall(text)}
    for variable in check.matrix:
        if variable not in used:
            similar = get_close_matches(variable, used, n=1, cutoff=0.75)
            meant = f" (did you mean it by ${{{similar[0]}}}?)" if similar else ""
            yield (
                "matrix",
                f"{variable} is not used{meant}: ${{{variable}}} stands for its value in image, run and env",
            )
    if isinstance(check.run, list):
        yield from _between_lines([each for each in check.run if isinstance(each, str)], check)


def _texts(check: CheckDeclaration) -> Iterator[tuple[str, str]]:
    """Yield the texts in which a matrix's values are inserted, and their keys."""
    for command in check.commands:
        for word in [command] if isinstance(command, str) else command:
            yield "run", word
    if check.image is not None:
        yield "image", check.image
    for key in ("reports", "artifacts"):
        for text in getattr(check, key):
            yield key, text
    for key in ("env", "caches"):
        for text in getattr(check, key).values():
            yield key, text
    for service in check.services.values():
        for text in (service.image, service.run, *service.env.values()):
            yield "services", text


def _explain_expression(found: re.Match[str]) -> str:
    context, name = found["context"], found["name"] or "NAME"
    if context == "matrix":
        fix = f"write ${{{name}}}"
    elif context == "secrets":
        fix = f'write secrets = ["{name}"], and the command has the variable {name}'
    elif context == "env":
        fix = f"write ${name}"
    else:
        fix = "commands have the variables of env"
    return f"{found[0]} is an expression of GitHub Actions, which nothing replaces here: {fix}"


def _between_lines(lines: list[str], check: CheckDeclaration) -> Iterator[tuple[str, str]]:
    """Yield mistakes about lines that are commands of their own, each in a new shell."""
    if len(lines) > 1 and _SPLIT.match(lines[1]):
        whole = " ".join(lines)
        yield "run", f'{lines[1]!r} is a command of its own; for one command write run = "{whole}"'
        return
    for line in lines[:-1]:
        if _LOST.match(line):
            folder = ", or workdir" if line.split()[0] in ("cd", "pushd") else ""
            yield (
                "run",
                f"{line.strip()!r} has no effect on the next command, which has a shell of its own: "
                f"join them with &&{folder}",
            )
            return
