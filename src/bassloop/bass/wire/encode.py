"""Encoding values as messages.

The bytes are written directly, in Go's order: a message's fields by number, those of a oneof after all others. A thunk
is written after the thunks in it, and only once, however often it's used, so chains can have any length. Files of the
host are encoded with their contents, and must have been read before (`read_files`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from google.protobuf.message import DecodeError

from bassloop.bass.errors import BassError, cannot_encode, wrong_type
from bassloop.bass.filesystem import FSPath, MemoryFiles, NotRead
from bassloop.bass.path import CachePath, CommandPath, DirPath, FilePath, HostPath, NamePath
from bassloop.bass.thunk import (
    ImageArchive,
    ImageBuild,
    ImageRef,
    Mount,
    Platform,
    Secret,
    Thunk,
    ThunkAddr,
    ThunkPath,
)
from bassloop.bass.values import EMPTY, Pair, Scope, Value, end_of, strip
from bassloop.bass.wire.protobuf_fields import (
    Encoded,
    Pieces,
    field,
    flag,
    joined,
    merged,
    message_field,
    number_field,
    text_field,
)
from bassloop.wire import bass_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from google.protobuf.message import Message

_M = TypeVar("_M", bound="Message")

MAX_DEPTH: Final = 90
"""The maximum nesting of messages from one thunk to the next. Protobuf's parsers accept 100."""


def encode(value: Value) -> pb.Value:
    """Return a value's message.

    Raises `BassError` for a value that isn't data (a symbol, a function, a source), and `NotRead` for files of the host
    that haven't been read.
    """
    return _message(pb.Value, _ValueWriter.value, value)


def encode_thunk(thunk: Thunk) -> pb.Thunk:
    """Return a thunk's message; raises as `encode` does."""
    return pb.Thunk.FromString(encoded_thunk(thunk))


def encoded_thunk(thunk: Thunk, *, strict: bool = True) -> bytes:
    """Return the bytes of a thunk's message in Go's order, as digests need them; raises as `encode` does.

    Without `strict`, files of the host that haven't been read are represented by their identity instead of their
    content. Use that only to compare thunks.
    """
    return joined([_written(_ValueWriter.thunk, thunk, strict)])


def encode_thunk_path(path: ThunkPath) -> pb.ThunkPath:
    """Return a thunk path's message; raises as `encode` does."""
    return _message(pb.ThunkPath, _ValueWriter.thunk_path, path)


def encode_addr(addr: ThunkAddr) -> pb.ThunkAddr:
    """Return a thunk address's message; raises as `encode` does."""
    return _message(pb.ThunkAddr, _ValueWriter.addr, addr)


def encode_ref(ref: ImageRef) -> pb.ImageRef:
    """Return an image reference's message; raises as `encode` does."""
    return _message(pb.ImageRef, _ValueWriter.ref, ref)


def encode_name_path(path: NamePath) -> pb.FilesystemPath:
    """Return the message of a path that is only a name."""
    return pb.FilesystemPath.FromString(_name_path(path))


def _message(kind: type[_M], write: Callable[[_ValueWriter, Any], Pieces], value: Any) -> _M:
    try:
        return kind.FromString(joined([_written(write, value, strict=True)]))
    except DecodeError as error:
        raise BassError(f"cannot encode: {error}") from error


def _written(write: Callable[[_ValueWriter, Any], Any], value: Any, strict: bool) -> Encoded:
    try:
        return _ValueWriter(strict).whole(write, value)
    except UnicodeEncodeError as error:
        raise BassError("cannot encode: a string has bytes that aren't UTF-8") from error
    except (TypeError, ValueError) as error:
        raise BassError(f"cannot encode: {error}") from error


# --- messages that no thunk is in ---


def _name_path(path: NamePath) -> bytes:
    return field(1, _file_path(path)) if isinstance(path, FilePath) else field(2, _dir_path(path))


def _dir_path(path: Any) -> bytes:
    globs = ((2, path.include), (3, path.exclude))
    return text_field(1, path.path) + b"".join(
        field(number, each.encode()) for number, patterns in globs for each in patterns
    )


