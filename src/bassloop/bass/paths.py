"""Paths of every kind, and what may be done with each.

A command path names a program, a file or directory path is relative to wherever it is used. The others
stand in something: a thunk's output, the repository, memory, a cache. A path on the machine that
evaluates is a right that only a local command line hands out; nothing here makes one from data.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bassloop.bass.errors import BassError

if TYPE_CHECKING:
    from bassloop.bass.thunk import Thunk


class Path:
    """What all paths have in common. Directories end in a slash when they are shown."""

    __slots__ = ()

    def extend(self, child: Path) -> Path:
        """The path of something inside this one. Raises BassError where there can't be anything."""
        raise BassError(f"{self} is no directory, so it has no {child} in it")

    def name(self) -> str:
        """The last part, without a slash."""
        raise BassError(f"{self} has no name")


@dataclass(frozen=True, slots=True)
class CommandPath(Path):
    """`.name`: a program to be found by its name."""

    command: str

    def __str__(self) -> str:
        return f".{self.command}"

    def name(self) -> str:
        """The program's name."""
        return self.command


@dataclass(frozen=True, slots=True)
class FilePath(Path):
    """`./file`, `/file`: a file, relative to where it is used unless it begins with a slash."""

    path: str

    def __str__(self) -> str:
        return (
            self.path
            if self.path.startswith(("/", "./", "../")) or self.path in (".", "..")
            else f"./{self.path}"
        )

    def name(self) -> str:
        """The last part."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class DirPath(Path):
    """`./dir/`, `/`: a directory. `include` and `exclude` narrow what it has in it."""

    path: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.path in ("/", ""):
            return "/"
        shown = (
            self.path
            if self.path.startswith(("/", "./", "../")) or self.path in (".", "..")
            else f"./{self.path}"
        )
        return f"{shown}/"

    def extend(self, child: Path) -> Path:
        """A file or directory inside this one."""
        if isinstance(child, DirPath):
            return DirPath(join(self.path, child.path))
        if isinstance(child, FilePath):
            return FilePath(join(self.path, child.path))
        raise BassError(f"{self} can be extended by a file or a directory, not by {child}")

    def name(self) -> str:
        """The last part; `.` for a root."""
        return self.path.rstrip("/").rsplit("/", 1)[-1] or "."


def join(parent: str, child: str) -> str:
    """A path inside a directory, with `.` and `..` resolved as far as they can be."""
    child = child.lstrip("/")
    joined = posixpath.normpath(posixpath.join(parent, child))
    if not joined.startswith(("/", "..")) and parent.startswith("./") and joined != ".":
        return f"./{joined}"
    return joined


@dataclass(frozen=True, slots=True)
class ThunkPath(Path):
    """A path in what a thunk leaves behind; using it runs the thunk."""

    thunk: Thunk
    path: FilePath | DirPath

    def __str__(self) -> str:
        return f"{self.thunk}/{str(self.path).removeprefix('./')}"

    def extend(self, child: Path) -> Path:
        """A path deeper in the same thunk's output."""
        deeper = self.path.extend(child)
        assert isinstance(deeper, FilePath | DirPath)
        return ThunkPath(self.thunk, deeper)

    def name(self) -> str:
        """The last part; the thunk's own name for its root."""
        return self.path.name()


@dataclass(frozen=True, slots=True)
class CachePath(Path):
    """A directory that a runner keeps between runs. `mode` is 0 shared, 1 private, 2 locked."""

    id: str
    mode: int = 0
    path: FilePath | DirPath = DirPath(".")

    def __str__(self) -> str:
        return f"<cache: {self.id}>/{str(self.path).removeprefix('./')}"

    def extend(self, child: Path) -> Path:
        """A path in the same cache."""
        deeper = self.path.extend(child)
        assert isinstance(deeper, FilePath | DirPath)
        return CachePath(self.id, self.mode, deeper)

    def name(self) -> str:
        """The last part."""
        return self.path.name()


@dataclass(frozen=True, slots=True, eq=False)
class MemoryFiles:
    """Files in memory, by their path."""

    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemoryPath(Path):
    """A path in memory (`mkfs`): it travels with its content."""

    files: MemoryFiles
    path: FilePath | DirPath

    def __str__(self) -> str:
        return f"<fs>/{str(self.path).removeprefix('./')}"

    def extend(self, child: Path) -> Path:
        """A path in the same memory."""
        deeper = self.path.extend(child)
        assert isinstance(deeper, FilePath | DirPath)
        return MemoryPath(self.files, deeper)

    def name(self) -> str:
        """The last part."""
        return self.path.name()

    def content(self) -> bytes:
        """A file's bytes. Raises BassError when there is none."""
        name = posixpath.normpath(self.path.path).lstrip("/")
        if name not in self.files.files:
            raise BassError(f"there is no file {self}")
        return self.files.files[name]


@dataclass(frozen=True, slots=True)
class RepositoryPath(Path):
    """A path in the repository that the script comes from, read-only, through the host.

    `tree` is the host's own word for where it reads; scripts can't make one.
    """

    tree: Any
    path: FilePath | DirPath

    def __str__(self) -> str:
        return f"<{self.tree}>/{str(self.path).removeprefix('./')}"

    def extend(self, child: Path) -> Path:
        """A path in the same tree. Raises BassError for one that leaves it."""
        deeper = self.path.extend(child)
        assert isinstance(deeper, FilePath | DirPath)
        if deeper.path == ".." or deeper.path.startswith(("../", "/")):
            raise BassError(f"{child} leaves {self}")
        return RepositoryPath(self.tree, deeper)

    def name(self) -> str:
        """The last part."""
        return self.path.name()


class ExtendPath:
    """`name/child` as it is read: the value of `name`, extended when it is evaluated."""

    __slots__ = ("base", "child")

    def __init__(self, base: Any, child: FilePath | DirPath) -> None:
        self.base, self.child = base, child
