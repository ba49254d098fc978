"""Read `[checks.NAME]` from the file, and report mistakes with their lines.

The file also contains the repository's policy (:mod:`bassloop.access.policy`), which is read from the default branch,
while checks are read from the commit to check. A number in `[checks]` is part of the policy: a limit for the check of
that name.
"""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bassloop.project.compiling import VARIABLE, TooManyJobs, jobs
from bassloop.project.declaration import (
    CHECKS_FILE,
    CheckDeclaration,
    ChecksFile,
    Service,
    When,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

MAX_FILE = 256 << 10
MAX_PROBLEMS = 20

_BARE_WORDS = re.compile(
    r"""\s*(?P<key>[\w.-]+)\s*=\s*(?P<words>[A-Za-z./_][^"'\\#\[\]{}]{0,200})"""
)
_HEADER = re.compile(r"^\s*\[\[?\s*(?P<keys>[^\]]+?)\s*\]\]?")
_PAIR = re.compile(
    r"^\s*(?P<keys>(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*="
)
_KEY = re.compile(r"[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'")


class ChecksFileError(Exception):
    """A file with invalid checks. The message has a line ``FILE:LINE: problem`` for each mistake."""


def read_checks(content: bytes, name: str = CHECKS_FILE) -> dict[str, CheckDeclaration]:
    """Return the checks that a file declares, by name; none if it has no `[checks]`.

    Raises ChecksFileError.
    """
    if len(content) > MAX_FILE:
        raise ChecksFileError(f"{name}: the file is longer than {MAX_FILE >> 10} KiB")
    try:
        text = content.decode("utf-8-sig")  # some editors add a byte order mark
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ChecksFileError(f"{name}:{line}: this is not UTF-8 text") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ChecksFileError(_syntax(name, text, str(error))) from error
    except RecursionError as error:
        raise ChecksFileError(f"{name}: values are nested too deeply") from error
    table = data.get("checks", {})
    if isinstance(table, dict):
        table = {key: value for key, value in table.items() if not isinstance(value, (int, float))}
    lines = TomlLines(text)
    try:
        checks = ChecksFile.model_validate({"checks": table}).checks
    except ValidationError as error:
        problems = _problems(name, lines, error.errors())
        raise ChecksFileError("\n".join(dict.fromkeys(problems[:MAX_PROBLEMS]))) from error
    problems = list(_inconsistencies(checks, name, lines))
    if problems:
        raise ChecksFileError("\n".join(problems[:MAX_PROBLEMS]))
    return checks


def _syntax(name: str, text: str, message: str) -> str:
    found = re.search(r"\(at line (\d+), column (\d+)\)", message)
    if found is None:
        return f"{name}: this is not TOML: {message}"
    problem = message[: found.start()].strip()
    line = text.split("\n")[int(found[1]) - 1 :][:1]
    if problem == "Invalid value" and line and (bare := _BARE_WORDS.fullmatch(line[0].rstrip())):
        problem += f'; text needs quotes: {bare["key"]} = "{bare["words"]}"'
    return f"{name}:{found[1]}:{found[2]}: this is not TOML: {problem}"


class TomlLines:
    """The lines of keys, which `tomllib` doesn't report.

    Headers and keys are found by patterns. Keys in an inline table have the line on which the table begins.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                table = _keys(header["keys"])
                for length in range(1, len(table) + 1):
                    self._lines.setdefault(table[:length], number)
            elif pair := _PAIR.match(line):
                keys = (*table, *_keys(pair["keys"]))
                for length in range(len(table) + 1, len(keys) + 1):
                    self._lines.setdefault(keys[:length], number)

    def line(self, path: Sequence[object]) -> int | None:
        """Return the line of a key, or of the innermost table around it; None if neither is found."""
        keys = tuple(str(part) for part in path)
        for length in range(len(keys), 0, -1):
            if (line := self._lines.get(keys[:length])) is not None:
                return line
        return None


def _keys(text: str) -> tuple[str, ...]:
    return tuple(key.strip("\"'") for key in _KEY.findall(text))


_WRONG_TYPES = {
    "string_type": "it must be a text, in quotes",
    "list_type": 'it must be a list, as in ["…"]',
    "dict_type": "it must be a table, as in { name = … }",
    "model_type": "it must be a table, as in { name = … }",
    "int_type": "it must be a whole number",
}
_WRONG_VALUES = {
    "literal_error": "{input!r} must be {expected}",
    "greater_than": "{input} must be greater than {gt}",
    "greater_than_equal": "{input} must be {ge} or greater",
    "less_than_equal": "{input} must be {le} or less",
    "string_too_long": "it must have {max_length:,} characters at most",
    "too_long": "it must have {max_length} entries at most",
    "too_short": "it must not be empty",
}
_EXAMPLES = {"image": '"postgres:17"', "port": "5432", "run": '"pytest"'}


def _problems(name: str, lines: TomlLines, errors: Sequence[Any]) -> list[str]:
    """Return pydantic's errors as lines of the message. A key that is only misspelled isn't reported as missing."""
    misspelled = {
        (*path[:-1], _similar_key(path))
        for error in errors
        if error["type"] == "extra_forbidden" and (path := _path(error))
    }
    return [
        _problem(name, lines, error)
        for error in errors
        if error["type"] != "missing" or tuple(_path(error)) not in misspelled
    ]


def _path(error: Any) -> list[str | int]:
    return [part for part in error["loc"] if not _internal(part)]


def _known_keys(path: Sequence[str | int]) -> list[str]:
    """Return the keys that there are in the table around a path."""
    model: type[BaseModel] = CheckDeclaration
    if len(path) > 3 and path[2] in ("when", "services"):
        model = When if path[2] == "when" else Service
    return sorted(model.model_fields)


def _similar_key(path: Sequence[str | int]) -> str | None:
    """Return the key that a misspelled one is for; None if none is like it."""
    # Two exchanged letters out of three leave a ratio of 0.667.
    similar = get_close_matches(str(path[-1]), _known_keys(path), n=1, cutoff=0.66)
    return similar[0] if similar else None


def _problem(name: str, lines: TomlLines, error: Any) -> str:
    """Return one of pydantic's errors as a line of the message."""
    path = _path(error)
    kind, message = error["type"], error["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        there, similar = _known_keys(path), _similar_key(path)
        meant = f" (did you mean {similar}?)" if similar else ""
        message = f"there is no such key{meant}; there are {', '.join(there)}"
    elif len(path) == 3 and path[-1] == "run" and kind in (*_WRONG_TYPES, "too_short"):
        message = "it must be a line for the shell in quotes, or a list of commands"
    elif kind in _WRONG_TYPES:
        message = _WRONG_TYPES[kind]
    elif kind in _WRONG_VALUES:
        message = _WRONG_VALUES[kind].format(input=error["input"], **error["ctx"])
    elif kind == "missing":
        what, key = ("service" if "services" in path else "check"), str(path[-1])
        message = f"a {what} needs {key}, as in {key} = {_EXAMPLES[key]}"
    where = ".".join(str(part) for part in path)
    return _at(name, lines.line(path), f"{where}: {message}")


def _internal(part: object) -> bool:
    """Return whether a part of an error's path isn't a key, but pydantic's name for a member of a union."""
    names = ("str", "[key]", "int", "float")
    return isinstance(part, str) and (
        part in names or "[" in part or part.startswith("constrained-")
    )


def _at(name: str, line: int | None, message: str) -> str:
    return (f"{name}:{line}: {message}" if line else f"{name}: {message}")[:500]


def _inconsistencies(
    checks: Mapping[str, CheckDeclaration], name: str, lines: TomlLines
) -> list[str]:
    """Return the mistakes in checks that are valid on their own, such as needs that don't exist."""
    found = []
    for check, declared in checks.items():
        for need in declared.all_needs:
            if need not in checks:
                there = ", ".join(sorted(checks))
                key = "needs" if need in declared.needs else "uses"
                message = f"checks.{check}.{key}: there is no check {need!r}; there are {there}"
                found.append(_at(name, lines.line(("checks", check, key)), message))
        for variable in VARIABLE.findall(declared.image or ""):
            if variable not in declared.matrix:
                there = (
                    f"it has {', '.join(declared.matrix)}" if declared.matrix else "there is none"
                )
                message = f"checks.{check}.image: the matrix has no {variable!r}; {there}"
                found.append(_at(name, lines.line(("checks", check, "image")), message))
    if not found and (circle := _circle(checks)):
        message = f"checks.{circle[0]}.needs: these checks need each other: {' → '.join(circle)}"
        found.append(_at(name, lines.line(("checks", circle[0], "needs")), message))
    if not found:
        try:
            jobs(checks)
        except TooManyJobs as error:
            found.append(_at(name, lines.line(("checks",)), f"checks: {error}"))
    return found


def _circle(checks: Mapping[str, CheckDeclaration]) -> list[str] | None:
    """Return checks that need each other in a circle, with the first repeated at the end; None if there are none."""
    done: set[str] = set()
    for start in checks:
        path: list[str] = []
        waiting = [(start, iter(checks[start].all_needs))]
        while waiting:
            name, needs = waiting[-1]
            if name not in path:
                path.append(name)
            need = next((need for need in needs if need not in done), None)
            if need is None:
                done.add(name)
                path.pop()
                waiting.pop()
            elif need in path:
                return [*path[path.index(need) :], need]
            else:
                waiting.append((need, iter(checks[need].all_needs)))
    return None
