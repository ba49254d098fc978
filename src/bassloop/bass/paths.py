"""Paths: names of commands, files and directories, and places that they can be in.

`.command`, `./file` and `./dir/` are only names, which mean something where they are used. The others stand
in something (`placed.py`).

Calling a path to a command or file makes a thunk of it with the arguments on its standard input; calling a
directory extends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, final

from bassloop.bass import errors
from bassloop.bass.combiner import Applicative, Combiner
from bassloop.bass.errors import BassError
from bassloop.bass.pathname import base, clarify, clean, dirname, trimmed
from bassloop.bass.values import Text, Value, strip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.bass.bindings import Binder
    from bassloop.bass.machine import Machine
    from bassloop.bass.scope import Scope


class Path(Combiner):
    """What all paths have in common, thunks included (whose name is their digest)."""

    __slots__ = ()
    kind = "path"

    def path_name(self) -> str:
        """The last part of the path, without a slash."""
        raise NotImplementedError

    def extend(self, child: Path) -> Path:
        """The path of something in here. Raises `BassError` if this is no directory, or `child` no name of one."""
        raise cannot_extend(self, child)


class PlainPath(Path, Applicative):
    """A path that evaluates its arguments when it is called, as all but thunks do by being applicatives."""

    __slots__ = ()

    def unwrap(self) -> Combiner:
        return MakeThunk(self)

    def apply(self, args: list[Value], scope: Scope, machine: Machine) -> Value:
        return make_thunk(self, args)


@final
class CommandPath(PlainPath):
    """`.name`: a program to be found by its name; as a thunk without image, a module of std."""

    __slots__ = ("command",)
    kind = "command path"

    def __init__(self, command: str) -> None:
        self.command = command

    def path_name(self) -> str:
        return self.command

    def parts(self) -> Iterator[Text | Value]:
        yield Text("." + self.command)

    def json_parts(self) -> Iterator[Text | Value]:
        yield Text('{"command":')
        yield self.command
        yield Text("}")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        return bool(self.command == other.command)

    def binder(self) -> Binder:
        return _constant(self)


@final
class FilePath(PlainPath):
    """`./file`: the path of a file, relative unless it begins with a slash. Kept as given: see `parse_path`."""

    __slots__ = ("path",)
    kind = "file path"

    def __init__(self, path: str) -> None:
        self.path = path

    def slash(self) -> str:
        """The path as it is written: with `./` before a relative one."""
        return clarify(self.path)

    def path_name(self) -> str:
        return base(self.path)

    def parent_dir(self) -> DirPath:
        """The directory that the file is in."""
        return DirPath(trimmed(dirname(self.path)))

    def parts(self) -> Iterator[Text | Value]:
        yield Text(self.slash())

    def json_parts(self) -> Iterator[Text | Value]:
        yield Text('{"file":')
        yield self.path
        yield Text("}")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        return bool(self.path == other.path)

    def binder(self) -> Binder:
        return _constant(self)


@final
class DirPath(PlainPath):
    """`./dir/`: the path of a directory; the root's is "". Globs narrow down what is taken of it, if any."""

    __slots__ = ("exclude", "include", "path")
    kind = "directory path"

    def __init__(
        self, path: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
    ) -> None:
        self.path = path
        self.include = include
        self.exclude = exclude

    def slash(self) -> str:
        """The path as it is written, with a slash at its end and without globs."""
        return clarify(self.path + "/")

    def path_name(self) -> str:
        return base(self.path)

    def parent_dir(self) -> DirPath:
        """The directory that this one is in."""
        return DirPath(trimmed(dirname(self.path)))

    def extend(self, child: Path) -> Path:
        if isinstance(child, FilePath):
            return FilePath(clean(f"{self.path}/{child.path}"))
        if isinstance(child, DirPath):
            return DirPath(clean(f"{self.path}/{child.path}"))
        raise cannot_extend(self, child)

    def unwrap(self) -> Combiner:
        return Extend(self)

    def apply(self, args: list[Value], scope: Scope, machine: Machine) -> Value:
        return extend_with(self, args)

    def parts(self) -> Iterator[Text | Value]:
        yield Text(self.slash() + globs_shown(self))

    def json_parts(self) -> Iterator[Text | Value]:
        yield Text('{"dir":')
        yield self.path
        for name, globs in (("include", self.include), ("exclude", self.exclude)):
            if globs:
                yield Text(f',"{name}":[')
                for index, glob in enumerate(globs):
                    if index:
                        yield Text(",")
                    yield glob
                yield Text("]")
        yield Text("}")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        return bool(self.path == other.path)

    def binder(self) -> Binder:
        return _constant(self)


NamePath: TypeAlias = "FilePath | DirPath"
"""A path that is only a name: where it leads, in whatever it is used in."""

HERE: Final = DirPath(".")


@final
class MakeThunk(Combiner):
    """What is inside the path of a command or file: makes a thunk with the arguments on its standard input."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path

    def json_parts(self) -> Iterator[Text | Value]:
        yield Text('{"Cmd":')
        yield self.path
        yield Text("}")

    def parts(self) -> Iterator[Text | Value]:
        yield Text("(unwrap ")
        yield self.path
        yield Text(")")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        pending.append((self.path, other.path))
        return True

    def apply(self, args: list[Value], scope: Scope, machine: Machine) -> Value:
        return make_thunk(self.path, args)


@final
class Extend(Combiner):
    """What is inside the path of a directory: takes a path, and extends with it."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path

    def json_parts(self) -> Iterator[Text | Value]:
        yield Text('{"Path":')
        yield self.path
        yield Text("}")

    def parts(self) -> Iterator[Text | Value]:
        yield Text("(unwrap ")
        yield self.path
        yield Text(")")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        pending.append((self.path, other.path))
        return True

    def apply(self, args: list[Value], scope: Scope, machine: Machine) -> Value:
        return extend_with(self.path, args)


def make_thunk(path: Path, stdin: list[Value]) -> Value:
    """The thunk that calling a path with these arguments makes."""
    from bassloop.bass.thunk import Thunk

    return Thunk(args=(path,), stdin=tuple(stdin))


def extend_with(path: Path, args: list[Value]) -> Path:
    """What calling a directory with these arguments gives."""
    if len(args) != 1:
        raise errors.arity(errors.brief(path), 1, len(args))
    child = strip(args[0])
    if not isinstance(child, Path):
        raise errors.wrong_type(child, "path", errors.brief(path))
    return path.extend(child)


def cannot_extend(path: Path, child: Path) -> BassError:
    """The failure to extend something that is no directory, or by something that is no name."""
    return BassError(
        lambda: (
            f"cannot extend {errors.brief(path)} ({path.kind}) with {errors.brief(child)} ({child.kind})"
        )
    )


def globs_shown(path: NamePath) -> str:
    """How a path's globs print."""
    if isinstance(path, FilePath):
        return ""
    shown = f"?[{' '.join(path.include)}]" if path.include else ""
    return shown + (f"![{' '.join(path.exclude)}]" if path.exclude else "")


def parse_file_or_dir(text: str) -> NamePath:
    """A string as a path: a directory if it is "." or ends in a slash. Raises `BassError` if it is empty."""
    if text == "." or text.endswith("/"):
        return DirPath(trimmed(clean(text)))
    if not text:
        raise BassError('an empty string is no path: write "./" for the current directory')
    return FilePath(clean(text))


def _constant(path: Path) -> Binder:
    from bassloop.bass.bindings import constant_binder

    return constant_binder(path, path)
