"""File systems that paths can stand on: in memory, or the host's (a repository, std), read when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias, final

from bassloop.bass import errors
from bassloop.bass.errors import BassError
from bassloop.bass.path import HERE, FilePath, NamePath, PlacedPath, named_json
from bassloop.bass.values import Value, Verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


MAX_KEPT: Final = 64 << 20
MAX_FILES: Final = 20_000


class DirEntry(NamedTuple):
    """A member of a directory: its name alone, without a slash."""

    name: str
    is_dir: bool


class FileSystem(Protocol):
    """Read-only files that a path value (`paths.FSPath`) stands on: a repository, std, an in-memory tree.

    Paths are relative to the root, with forward slashes, without `.` and `..` and without a slash at either
    end; "" is the root.
    """

    @property
    def name(self) -> str:
        """What a path into it prints as: "repository", "std"."""

    async def read_file(self, path: str) -> bytes:
        """The content of a file. Raises `BassError` if there is none."""

    async def list_dir(self, path: str) -> Sequence[DirEntry]:
        """The members of a directory, sorted by name. Raises `BassError` if there is none."""


class NotRead(BassError):
    """A file or directory of the host is needed at once, and has not been read yet (`read_files` does)."""

    def __init__(self, path: FSPath) -> None:
        super().__init__(lambda: f"{errors.brief(path)} has not been read yet")
        self.path = path


@final
class MemoryFiles:
    """Files in memory, by their clean relative paths. What `mkfs` makes."""

    __slots__ = ("_dirs", "_files", "name")

    def __init__(self, files: Mapping[str, bytes], name: str = "fs") -> None:
        """Raises `BassError` for a file where another one needs a directory."""
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
        """A file's content. Raises `BassError` if there is none."""
        content = self._files.get(path)
        if content is None:
            raise _no("file", path, "it is a directory" if path in self._dirs else "")
        return content

    def list_now(self, path: str) -> Sequence[DirEntry]:
        """A directory's members, sorted by name. Raises `BassError` if there is none."""
        entries = self._dirs.get(path)
        if entries is None:
            raise _no("directory", path, "it is a file" if path in self._files else "")
        return sorted(entries)

    async def read_file(self, path: str) -> bytes:
        """The same, as hosts do it."""
        return self.read_now(path)

    async def list_dir(self, path: str) -> Sequence[DirEntry]:
        """The same, as hosts do it."""
        return self.list_now(path)


@final
class CachedFiles:
    """A file system of the host that remembers what was read, so that thunks with files can be told by name.

    Keeps up to 64 MiB, then refuses to read on.
    """

    __slots__ = ("_dirs", "_files", "_inner", "_size", "name")

    def __init__(self, inner: FileSystem) -> None:
        self.name = inner.name
        self._inner = inner
        self._files: dict[str, bytes] = {}
        self._dirs: dict[str, tuple[DirEntry, ...]] = {}
        self._size = 0

    def read_now(self, path: str) -> bytes | None:
        """A file's content, None if it was not read yet."""
        return self._files.get(path)

    def list_now(self, path: str) -> Sequence[DirEntry] | None:
        """A directory's members, None if it was not listed yet."""
        return self._dirs.get(path)

    async def read_file(self, path: str) -> bytes:
        """A file's content; asked for once. Raises `BassError` if there is none, or it is too much to keep."""
        if path not in self._files:
            content = await self._inner.read_file(path)
            self._keep(path, len(content))
            self._files[path] = content
        return self._files[path]

    async def list_dir(self, path: str) -> Sequence[DirEntry]:
        """A directory's members, sorted by name; asked for once."""
        if path not in self._dirs:
            entries = tuple(sorted(await self._inner.list_dir(path)))
            for entry in entries:
                if entry.name in ("", ".", "..") or "/" in entry.name:
                    raise BassError(
                        f"{self.name} has a file with an impossible name: {entry.name!r}"
                    )
            self._keep(path, 64 * len(entries))
            self._dirs[path] = entries
        return self._dirs[path]

    def _keep(self, path: str, size: int) -> None:
        if self._size + size > MAX_KEPT or len(self._files) >= MAX_FILES:
            raise BassError(
                f"{self.name}/{path} is too much: scripts may read {MAX_KEPT >> 20} MiB in {MAX_FILES:,} files "
                "of it; narrow it down with globs, or clone the repository in a thunk"
            )
        self._size += size


Files: TypeAlias = "MemoryFiles | CachedFiles"


@final
class FSPath(PlacedPath):
    """A path in files that are in memory, or that the host has: a repository's, or std's."""

    __slots__ = ("fs",)
    kind = "file system path"

    def __init__(self, fs: Files, path: NamePath = HERE) -> None:
        self.fs = fs
        self.path = path

    def at(self, path: NamePath) -> FSPath:
        return FSPath(self.fs, path)

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim(f"<{self.fs.name}>/{self.path.slash().removeprefix('./')}")

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim('{"path":')
        yield from named_json(self.path)
        yield Verbatim("}")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        if self.fs is not other.fs or isinstance(self.fs, MemoryFiles):
            return False
        pending.append((self.path, other.path))
        return True

    def read_now(self) -> bytes:
        """The file's content. Raises `NotRead` if the host has to be asked, `BassError` if there is none."""
        content = self.fs.read_now(self.inside())
        if content is None:
            raise NotRead(self)
        return content

    def list_now(self) -> Sequence[DirEntry]:
        """The directory's members, with the errors of `read_now`."""
        entries = self.fs.list_now(self.inside())
        if entries is None:
            raise NotRead(self)
        return entries

    async def read(self) -> bytes:
        """The file's content, asking the host if need be. Raises `BassError` if there is none."""
        return await self.fs.read_file(self.inside())

    async def read_all(self) -> None:
        """Have this file, or all that is in this directory, read, so that `read_now` and `list_now` answer."""
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


def repository_dir(tree: FileSystem | Files, path: NamePath = HERE) -> FSPath:
    """A path in files that the host provides, read-only. Scripts cannot make one."""
    return FSPath(tree if isinstance(tree, MemoryFiles | CachedFiles) else CachedFiles(tree), path)


def memory_file(name: str, content: bytes) -> FSPath:
    """A file in memory of its own."""
    return FSPath(MemoryFiles({name: content}), FilePath(name))


def _no(what: str, path: str, why: str) -> BassError:
    return BassError(f"there is no {what} ./{path}" + (f": {why}" if why else ""))