def _file_path(path: FilePath) -> bytes:
    return text_field(1, path.path)


def _host_path(path: HostPath) -> bytes:
    return text_field(1, path.context) + field(2, _name_path(path.path))


def _cache_path(path: CachePath) -> bytes:
    return text_field(1, path.id) + field(2, _name_path(path.path)) + number_field(3, path.mode)


def _platform(platform: Platform) -> bytes:
    return text_field(1, platform.os) + text_field(2, platform.arch)


# --- messages that thunks may be in ---


class _ValueWriter:
    """Writes a value, after the thunks in it."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._compared: dict[int, Encoded] = {}
        self._missing: list[Thunk] = []
        self._parts = 0
        self._depth = 0

    def whole(self, write: Callable[[_ValueWriter, Any], Pieces], value: Any) -> Encoded:
        """Return the encoding of a value, which one of the methods writes, after writing the thunks in it."""
        while True:
            written = self._once(write, value)
            if not self._missing:
                return written
            self._write_thunks()

    def _once(self, write: Callable[[_ValueWriter, Any], Pieces], value: Any) -> Encoded:
        self._parts, self._depth = 0, 0
        return Encoded(write(self, value), self._parts)

    def _write_thunks(self) -> None:
        todo, self._missing = self._missing, []
        while todo:
            thunk = todo[-1]
            if self._known(thunk) is None:
                written = self._once(_ValueWriter._fill_thunk, thunk)
                if self._missing:
                    todo += self._missing
                    self._missing = []
                    continue
                if self._strict:
                    thunk.cached_encoding = written
                else:
                    self._compared[id(thunk)] = written
            todo.pop()

    def _known(self, thunk: Thunk) -> Encoded | None:
        if self._strict:
            return getattr(thunk, "cached_encoding", None)
        return self._compared.get(id(thunk))

    def thunk(self, thunk: Thunk) -> list[bytes | Encoded]:
        """Return a thunk's encoding. If it hasn't been written, note it and return nothing."""
        known = self._known(thunk)
        if known is None:
            self._missing.append(thunk)
            return []
        return [known]

    def _fill_thunk(self, thunk: Thunk) -> Pieces:
        ports = ((port + 2**31) % 2**32 - 2**31 for _, port in thunk.ports)
        pieces: list[bytes | Encoded] = []
        if thunk.image is not None:
            pieces += message_field(1, self._image(thunk.image))
        pieces.append(flag(2, thunk.insecure))
        for number, values in ((4, thunk.args), (5, thunk.stdin)):
            for value in values:
                pieces += message_field(number, self.value(value))
        pieces += self._bindings(6, thunk.env)
        if thunk.dir is not None:
            pieces += message_field(7, self._directory(thunk.dir))
        for mount in thunk.mounts:
            pieces += message_field(8, self._mount(mount))
        pieces += self._bindings(9, thunk.labels)
        pieces += (
            field(10, text_field(1, name) + number_field(2, port))
            for (name, _), port in zip(thunk.ports, ports, strict=True)
        )
        if thunk.tls is not None:
            cert, key = map(_file_path, thunk.tls)
            pieces.append(field(11, field(1, cert) + field(2, key)))
        pieces += (field(12, word.encode()) for word in thunk.entrypoint)
        pieces.append(flag(13, thunk.clear_entrypoint))
        pieces += (field(14, word.encode()) for word in thunk.default_args)
        pieces.append(flag(15, thunk.clear_default_args) + flag(16, thunk.use_entrypoint))
        self._parts += len(thunk.args) + len(thunk.mounts) + len(thunk.ports)
        return merged(pieces)

    def value(self, value: Value) -> Pieces:
        """Return a value's fields."""
        value = strip(value)
        self._parts += 1
        if value is None:
            return _NULL
        kind = value.__class__
        if kind is str:
            return [field(4, text_field(1, value))]
        if kind is bool:
            return [field(2, flag(1, value))]
        if kind is int:
            return [field(3, number_field(1, value))]
        if value is EMPTY or kind is Pair:
            return self._array(value)
        if kind is Scope:
            return self._object(value)
        found = _VALUES.get(kind)
        if found is None:
            raise cannot_encode(value)
        number, write = found
        return message_field(number, write(self, value))

    def _array(self, value: Value) -> Pieces:
        members: list[Value] = []
        if end_of(value, members) is not EMPTY:
            raise cannot_encode(value)
        self._enter(2)
        pieces: list[bytes | Encoded] = []
        for member in members:
            pieces += message_field(1, self.value(member))
        self._depth -= 2
        return message_field(6, pieces)

    def _object(self, scope: Scope) -> Pieces:
        self._enter(3)
        pieces = self._bindings(1, scope.items())
        self._depth -= 3
        return message_field(7, pieces)

    def _enter(self, levels: int) -> None:
        self._depth += levels
        if self._depth > MAX_DEPTH:
            raise BassError(
                f"this is nested too deep to be encoded: messages of lists, scopes and directories may have "
                f"{MAX_DEPTH} levels (a list takes 2 of them, a scope 3, a directory 2)"
            )

    def _bindings(self, number: int, pairs: Iterable[tuple[str, Value]]) -> list[bytes | Encoded]:
        pieces: list[bytes | Encoded] = []
        for name, value in pairs:
            pieces += message_field(
                number, [text_field(1, name), *message_field(2, self.value(value))]
            )
        return pieces

    def _image(self, image: Any) -> Pieces:
        number, write = _IMAGES[image.__class__]
        return message_field(number, write(self, image))

    def ref(self, ref: ImageRef) -> Pieces:
        """Return an image reference's fields."""
        head = (
            field(1, _platform(ref.platform)) + text_field(4, ref.tag) + text_field(5, ref.digest)
        )
        if isinstance(ref.repository, ThunkAddr):
            return [head, *message_field(6, self.addr(ref.repository))]
        return [head + text_field(2, ref.repository)]

    def _archive(self, archive: ImageArchive) -> Pieces:
        return [
            field(1, _platform(archive.platform)) + text_field(3, archive.tag),
            *message_field(4, self._source(archive.file)),
        ]

    def _build(self, build: ImageBuild) -> Pieces:
        pieces = [
            field(1, _platform(build.platform)),
            *message_field(2, self._source(build.context)),
            b"" if build.dockerfile is None else field(3, build.dockerfile.slash().encode()),
            text_field(4, build.target),
        ]
        for name, value in build.args:
            text = strip(value)
            if not isinstance(text, str):
                raise wrong_type(text, "string", f"the build argument {name}")
            pieces.append(field(5, text_field(1, name) + text_field(2, text)))
        return pieces

    def _mount(self, mount: Mount) -> Pieces:
        return [*message_field(1, self._source(mount.source)), field(2, _name_path(mount.target))]

    def _source(self, source: Any) -> Pieces:
        """Return the field of a mount's source or an image's input, which have the same numbers."""
        number, write = _SOURCES[source.__class__]
        return message_field(number, write(self, source))

    def _directory(self, path: Any) -> Pieces:
        number, write = _DIRECTORIES[path.__class__]
        return message_field(number, write(self, path))

    def thunk_path(self, path: ThunkPath) -> Pieces:
        """Return a thunk path's fields."""
        return [*message_field(1, self.thunk(path.thunk)), field(2, _name_path(path.path))]

    def addr(self, addr: ThunkAddr) -> Pieces:
        """Return a thunk address's fields."""
        return [
            *message_field(1, self.thunk(addr.thunk)),
            text_field(2, addr.port) + text_field(3, addr.format),
        ]

    def _logical_path(self, path: FSPath) -> Pieces:
        self._parts += 1
        try:
            if isinstance(path.path, FilePath):
                content = path.read_now()
                file = text_field(1, path.path_name()) + (field(2, content) if content else b"")
                return [field(1, file)]
            entries = path.list_now()
        except NotRead:
            if self._strict:
                raise
            return [field(1, text_field(1, f"{id(path.fs)}/{path.path.path}"))]
        self._enter(2)
        pieces: list[bytes | Encoded] = [text_field(1, path.path_name())]
        for entry in entries:
            child = DirPath(entry.name) if entry.is_dir else FilePath(entry.name)
            pieces += message_field(2, self._logical_path(path.extend(child)))
        self._depth -= 2
        return message_field(2, pieces)


