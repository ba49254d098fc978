"""Names of files and paths as messages have them, and that none leads out of where it belongs. Pure."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from bassloop.runner.errors import DriverError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.wire import bass_pb2 as pb

MAX_LOGICAL_DEPTH = 40
MAX_LOGICAL_FILES = 50_000
MAX_PATH = 4_000


def clean(path: str, what: str) -> str:
    """A path without `.` and inner `..`; relative ones have no leading dot. Raises DriverError."""
    if "\x00" in path or len(path) > MAX_PATH:
        raise DriverError(f"{what} {path[:100]!r} is no path of a file")
    normal = posixpath.normpath(path or ".")
    return f"/{normal.lstrip('/')}" if normal.startswith("/") else normal


def inside(path: str, what: str) -> str:
    """A path relative to the work directory. Raises DriverError for one that is outside of it."""
    normal = clean(path, what)
    if normal.startswith(("/", "../")) or normal == "..":
        raise DriverError(f"{what} {path!r} is outside of the work directory")
    return normal


def filesystem(path: pb.FilesystemPath) -> str:
    """The text of a file or directory path."""
    return path.file.path if path.WhichOneof("path") == "file" else path.dir.path


def is_directory(path: pb.FilesystemPath) -> bool:
    """Whether a path names a directory."""
    return not path.HasField("file")


def written(path: str, *, directory: bool) -> str:
    """A clean path as commands are given it: `./file`, `./dir/`, `../file`, `/file`."""
    if path == ".":
        return "./"
    dotted = path if path.startswith(("/", "../")) or path == ".." else f"./{path}"
    return f"{dotted.rstrip('/')}/" if directory else dotted


def relative(target: str, start: str, *, directory: bool) -> str:
    """A path as it is written from the directory `start`; an absolute path stays one."""
    if target.startswith("/"):
        return written(target, directory=directory)
    return written(posixpath.relpath(target, start), directory=directory)


def name_of(name: str) -> str:
    """A single name of a file, as a message has it. Raises DriverError for one that is none."""
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(name.encode()) > 255:
        raise DriverError(f"{name[:100]!r} is no name of a file")
    return name


def logical_files(path: pb.LogicalPath) -> Iterator[tuple[str, bytes | None]]:
    """What a directory that travels with a message has in it, by its path in it.

    Directories come before what is in them, with None for content. Raises DriverError for bad names,
    names that come twice, and for more than is taken.
    """
    seen: set[str] = set()
    waiting = [(entry, "", 1) for entry in reversed(path.dir.entries)]
    while waiting:
        entry, parent, depth = waiting.pop()
        if depth > MAX_LOGICAL_DEPTH or len(seen) >= MAX_LOGICAL_FILES:
            raise DriverError(
                f"a thunk's files are nested {MAX_LOGICAL_DEPTH} deep at most, and "
                f"{MAX_LOGICAL_FILES:,} in all; clone a repository instead"
            )
        is_file = entry.WhichOneof("path") == "file"
        name = posixpath.join(parent, name_of(entry.file.name if is_file else entry.dir.name))
        if name in seen:
            raise DriverError(f"{name!r} comes twice among a thunk's files")
        seen.add(name)
        yield name, entry.file.content if is_file else None
        if not is_file:
            waiting += [(each, name, depth + 1) for each in reversed(entry.dir.entries)]
