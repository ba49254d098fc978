"""Validate the paths, file names and patterns in messages before they are used. No I/O.

A pattern is matched against the whole path below its directory. `*` and `?` match within a name, `**` also matches
slashes, `[…]` is a set, and a folder that matches includes everything in it. A pattern that begins with `!` excludes.
RE2 does the matching, so no pattern can make it slow.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import re2

from bassloop.runner.errors import DriverError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.wire import bass_pb2 as pb

MAX_PATH = 4_000
MAX_LOGICAL_DEPTH = 40
MAX_LOGICAL_FILES = 50_000
MAX_PATTERNS = 1_000
MAX_PATTERN = 1_000

PathFilter = Callable[[str], bool]
"""Returns whether the file at a path is included."""


# --- paths --------------------------------------------------------------------------------------------


def normalized(path: str, what: str) -> str:
    """Return a path without `.` and inner `..`, and without a leading `./`. Raises DriverError.

    Args:
        what: the path's name in the error.
    """
    if "\x00" in path or len(path) > MAX_PATH:
        raise DriverError(f"{what} {path[:100]!r} is not a path of a file")
    normal = posixpath.normpath(path or ".")
    return f"/{normal.lstrip('/')}" if normal.startswith("/") else normal


def inside(path: str, what: str) -> str:
    """Return a path relative to the work directory. Raises DriverError if it leads outside."""
    normal = normalized(path, what)
    if normal.startswith(("/", "../")) or normal == "..":
        raise DriverError(f"{what} {path!r} is outside of the work directory")
    return normal


def path_text(path: pb.FilesystemPath) -> str:
    """Return the text of a file or directory path."""
    return path.file.path if path.WhichOneof("path") == "file" else path.dir.path


def is_directory(path: pb.FilesystemPath) -> bool:
    """Return whether a path names a directory."""
    return not path.HasField("file")


def as_word(path: str, *, directory: bool) -> str:
    """Return a normalized path as a word of a command: `./file`, `./dir/`, `../file`, `/file`."""
    if path == ".":
        return "./"
    dotted = path if path.startswith(("/", "../")) or path == ".." else f"./{path}"
    return f"{dotted.rstrip('/')}/" if directory else dotted


def relative_word(target: str, start: str, *, directory: bool) -> str:
    """Return a path as a word of a command that starts in the directory `start`."""
    if target.startswith("/"):
        return as_word(target, directory=directory)
    return as_word(posixpath.relpath(target, start), directory=directory)


# --- files that travel with a message -----------------------------------------------------------------


def file_name(name: str) -> str:
    """Return a file name from a message. Raises DriverError if it can't be one."""
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(name.encode()) > 255:
        raise DriverError(f"{name[:100]!r} can't be the name of a file")
    return name


def logical_files(path: pb.LogicalPath) -> Iterator[tuple[str, bytes | None]]:
    """Generate the path and content of everything in a directory that is embedded in a message.

    Directories have the content None, and come before what they contain. Raises DriverError for bad or duplicate
    names, and if there are too many files or they are nested too deep.
    """
    seen: set[str] = set()
    waiting = [(entry, "", 1) for entry in reversed(path.dir.entries)]
    while waiting:
        entry, parent, depth = waiting.pop()
        if depth > MAX_LOGICAL_DEPTH or len(seen) >= MAX_LOGICAL_FILES:
            raise DriverError(
                f"a thunk's files may be nested {MAX_LOGICAL_DEPTH} deep at most, and there may be "
                f"{MAX_LOGICAL_FILES:,}; clone a repository instead"
            )
        is_file = entry.WhichOneof("path") == "file"
        name = posixpath.join(parent, file_name(entry.file.name if is_file else entry.dir.name))
        if name in seen:
            raise DriverError(f"{name!r} appears twice among a thunk's files")
        seen.add(name)
        yield name, entry.file.content if is_file else None
        if not is_file:
            waiting += [(each, name, depth + 1) for each in reversed(entry.dir.entries)]


def printable(path: str) -> str:
    """Return a path that messages can contain. A command may create a file whose name isn't UTF-8."""
    return path.encode("utf-8", "replace").decode()


# --- patterns -----------------------------------------------------------------------------------------


def path_filter(path: pb.FilesystemPath) -> PathFilter | None:
    """Return the filter for the files of a path, or None if it includes all. Raises DriverError."""
    return pattern_filter(path.dir.include, path.dir.exclude) if is_directory(path) else None


def pattern_filter(include: Sequence[str], exclude: Sequence[str]) -> PathFilter | None:
    """Return a filter for patterns, or None if there are none. Raises DriverError for bad patterns."""
    if not include and not exclude:
        return None
    included, excluded = _rules(include), _rules(exclude)

    def wanted(path: str) -> bool:
        path = printable(path)
        return (not included or _decide(included, path)) and not _decide(excluded, path)

    return wanted


def _rules(patterns: Sequence[str]) -> list[tuple[bool, Any]]:
    if len(patterns) > MAX_PATTERNS:
        raise DriverError(f"a glob has {MAX_PATTERNS:,} patterns at most")
    rules = []
    for pattern in patterns:
        negated = pattern.startswith("!")
        if len(pattern) > MAX_PATTERN:
            raise DriverError(f"the pattern {pattern[:50]}… is too long")
        try:
            expression = re2.compile(_expression(pattern[negated:].strip()))
        except re2.error as error:
            raise DriverError(f"{pattern!r} is not a pattern of file names") from error
        rules.append((not negated, expression))
    return rules


def _decide(rules: list[tuple[bool, Any]], path: str) -> bool:
    """Return the result of the last rule that matches, or False."""
    return next((result for result, each in reversed(rules) if each.fullmatch(path)), False)


def _expression(pattern: str) -> str:
    """Return a regular expression for a pattern, which also matches everything in a matching folder."""
    rest = posixpath.normpath(pattern).lstrip("/")
    if rest == ".":
        return "(?s:.*)"
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
            # Like `*` and `?`, a negated set doesn't match a slash.
            parts.append(f"[^/{inner[1:]}]" if inner.startswith("^") else f"[{inner}]")
            rest = rest[end + 1 :]
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(rest[0]) or re2.escape(rest[0]))
            rest = rest[1:]
    return f"(?s:{''.join(parts)}(?:/.*)?)"