def _leaf(write: Callable[[Any], bytes]) -> Callable[[_ValueWriter, Any], Pieces]:
    """Return a writer of a message that can't contain thunks."""
    return lambda writer, value: [write(value)]


_NULL: Final = (field(1, b""),)

_Write: TypeAlias = "tuple[int, Callable[[_ValueWriter, Any], Pieces]]"
_SECRET: Final = _leaf(lambda secret: text_field(1, secret.name))

_VALUES: Final[dict[type, _Write]] = {
    Secret: (5, _SECRET),
    Thunk: (8, _ValueWriter.thunk),
    CommandPath: (9, _leaf(lambda path: text_field(1, path.command))),
    FilePath: (10, _leaf(_file_path)),
    DirPath: (11, _leaf(_dir_path)),
    HostPath: (12, _leaf(_host_path)),
    ThunkPath: (13, _ValueWriter.thunk_path),
    FSPath: (14, _ValueWriter._logical_path),
    ThunkAddr: (15, _ValueWriter.addr),
    CachePath: (16, _leaf(_cache_path)),
}
_IMAGES: Final[dict[type, _Write]] = {
    ImageRef: (1, _ValueWriter.ref),
    Thunk: (2, _ValueWriter.thunk),
    ImageArchive: (3, _ValueWriter._archive),
    ImageBuild: (4, _ValueWriter._build),
}
_SOURCES: Final[dict[type, _Write]] = {
    ThunkPath: (1, _ValueWriter.thunk_path),
    HostPath: (2, _leaf(_host_path)),
    FSPath: (3, _ValueWriter._logical_path),
    CachePath: (4, _leaf(_cache_path)),
    Secret: (5, _SECRET),
}
_DIRECTORIES: Final[dict[type, _Write]] = {
    DirPath: (12, _leaf(_dir_path)),
    ThunkPath: (13, _ValueWriter.thunk_path),
    HostPath: (14, _leaf(_host_path)),
}
"""The numbers and writers of fields, by the class of the value in them."""


