"""Paths: names of commands, files and directories, alone or in a certain place.

`.command`, `./file` and `./dir/` are only names, whose meaning depends on their use. A placed path is a name in a
place: a cache or the host's machine (defined here), a thunk's files (`thunk.py`), or a file system (`filesystem.py`).

A host path is a capability: no code makes a `HostPath` from data.
"""

from __future__ import annotations

from typing import ClassVar, Final, Self, TypeAlias, final

from bassloop.bass.errors import BassError, brief
from bassloop.bass.printer import PRINTED, Parts, Verbatim
from bassloop.bass.values import Combiner, Object, Value, value_type

# --- paths as text, with slashes on every system ---


def clean(path: str) -> str:
    """Return the shortest equivalent path: no empty parts, no `.`, and `..` only where it can't be resolved."""
    rooted = path.startswith("/")
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts and parts[-1] != "..":
                parts.pop()
            elif not rooted:
                parts.append(part)
        elif part and part != ".":
            parts.append(part)
    joined = "/".join(parts)
    return "/" + joined if rooted else joined or "."


def base(path: str) -> str:
    """Return the last part of a path: "." for an empty one, "/" for the root."""
    if not path:
        return "."
    return path.rstrip("/").rpartition("/")[2] or "/"


def dirname(path: str) -> str:
    """Return all but the last part of a path, clean."""
    return clean(path[: path.rfind("/") + 1])


def _written(path: str) -> str:
    """Return a path as it's written in Bass, where a relative one begins with `./` or `../`."""
    return path if path.startswith(("/", "./", "../")) else "./" + path


# --- names ---


class Path(Combiner):
    """The base class of all paths, and of thunks, which can be extended like directories."""

    __slots__ = ()
    kind = "path"

    def extend(self, child: Path) -> Path:
        """Return the path of `child` in this directory.

        Raises `BassError` if this isn't a directory, or `child` isn't the name of a file or directory.
        """
        raise cannot_extend(self, child)


class NamedPath(Path):
    """The base class of all paths but thunks, which have no name."""

    __slots__ = ()
    applicative = True

    def path_name(self) -> str:
        """Return the last part of the path, without a slash."""
        raise NotImplementedError


@final
@value_type
class CommandPath(NamedPath):
    """`.name`: a program that is looked up by its name or, in a thunk without an image, a module of std."""

    kind = "command path"

    command: str

    def path_name(self) -> str:
        return self.command


@final
@value_type
class FilePath(NamedPath):
    """`./file`: the path of a file, relative unless it begins with a slash."""

    kind = "file path"

    path: str

    def slash(self) -> str:
        """Return the path as it's written in Bass."""
        return _written(self.path)

    def path_name(self) -> str:
        return base(self.path)

    def parent_dir(self) -> DirPath:
        """Return the directory that the file is in."""
        return DirPath(dirname(self.path).removesuffix("/"))


@final
@value_type
class DirPath(NamedPath):
    """`./dir/`: the path of a directory; the root's is "". Globs, if any, select files in it."""

    kind = "directory path"

    path: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def slash(self) -> str:
        """Return the path as it's written in Bass, with a slash at its end and without globs."""
        return _written(self.path + "/")

    def path_name(self) -> str:
        return base(self.path)

    def parent_dir(self) -> DirPath:
        """Return the directory that this one is in."""
        return DirPath(dirname(self.path).removesuffix("/"))

    def extend(self, child: Path) -> NamePath:
        if isinstance(child, FilePath):
            return FilePath(clean(f"{self.path}/{child.path}"))
        if isinstance(child, DirPath):
            return DirPath(clean(f"{self.path}/{child.path}"))
        raise cannot_extend(self, child)


NamePath: TypeAlias = "FilePath | DirPath"
"""A path that is only a name, whose meaning depends on its use."""

HERE: Final = DirPath(".")


@final
@value_type
class ExtendPath(Object):
    """`parent/child`, a form that calls the value of the parent with the child, a name."""

    kind = "path form"

    parent: Value
    child: NamePath


