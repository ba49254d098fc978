"""File systems that paths can be in: in memory (std's modules, for example), or the host's, which is read on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias, final

from bassloop.bass.errors import BassError, brief
from bassloop.bass.path import HERE, FilePath, NamePath, PlacedPath
from bassloop.bass.printer import PRINTED, Parts, Verbatim
from bassloop.bass.values import value_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_CACHED: Final = 64 << 20
"""The maximum number of bytes that a script can read from a file system of the host."""
MAX_FILES: Final = 20_000


class DirEntry(NamedTuple):
    """An entry of a directory. `name` has no slash, and doesn't include the directory."""

    name: str
    is_dir: bool


class FileSystem(Protocol):
    """Read-only files that a host provides: a repository, for example.

    Paths are relative to the root, with forward slashes, without `.` and `..` and without a slash at either end; ""
    is the root.
    """

    @property
    def name(self) -> str:
        """The name that paths in it print with, such as "repository"."""

    async def read_file(self, path: str) -> bytes:
        """Return the content of a file. Raises `BassError` if there is none."""

    async def list_dir(self, path: str) -> Sequence[DirEntry]:
        """Return the entries of a directory, sorted by name. Raises `BassError` if there is none."""


class NotRead(BassError):
    """The error of encoding a file or directory of the host that hasn't been read yet.

    Await `wire.encode.read_files`, and try again, as `Machine.with_files` does.
    """

    def __init__(self, path: FSPath) -> None:
        super().__init__(lambda: f"{brief(path)} has not been read yet")


@final
class MemoryFiles:
    """A file system in memory, such as `mkfs` makes. `files` has the contents by clean relative path."""

    __slots__ = ("_dirs", "_files", "name")

    def __init__(self, files: Mapping[str, bytes], name: str = "fs") -> None:
        """Raises `BassError` if a path is a file as well as the directory of another one."""
        self.name = name
        self._files = dict(files)
        self._dirs: dict[str, set[DirEntry]] = {"": set()}
        for path in self._files:
            parent, _, entry = path.rpartition("/")
            self._enter(parent, DirEntry(entry, is_dir=False))
        for path in self._dirs:
            if path in self._files:
                raise BassError(
                    f"./{path} is a file, and there are files in it: it must be one or the other"
                )

    def _enter(self, parent: str, entry: DirEntry) -> None:
        while parent not in self._dirs:
            self._dirs[parent] = {entry}
            parent, _, name = parent.rpartition("/")
            entry = DirEntry(name, is_dir=True)
        self._dirs[parent].add(entry)

    def read_now(self, path: str) -> bytes:
        """Return a file's content. Raises `BassError` if there is none."""
        content = self._files.get(path)
        if content is None:
            raise _missing("file", path, "it is a directory" if path in self._dirs else "")
        return content

    def list_now(self, path: str) -> Sequence[DirEntry]:
        """Return a directory's entries, sorted by name. Raises `BassError` if there is none."""
        entries = self._dirs.get(path)
        if entries is None:
            raise _missing("directory", path, "it is a file" if path in self._files else "")
        return sorted(entries)

    async def read_file(self, path: str) -> bytes:
        """The same as `read_now`, as a coroutine."""
        return self.read_now(path)

    async def list_dir(self, path: str) -> Sequence[DirEntry]:
        """The same as `list_now`, as a coroutine."""
        return self.list_now(path)


@final
class CachedFiles:
    """A file system of the host with a cache of its contents, from which thunks with files in them are encoded.

    Reading more than `MAX_CACHED` bytes or `MAX_FILES` files is an error.
    """

    __slots__ = ("_dirs", "_files", "_inner", "_size", "name")

    def __init__(self, inner: FileSystem) -> None:
        self.name = inner.name
        self._inner = inner
        self._files: dict[str, bytes] = {}
        self._dirs: dict[str, tuple[DirEntry, ...]] = {}
        self._size = 0

    def read_now(self, path: str) -> bytes | None:
        """Return a file's content, or None if it hasn't been read yet."""
        return self._files.get(path)

    def list_now(self, path: str) -> Sequence[DirEntry] | None:
        """Return a directory's entries, or None if it hasn't been listed yet."""
        return self._dirs.get(path)

    async def read_file(self, path: str) -> bytes:
        """Return a file's content, from the host only once. Raises `BassError` if there is none, or above a limit."""
        if path not in self._files:
            content = await self._inner.read_file(path)
            if path not in self._files:  # another task may have read it meanwhile
                self._count(path, len(content))
                self._files[path] = content
        return self._files[path]

    async def list_dir(self, path: str) -> Sequence[DirEntry]:
        """Return a directory's entries, sorted by name, from the host only once; raises as `read_file` does."""
        if path not in self._dirs:
            entries = tuple(sorted(await self._inner.list_dir(path)))
            for entry in entries:
                if entry.name in ("", ".", "..") or "/" in entry.name:
                    raise BassError(
                        f"{self.name} has a file with an impossible name: {entry.name!r}"
                    )
            if path not in self._dirs:
                self._count(path, 64 * len(entries))
                self._dirs[path] = entries
        return self._dirs[path]

    def _count(self, path: str, size: int) -> None:
        if self._size + size > MAX_CACHED or len(self._files) >= MAX_FILES:
            raise BassError(
                f"{self.name}/{path} is too much: scripts may read {MAX_CACHED >> 20} MiB in {MAX_FILES:,} files of "
                "it; narrow it down with globs, or clone the repository in a thunk"
            )
        self._size += size


Files: TypeAlias = "MemoryFiles | CachedFiles"


@final
@value_type
class FSPath(PlacedPath):
    """A path in a file system: in memory, as std's modules are, or the host's, as a repository is."""

    kind = "file system path"

    fs: Files
    path: NamePath = HERE

    def at(self, path: NamePath) -> FSPath:
        return FSPath(self.fs, path)

    def read_now(self) -> bytes:
        """Return the file's content. Raises `NotRead` if the host hasn't read it yet, `BassError` if there is none."""
        content = self.fs.read_now(self.inside())
        if content is None:
            raise NotRead(self)
        return content

    def list_now(self) -> Sequence[DirEntry]:
        """Return the directory's entries; raises as `read_now` does."""
        entries = self.fs.list_now(self.inside())
        if entries is None:
            raise NotRead(self)
        return entries

    async def read(self) -> bytes:
        """Return the file's content, from the host if need be. Raises `BassError` if there is none."""
        return await self.fs.read_file(self.inside())

    async def read_all(self) -> None:
        """Read this file, or everything in this directory, into the cache, for `read_now` and `list_now`."""
        if isinstance(self.path, FilePath):
            await self.read()
            return
        waiting = [self.inside()]
        while waiting:
            folder = waiting.pop()
            for entry in await self.fs.list_dir(folder):
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir:
                    waiting.append(path)
                else:
                    await self.fs.read_file(path)


@PRINTED.of(FSPath)
def _path(path: FSPath) -> Parts:
    yield Verbatim(f"<{path.fs.name}>/{path.path.slash().removeprefix('./')}")


def repository_dir(tree: FileSystem | Files, path: NamePath = HERE) -> FSPath:
    """Return a path in a file system of the host. Scripts can't make one."""
    return FSPath(tree if isinstance(tree, MemoryFiles | CachedFiles) else CachedFiles(tree), path)


def memory_file(name: str, content: bytes) -> FSPath:
    """Return a file in memory, in a file system of its own."""
    return FSPath(MemoryFiles({name: content}), FilePath(name))


def _missing(what: str, path: str, why: str) -> BassError:
    return BassError(f"there is no {what} ./{path}" + (f": {why}" if why else ""))