# --- files of the host ---


async def read_files(value: Value) -> None:
    """Read all files of the host in a value (a thunk's mounts, for example), so that it can be encoded.

    Raises `BassError` if one is missing, or above the limits of `CachedFiles`.
    """
    for path in list(_host_files(value)):
        await path.read_all()


def _host_files(value: Value) -> Iterator[FSPath]:
    todo: list[Any] = [value]
    seen: set[int] = set()
    while todo:
        item = strip(todo.pop())
        if isinstance(item, FSPath):
            if not isinstance(item.fs, MemoryFiles):
                yield item
            continue
        inner = _INNER.get(item.__class__)
        if inner is not None and id(item) not in seen:
            seen.add(id(item))
            todo.extend(inner(item))


def _in_list(pair: Pair) -> list[Value]:
    members: list[Value] = []
    end_of(pair, members)
    return members


def _in_thunk(thunk: Thunk) -> list[Value]:
    bound = [value for _, value in (*thunk.env, *thunk.labels)]
    return [thunk.image, thunk.dir, *thunk.args, *thunk.stdin, *thunk.mounts, *bound]


_INNER: Final[dict[type, Callable[[Any], list[Any]]]] = {
    Scope: lambda scope: [value for _, value in scope.items()],
    Pair: _in_list,
    Thunk: _in_thunk,
    ThunkPath: lambda path: [path.thunk],
    ThunkAddr: lambda addr: [addr.thunk],
    ImageRef: lambda ref: [ref.repository],
    ImageArchive: lambda archive: [archive.file],
    ImageBuild: lambda build: [build.context],
    Mount: lambda mount: [mount.source],
}
"""The inner values that may contain files, by the class of a value or of a thunk's part."""
