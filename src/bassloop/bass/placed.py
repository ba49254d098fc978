"""Paths in something: a place, and where in it.

The places are a cache, this machine, what a thunk leaves behind (`thunk.py`), and a file system that the host
gave (`files.py`). A path on this machine is a right: nothing here or elsewhere makes a `HostPath` of data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from bassloop.bass import errors
from bassloop.bass.errors import BassError
from bassloop.bass.pathname import clean
from bassloop.bass.paths import (
    HERE,
    DirPath,
    Extend,
    FilePath,
    MakeThunk,
    NamePath,
    Path,
    PlainPath,
    cannot_extend,
    extend_with,
    globs_shown,
    make_thunk,
)
from bassloop.bass.values import Text, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.bass.combiner import Combiner
    from bassloop.bass.machine import Machine
    from bassloop.bass.scope import Scope


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

    def parts(self) -> Iterator[Text | Value]:
        yield Text(f"<cache: {self.id}>/{self.path.slash().removeprefix('./')}")

    def json_parts(self) -> Iterator[Text | Value]:
        yield Text('{"ID":')
        yield self.id
        yield Text(f',"ConcurrencyMode":{self.mode},"Path":')
        yield from named_json(self.path)
        yield Text("}")

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

    def parts(self) -> Iterator[Text | Value]:
        yield Text(f"<host: {self.context}>/")
        yield Text(bare(self.path))

    def json_parts(self) -> Iterator[Text | Value]:
        yield Text('{"context":')
        yield self.context
        yield Text(',"path":')
        yield from named_json(self.path)
        yield Text("}")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        pending.append((self.path, other.path))
        return bool(self.context == other.context)


def named_json(path: NamePath) -> Iterator[Text | Value]:
    """How the path within a placed path encodes."""
    from bassloop.bass.jsonform import message_json
    from bassloop.bass.proto import fill_name_path
    from bassloop.wire import bass_pb2

    message = bass_pb2.FilesystemPath()
    fill_name_path(message, path)
    yield Text(message_json(message))


def bare(path: NamePath) -> str:
    """How a path prints that follows a slash."""
    return path.slash().removeprefix("./") + globs_shown(path)
