"""The text of a path: how it is cleaned, taken apart and written. Slashes part, on every system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, final

from bassloop.bass import errors
from bassloop.bass.combiner import Applicative, Combiner
from bassloop.bass.errors import BassError
from bassloop.bass.values import Object, Value, Verbatim, strip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.bass.bindings import Binder, Mismatch
    from bassloop.bass.machine import Machine
    from bassloop.bass.scope import Scope
    from bassloop.bass.values import Code


def clean(path: str) -> str:
    """The shortest path that means the same: without empty parts, `.`, and `..` as far as they can be resolved."""
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
    """The last part of a path; "." for an empty one, "/" for the root."""
    if not path:
        return "."
    return path.rstrip("/").rpartition("/")[2] or "/"


def dirname(path: str) -> str:
    """All but the last part of a path, clean."""
    return clean(path[: path.rfind("/") + 1])


def trimmed(path: str) -> str:
    """A path without the slash at its end."""
    return path.removesuffix("/")


def clarify(path: str) -> str:
    """A path as it is written: a relative one begins with `./` or `../`."""
    return path if path.startswith(("/", "./", "../")) else "./" + path


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

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim("." + self.command)

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim('{"command":')
        yield self.command
        yield Verbatim("}")

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

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim(self.slash())

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim('{"file":')
        yield self.path
        yield Verbatim("}")

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

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim(self.slash() + globs_shown(self))

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim('{"dir":')
        yield self.path
        for name, globs in (("include", self.include), ("exclude", self.exclude)):
            if globs:
                yield Verbatim(f',"{name}":[')
                for index, glob in enumerate(globs):
                    if index:
                        yield Verbatim(",")
                    yield glob
                yield Verbatim("]")
        yield Verbatim("}")

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

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim('{"Cmd":')
        yield self.path
        yield Verbatim("}")

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim("(unwrap ")
        yield self.path
        yield Verbatim(")")

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

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim('{"Path":')
        yield self.path
        yield Verbatim("}")

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim("(unwrap ")
        yield self.path
        yield Verbatim(")")

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


class PlacedPath(PlainPath):
    """A path in something: `path` says where in it. Directories extend, files make thunks."""

    __slots__ = ("path",)

    path: NamePath

    def at(self, path: NamePath) -> PlacedPath:
        """Another path in the same place."""
        raise NotImplementedError

    def path_name(self) -> str:
        return self.path.path_name()

    def parent_dir(self) -> PlacedPath:
        """The directory that this is in."""
        return self.at(self.path.parent_dir())

    def extend(self, child: Path) -> Path:
        if isinstance(self.path, DirPath) and isinstance(child, FilePath | DirPath):
            inner = self.path.extend(child)
            assert isinstance(inner, FilePath | DirPath)
            return self.at(inner)
        raise cannot_extend(self, child)

    def unwrap(self) -> Combiner:
        return MakeThunk(self) if isinstance(self.path, FilePath) else Extend(self)

    def apply(self, args: list[Value], scope: Scope, machine: Machine) -> Value:
        return (
            make_thunk(self, args) if isinstance(self.path, FilePath) else extend_with(self, args)
        )

    def inside(self) -> str:
        """The path relative to the place it stands in, normal, "" for the place itself.

        Raises `BassError` if it leads out of there.
        """
        path = clean(self.path.path.lstrip("/"))
        if path == ".." or path.startswith("../"):
            raise BassError(f"{errors.brief(self)} leads out of the place that it stands in")
        return "" if path == "." else path


@final
class CachePath(PlacedPath):
    """A path in a directory that a runtime keeps between runs; `mode` is `MODES`' index."""

    __slots__ = ("id", "mode")
    kind = "cache path"

    MODES: Final = ("shared", "private", "locked")

    def __init__(self, id: str, path: NamePath = HERE, mode: int = 0) -> None:
        self.id = id
        self.path = path
        self.mode = mode

    def at(self, path: NamePath) -> CachePath:
        return CachePath(self.id, path, self.mode)

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim(f"<cache: {self.id}>/{self.path.slash().removeprefix('./')}")

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim('{"ID":')
        yield self.id
        yield Verbatim(f',"ConcurrencyMode":{self.mode},"Path":')
        yield from named_json(self.path)
        yield Verbatim("}")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        pending.append((self.path, other.path))
        return bool(self.id == other.id)


@final
class HostPath(PlacedPath):
    """A path on this machine, below the directory `context`.

    A right, which a local command line hands out by constructing it. No JSON, memo file or message becomes one.
    """

    __slots__ = ("context",)
    kind = "host path"

    def __init__(self, context: str, path: NamePath = HERE) -> None:
        self.context = context
        self.path = path

    def at(self, path: NamePath) -> HostPath:
        return HostPath(self.context, path)

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim(f"<host: {self.context}>/")
        yield Verbatim(bare(self.path))

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim('{"context":')
        yield self.context
        yield Verbatim(',"path":')
        yield from named_json(self.path)
        yield Verbatim("}")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        pending.append((self.path, other.path))
        return bool(self.context == other.context)


def named_json(path: NamePath) -> Iterator[Verbatim | Value]:
    """How the path within a placed path encodes."""
    from bassloop.bass.json import message_json
    from bassloop.bass.wire.encode import fill_name_path
    from bassloop.wire import bass_pb2

    message = bass_pb2.FilesystemPath()
    fill_name_path(message, path)
    yield Verbatim(message_json(message))


def bare(path: NamePath) -> str:
    """How a path prints that follows a slash."""
    return path.slash().removeprefix("./") + globs_shown(path)


@final
class ExtendPath(Object):
    """`parent/child` as a form: calls what the parent evaluates to with the child, a name."""

    __slots__ = ("child", "parent")
    kind = "path form"

    def __init__(self, parent: Value, child: NamePath) -> None:
        self.parent = parent
        self.child = child

    def parts(self) -> Iterator[Verbatim | Value]:
        forms = []
        form: Value = self
        while isinstance(form, ExtendPath):
            forms.append(form)
            form = form.parent
        yield form
        slash = "" if isinstance(form, Path) else "/"
        while forms:
            child = forms.pop().child
            yield Verbatim(slash + clean(child.slash()) + "/" * isinstance(child, DirPath))
            slash = ""

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        pending.append((self.parent, other.parent))
        pending.append((self.child, other.child))
        return True

    def code(self, tail: bool = False) -> Code:
        from bassloop.bass.compiler import code

        children = []
        form: Value = self
        while isinstance(form, ExtendPath):
            children.append(form.child)
            form = form.parent
        children.reverse()
        if isinstance(form, DirPath):
            path: Path = form
            for child in children:
                path = path.extend(child)
            return lambda scope, machine: path
        root = code(form)

        def run(scope: Scope, machine: Machine) -> Value:
            value = root(scope, machine)
            for child in children:
                parent = strip(value)
                if not isinstance(parent, Combiner):
                    raise errors.not_callable(parent)
                value = machine.call(parent, [child], scope)
            return value

        return run

    def binder(self) -> Binder:
        from bassloop.bass.bindings import constant_binder
        from bassloop.bass.compiler import code

        evaluate = code(self)

        def bind(scope: Scope, value: Value, machine: Machine) -> Mismatch | None:
            return constant_binder(self, evaluate(scope, machine))(scope, value, machine)

        return bind