def parse_file_or_dir(text: str) -> NamePath:
    """Return a string as a path: a directory if it is "." or ends in a slash. Raises `BassError` if it is empty."""
    if text == "." or text.endswith("/"):
        return DirPath(clean(text).removesuffix("/"))
    if not text:
        raise BassError('an empty string isn\'t a path: write "./" for the current directory')
    return FilePath(clean(text))


def cannot_extend(path: Path, child: Path) -> BassError:
    """Return the error for extending something that isn't a directory, or by something that isn't a name."""
    return BassError(
        lambda: f"cannot extend {brief(path)} ({path.kind}) with {brief(child)} ({child.kind})"
    )


# --- paths in a place ---


class PlacedPath(NamedPath):
    """The base class of paths in a place; `path` is relative to it."""

    __slots__ = ()

    path: NamePath

    def at(self, path: NamePath) -> Self:
        """Return another path in the same place."""
        raise NotImplementedError

    def path_name(self) -> str:
        return self.path.path_name()

    def parent_dir(self) -> Self:
        """Return the directory that this is in."""
        return self.at(self.path.parent_dir())

    def extend(self, child: Path) -> Self:
        if isinstance(self.path, DirPath) and isinstance(child, FilePath | DirPath):
            return self.at(self.path.extend(child))
        raise cannot_extend(self, child)

    def inside(self) -> str:
        """Return the path relative to its place, clean; "" for the place itself.

        Raises `BassError` if it leads out of its place.
        """
        path = clean(self.path.path.lstrip("/"))
        if path == ".." or path.startswith("../"):
            raise BassError(f"{brief(self)} leads out of its directory")
        return "" if path == "." else path


@final
@value_type
class CachePath(PlacedPath):
    """A path in a directory that a runtime keeps between runs; `mode` is an index into `MODES`."""

    kind = "cache path"
    MODES: ClassVar = ("shared", "private", "locked")

    id: str
    path: NamePath = HERE
    mode: int = 0

    def at(self, path: NamePath) -> CachePath:
        return CachePath(self.id, path, self.mode)


@final
@value_type
class HostPath(PlacedPath):
    """A path on the host's machine, in the directory `context`.

    This is a capability, which only a local command line creates. JSON, memo files and messages can't contain one.
    """

    kind = "host path"

    context: str
    path: NamePath = HERE

    def at(self, path: NamePath) -> HostPath:
        return HostPath(self.context, path)


# --- how paths print ---


@PRINTED.of(CommandPath)
def _command(path: CommandPath) -> Parts:
    yield Verbatim("." + path.command)


@PRINTED.of(FilePath, DirPath)
def _name(path: NamePath) -> Parts:
    yield Verbatim(path.slash() + _globs(path))


@PRINTED.of(ExtendPath)
def _extend(form: Value) -> Parts:
    children: list[NamePath] = []
    while isinstance(form, ExtendPath):
        children.append(form.child)
        form = form.parent
    yield form
    slash = "" if isinstance(form, Path) else "/"
    for child in reversed(children):
        yield Verbatim(slash + clean(child.slash()) + "/" * isinstance(child, DirPath))
        slash = ""


@PRINTED.of(CachePath)
def _cache(path: CachePath) -> Parts:
    yield Verbatim(f"<cache: {path.id}>/{path.path.slash().removeprefix('./')}")


@PRINTED.of(HostPath)
def _host(path: HostPath) -> Parts:
    yield Verbatim(f"<host: {path.context}>/{after_slash(path.path)}")


def after_slash(path: NamePath) -> str:
    """Return the printed form of a path that follows a slash."""
    return path.slash().removeprefix("./") + _globs(path)


def _globs(path: NamePath) -> str:
    if isinstance(path, FilePath):
        return ""
    shown = f"?[{' '.join(path.include)}]" if path.include else ""
    return shown + (f"![{' '.join(path.exclude)}]" if path.exclude else "")
