"""Read `[checks.NAME]` from the file, and report mistakes with their lines.

The file also contains the repository's policy (:mod:`bassloop.access.policy`), which is read from the default branch,
while checks are read from the commit to check. A number in `[checks]` is part of the policy: a limit for the check of
that name.
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bassloop.project.compiling import VARIABLE, TooManyJobs, write_bass
from bassloop.project.declaration import CheckDeclaration, ChecksFile, Service, When
from bassloop.project.toml_text import (
    MAX_FILE,
    TomlLines,
    encoding_problem,
    load_toml,
    syntax_problem,
)
from bassloop.repository_files import CONFIG_FILE

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from pydantic import BaseModel

MAX_PROBLEMS = 20
MAX_ERRORS = 10 * MAX_PROBLEMS
"""How many of pydantic's errors are read, of which several may be one problem. A file has room for 20,000."""


class ChecksFileError(Exception):
    """A file with invalid checks. The message has a line ``FILE:LINE: problem`` for each mistake."""


def read_checks(content: bytes, name: str = CONFIG_FILE) -> dict[str, CheckDeclaration]:
    """Return the checks that a file declares, by name; none if it has no `[checks]`.

    Raises ChecksFileError.
    """
    return _read_and_compile(content, name)[0]


def compile_checks(content: bytes, name: str = CONFIG_FILE) -> str | None:
    """Return the hook that the checks that a file declares are compiled to, or None if there are none.

    Raises ChecksFileError.
    """
    checks, source = _read_and_compile(content, name)
    return source if checks else None


def _read_and_compile(content: bytes, name: str) -> tuple[dict[str, CheckDeclaration], str]:
    """Return the checks and the hook. A file is only valid if its checks can be compiled."""
    if len(content) > MAX_FILE:
        raise ChecksFileError(f"{name}: the file is longer than {MAX_FILE >> 10} KiB")
    try:
        text = content.decode("utf-8-sig")  # some editors add a byte order mark
    except UnicodeDecodeError as error:
        raise ChecksFileError(encoding_problem(name, content, error)) from error
    try:
        data = load_toml(text)
    except tomllib.TOMLDecodeError as error:
        raise ChecksFileError(syntax_problem(name, text, str(error))) from error
    table = data.get("checks", {})
    if isinstance(table, dict):
        table = {key: value for key, value in table.items() if not isinstance(value, (int, float))}
    lines = TomlLines(text)
    try:
        checks = ChecksFile.model_validate({"checks": table}).checks
    except ValidationError as error:
        problems = _problems(name, lines, error.errors(include_url=False)[:MAX_ERRORS])
        raise ChecksFileError("\n".join(dict.fromkeys(problems[:MAX_PROBLEMS]))) from error
    if problems := _inconsistencies(checks, name, lines):
        raise ChecksFileError("\n".join(problems[:MAX_PROBLEMS]))
    try:
        return checks, write_bass(checks)
    except TooManyJobs as error:
        raise ChecksFileError(_at(name, lines.line(("checks",)), f"checks: {error}")) from error


def has_policy(content: bytes) -> bool:
    """Return whether a valid file contains anything but checks. Raises ChecksFileError if it isn't TOML."""
    try:
        data = load_toml(content.decode("utf-8-sig"))
    except ValueError as error:
        raise ChecksFileError(str(error)) from error
    checks = data.pop("checks", {})
    return bool(data) or not all(isinstance(each, dict | str | list) for each in checks.values())


