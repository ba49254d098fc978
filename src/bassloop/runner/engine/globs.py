"""Which files of a directory are meant, by patterns that include and exclude, as `(glob …)` makes them.

A pattern is matched against the whole path below the directory: `*` and `?` stay within a name, `**`
goes through folders, `[…]` is a set, and a folder that matches brings all that is in it. A pattern that
begins with `!` takes back. RE2 does the matching, so that no pattern can make it slow.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from typing import Any

import re2

from bassloop.runner.errors import DriverError

MAX_PATTERNS = 1_000
MAX_LENGTH = 1_000

PathFilter = Callable[[str], bool]


def patterns(include: Sequence[str], exclude: Sequence[str]) -> PathFilter | None:
    """Whether a file's path is meant; None when there are no patterns, so that all are.

    Raises DriverError for a pattern that is none.
    """
    if not include and not exclude:
        return None
    included, excluded = _rules(include), _rules(exclude)

    def wanted(path: str) -> bool:
        return (not included or _decide(included, path)) and not _decide(excluded, path)

    return wanted


def _rules(texts: Sequence[str]) -> list[tuple[bool, Any]]:
    if len(texts) > MAX_PATTERNS:
        raise DriverError(f"a glob has {MAX_PATTERNS:,} patterns at most")
    rules = []
    for text in texts:
        takes_back = text.startswith("!")
        if len(text) > MAX_LENGTH:
            raise DriverError(f"the pattern {text[:50]}… is too long")
        try:
            expression = re2.compile(_expression(text[takes_back:].strip()))
        except re2.error as error:
            raise DriverError(f"{text!r} is no pattern of file names") from error
        rules.append((not takes_back, expression))
    return rules


def _decide(rules: list[tuple[bool, Any]], path: str) -> bool:
    """The last pattern that matches decides."""
    return next((takes for takes, each in reversed(rules) if each.fullmatch(path)), False)


def _expression(pattern: str) -> str:
    """The regular expression of a pattern; what lies in a matching folder matches too."""
    rest = posixpath.normpath(pattern).lstrip("/")
    if rest == ".":
        return ".*"
    parts = []
    while rest:
        if rest.startswith("**/"):
            parts.append("(?:[^/]+/)*")
            rest = rest[3:]
        elif rest.startswith("**"):
            parts.append(".*")
            rest = rest[2:]
        elif rest[0] == "[" and (end := rest.find("]", 2)) > 0:
            inner = rest[1:end].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"[{inner}]")
            rest = rest[end + 1 :]
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(rest[0]) or re2.escape(rest[0]))
            rest = rest[1:]
    return f"(?s:{''.join(parts)}(?:/.*)?)"