_WRONG_TYPES = {
    "string_type": "it must be a text, in quotes",
    "list_type": 'it must be a list, as in ["…"]',
    "dict_type": "it must be a table, as in { name = … }",
    "model_type": "it must be a table, as in { name = … }",
    "int_type": "it must be a whole number",
    "float_type": "it must be a number",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
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
_SERVICE_RUN = '"docker-entrypoint.sh postgres"'

_SYNONYMS = {
    "after": "needs",
    "command": "run",
    "commands": "run",
    "cmd": "run",
    "container": "image",
    "cwd": "workdir",
    "dependencies": "needs",
    "depends": "needs",
    "depends-on": "needs",
    "depends_on": "needs",
    "directory": "workdir",
    "docker": "image",
    "environment": "env",
    "exec": "run",
    "junit": "reports",
    "on": "when",
    "script": "run",
    "scripts": "run",
    "steps": "run",
    "strategy": "matrix",
    "timeout-minutes": "timeout",
    "timeout_minutes": "timeout",
    "variables": "env",
    "working-directory": "workdir",
    "working_directory": "workdir",
}
"""What other systems call a key."""

_WITHOUT_COUNTERPART = {
    "branches": 'write when = { branches = ["main"] }',
    "concurrency": "with supersede = true, above all tables, a push cancels the runs of the one before",
    "continue-on-error": "a command that may fail ends with || true",
    "events": 'write when = { events = ["push"] }',
    "if": "when = { events = […], branches = […] } says when a check runs",
    "permissions": 'a check gets no token of GitHub\'s; what it needs is named in secrets = ["NAME"]',
    "runs-on": "a check runs on the machine of whoever pushed, and image chooses its programs",
    "shell": 'lines run in sh; for another shell write run = [["bash", "-c", "…"]]',
    "with": "an action of GitHub Actions is written as commands in run",
}
"""What to do instead of using a key of other systems that checks don't have."""

_NO_ACTIONS = (
    "it must be a list of checks whose artifacts this one needs; an action of GitHub Actions is written as commands in "
    "run"
)
_NO_COMBINATIONS = (
    "a matrix has no {key}, only lists of values: write other combinations as checks of their own"
)


def value_problem(error: Any) -> str:
    """Return what is wrong with a value, from pydantic's error, as text for people."""
    kind = error["type"]
    if kind in _WRONG_TYPES:
        return _WRONG_TYPES[kind]
    if kind in _WRONG_VALUES:
        return _WRONG_VALUES[kind].format(input=error["input"], **error["ctx"])
    return str(error["msg"]).removeprefix("Value error, ")


def advise_on_key(key: str) -> str | None:
    """Return what to do instead of using another system's key, or None if that's unknown."""
    return _WITHOUT_COUNTERPART.get(key.lower())


def _problems(name: str, lines: TomlLines, errors: Sequence[Any]) -> list[str]:
    """Return pydantic's errors as lines of the message. A key that is only misspelled isn't reported as missing."""
    misspelled: set[tuple[object, ...]] = set()
    for error in errors:
        if error["type"] == "extra_forbidden" and (path := _path(error)):
            misspelled.add((*path[:-1], _similar_key(path)))
            if _is_check(path, error["input"]):
                misspelled.add((*path[:-1], None, "table"))
    blank = {_path(error)[1] for error in errors if _is_blank(error)}
    errors = [each for each in errors if not (_is_wrong_run(each) and _path(each)[1] in blank)]
    runs = {tuple(_path(error)) for error in errors if _is_wrong_run(error)}
    return [
        _problem(name, lines, error)
        for error in errors
        # A list may be wrong in several ways, as a line and as a list of commands. The first says both.
        if not any(tuple(_path(error))[: len(run)] == run != tuple(_path(error)) for run in runs)
        and (error["type"] != "missing" or not _is_explained(tuple(_path(error)), misspelled))
    ]


def _is_blank(error: Any) -> bool:
    """Return whether a command is blank, which is right for its type."""
    path = _path(error)
    return error["type"] == "value_error" and len(path) in (3, 4) and path[2] == "run"


def _is_wrong_run(error: Any) -> bool:
    path = _path(error)
    return len(path) == 3 and path[-1] == "run" and error["type"] in (*_WRONG_TYPES, "too_short")


def _is_explained(missing: tuple[str | int, ...], misspelled: Container[object]) -> bool:
    """Return whether another problem says why a key is missing: a similar key, or a table in the check's place."""
    return missing in misspelled or (*missing[:-1], None, "table") in misspelled


def _path(error: Any) -> list[str | int]:
    return [part for part in error["loc"] if not _internal(part)]


def _known_keys(path: Sequence[str | int]) -> list[str]:
    """Return the keys that there are in the table around a path."""
    model: type[BaseModel] = CheckDeclaration
    if len(path) > 3 and path[2] in ("when", "services"):
        model = When if path[2] == "when" else Service
    return sorted(model.model_fields)


def _is_check(path: Sequence[str | int], value: object) -> bool:
    """Return whether a key that there isn't has a check as its value: its name has a dot, which separates keys."""
    return len(path) == 3 and isinstance(value, dict) and "run" in value


def _similar_key(path: Sequence[str | int]) -> str | None:
    """Return the key that a misspelled one is for; None if none is like it."""
    known, key = _known_keys(path), str(path[-1]).lower()
    if (other := _SYNONYMS.get(key)) in known:
        return other
    # Two exchanged letters out of three leave a ratio of 0.667.
    similar = get_close_matches(key, known, n=1, cutoff=0.66)
    return similar[0] if similar else None


def _problem(name: str, lines: TomlLines, error: Any) -> str:
    """Return one of pydantic's errors as a line of the message."""
    path = _path(error)
    kind, message = error["type"], value_problem(error)
    if kind == "extra_forbidden":
        there, similar = _known_keys(path), _similar_key(path)
        meant = f" (did you mean {similar}?)" if similar else ""
        message = f"there is no such key{meant}; there are {', '.join(there)}"
        if len(path) == 3 and (advice := advise_on_key(str(path[-1]))):
            message = f"there is no such key: {advice}"
        if _is_check(path, error["input"]):
            message = f'a name with a dot needs quotes: [checks."{path[1]}.{path[2]}"]'
    elif _is_wrong_run(error):
        message = "it must be a line for the shell in quotes, or a list of commands"
    elif path == ["checks"] and isinstance(error["input"], list):
        message = "a check is a table with its name in single brackets, such as [checks.test]"
    elif path[2:] == ["uses"] and isinstance(error["input"], str):
        message = _NO_ACTIONS
    elif path[2:] == ["when"] and kind == "model_type":
        message = 'it must be a table, as in { events = ["push"] }'
    elif path[2:4] in (["matrix", "include"], ["matrix", "exclude"]):
        path = path[:4]
        message = _NO_COMBINATIONS.format(key=path[3])
    elif kind == "missing":
        what, key = ("service" if "services" in path else "check"), str(path[-1])
        example = _SERVICE_RUN if (what, key) == ("service", "run") else _EXAMPLES[key]
        message = f"a {what} needs {key}, as in {key} = {example}"
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
                problem = f"there is no check {need!r}; there are {there}"
                if (whole := need.partition(" (")[0]) in checks:
                    problem = f"write {whole!r}, which means all combinations of its matrix"
                message = f"checks.{check}.{key}: {problem}"
                found.append(_at(name, lines.line(("checks", check, key)), message))
        for key, text in _paths_and_image(declared):
            for variable in VARIABLE.findall(text):
                if variable not in declared.matrix:
                    names = ", ".join(declared.matrix)
                    there = f"it has {names}" if names else "there is none"
                    message = f"checks.{check}.{key}: the matrix has no {variable!r}; {there}"
                    found.append(_at(name, lines.line(("checks", check, key)), message))
    if not found and (circle := _circle(checks)):
        message = f"checks.{circle[0]}.needs: these checks need each other: {' → '.join(circle)}"
        found.append(_at(name, lines.line(("checks", circle[0], "needs")), message))
    return found


def _paths_and_image(check: CheckDeclaration) -> Iterator[tuple[str, str]]:
    """Yield the texts that no shell sees, so that each variable must be one of the matrix, and their keys."""
    if check.image is not None:
        yield "image", check.image
    for key in ("reports", "artifacts"):
        for text in getattr(check, key):
            yield key, text
    for text in check.caches.values():
        yield "caches", text


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
