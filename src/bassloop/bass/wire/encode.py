"""Values as messages of the wire. (`decode.py` is the way back.)

Messages are filled in place, from a list of what is still to be filled, so that no chain of thunks is too
long. A file that the host has is sent with its content: it must have been read before (`read_files`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bassloop.bass import errors
from bassloop.bass.errors import BassError
from bassloop.bass.filesystem import FSPath, MemoryFiles, NotRead
from bassloop.bass.pair import Pair, end_of
from bassloop.bass.path import (
    CachePath,
    CommandPath,
    DirPath,
    FilePath,
    HostPath,
    NamePath,
    PlacedPath,
)
from bassloop.bass.scope import Scope
from bassloop.bass.thunk import (
    Image,
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
from bassloop.bass.values import EMPTY, Value, strip
from bassloop.wire import bass_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.message import Message


MAX_PARTS: Final = 500_000
"""How many values and messages one message may be made of."""
MAX_BYTES: Final = 64 << 20

# --- to messages ---


def encode(value: Value) -> pb.Value:
    """A value's message. Raises `BassError` for what is no data: a symbol, a function, a source."""
    message = pb.Value()
    _fill(message, value)
    return message


def encode_thunk(thunk: Thunk) -> pb.Thunk:
    """A thunk's message. Raises `BassError` if something in it is no data, `NotRead` for the host's files."""
    message = pb.Thunk()
    _fill(message, thunk)
    return message


def encode_thunk_path(path: ThunkPath) -> pb.ThunkPath:
    """A thunk path's message."""
    message = pb.ThunkPath()
    _fill(message, path)
    return message


def encode_addr(addr: ThunkAddr) -> pb.ThunkAddr:
    """A thunk address's message."""
    message = pb.ThunkAddr()
    _fill(message, addr)
    return message


def encode_ref(ref: ImageRef) -> pb.ImageRef:
    """An image reference's message."""
    message = pb.ImageRef()
    _fill(message, ref)
    return message


def to_json(value: Thunk | ThunkPath | ThunkAddr) -> str:
    """The JSON of what encodes as its message does."""
    from bassloop.bass.json import message_json

    if isinstance(value, Thunk):
        return message_json(encode_thunk(value))
    return message_json(
        encode_thunk_path(value) if isinstance(value, ThunkPath) else encode_addr(value)
    )


def same_thunk(left: Thunk, right: Thunk) -> bool:
    """Whether two thunks have the same message. Thunks that have none are the same as none."""
    messages = pb.Thunk(), pb.Thunk()
    try:
        _fill(messages[0], left, strict=False)
        _fill(messages[1], right, strict=False)
    except BassError:
        return False
    return messages[0] == messages[1]


def fill_name_path(message: pb.FilesystemPath, path: NamePath) -> None:
    """Put a path that is only a name into a message."""
    if isinstance(path, FilePath):
        message.file.path = path.path
        message.file.SetInParent()
    else:
        message.dir.path = path.path
        message.dir.include.extend(path.include)
        message.dir.exclude.extend(path.exclude)
        message.dir.SetInParent()


def _fill(message: Message, value: Any, *, strict: bool = True) -> None:
    """Fill a message from a value. Without `strict`, a file of the host may stand for itself, unread."""
    filler = _Filler(strict)
    filler.put(message, value)
    try:
        filler.run()
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        raise BassError(f"cannot encode: {error}") from error


class _Filler:
    """Fills messages, whose parts wait in a list."""

    def __init__(self, strict: bool) -> None:
        self._todo: list[tuple[Any, Any]] = []
        self._strict = strict
        self._parts = 0
        self._bytes = 0

    def put(self, message: Any, value: Any) -> None:
        """Have a message filled. It is there already, even if nothing will be in it."""
        message.SetInParent()
        self._todo.append((message, value))

    def run(self) -> None:
        while self._todo:
            self._parts += 1
            if self._parts > MAX_PARTS or self._bytes > MAX_BYTES:
                raise BassError(
                    f"this is too much to encode: a message may have {MAX_PARTS:,} parts, and {MAX_BYTES >> 20} MiB "
                    "of files"
                )
            message, value = self._todo.pop()
            _FILL[message.__class__](self, message, value)

    def value(self, message: pb.Value, value: Value) -> None:
        value = strip(value)
        if value is None:
            message.null.SetInParent()
        elif value.__class__ is bool:
            message.bool.value = value
            message.bool.SetInParent()
        elif value.__class__ is int:
            message.int.value = value
            message.int.SetInParent()
        elif value.__class__ is str:
            self._bytes += len(value)
            message.string.value = value
            message.string.SetInParent()
        elif value is EMPTY or value.__class__ is Pair:
            members: list[Value] = []
            if end_of(value, members) is not EMPTY:
                raise errors.cannot_encode(value)
            message.array.SetInParent()
            for member in members:
                self.put(message.array.values.add(), member)
        elif value.__class__ is Scope:
            message.object.SetInParent()
            self.bindings(message.object.bindings, value.items())
        else:
            field = _VALUES.get(value.__class__)
            if field is None:
                raise errors.cannot_encode(value)
            self.put(getattr(message, field), value)

    def bindings(self, repeated: Any, pairs: Any) -> None:
        for name, value in pairs:
            binding = repeated.add(symbol=name)
            self.put(binding.value, value)

    def thunk(self, message: pb.Thunk, thunk: Thunk) -> None:
        if thunk.image is not None:
            self.put(message.image, thunk.image)
        message.insecure = thunk.insecure
        for arg in thunk.args:
            self.put(message.args.add(), arg)
        for value in thunk.stdin:
            self.put(message.stdin.add(), value)
        self.bindings(message.env, thunk.env)
        if thunk.dir is not None:
            self.put(message.dir, thunk.dir)
        for mount in thunk.mounts:
            self.put(message.mounts.add(), mount)
        self.bindings(message.labels, thunk.labels)
        for name, port in thunk.ports:
            message.ports.add(name=name, port=(port + 2**31) % 2**32 - 2**31)
        if thunk.tls is not None:
            self.put(message.tls.cert, thunk.tls[0])
            self.put(message.tls.key, thunk.tls[1])
        message.entrypoint.extend(thunk.entrypoint)
        message.clear_entrypoint = thunk.clear_entrypoint
        message.default_args.extend(thunk.default_args)
        message.clear_default_args = thunk.clear_default_args
        message.use_entrypoint = thunk.use_entrypoint

    def image(self, message: pb.ThunkImage, image: Image) -> None:
        field = {
            ImageRef: "ref",
            Thunk: "thunk",
            ImageArchive: "archive",
            ImageBuild: "docker_build",
        }
        self.put(getattr(message, field[image.__class__]), image)

    def ref(self, message: pb.ImageRef, ref: ImageRef) -> None:
        self.put(message.platform, ref.platform)
        if ref.tag:
            message.tag = ref.tag
        if ref.digest:
            message.digest = ref.digest
        if isinstance(ref.repository, ThunkAddr):
            self.put(message.addr, ref.repository)
        elif ref.repository:
            message.repository = ref.repository

    def archive(self, message: pb.ImageArchive, archive: ImageArchive) -> None:
        self.put(message.platform, archive.platform)
        self.put(message.file, archive.file)
        if archive.tag:
            message.tag = archive.tag

    def build(self, message: pb.ImageDockerBuild, build: ImageBuild) -> None:
        self.put(message.platform, build.platform)
        self.put(message.context, build.context)
        if build.dockerfile is not None:
            message.dockerfile = build.dockerfile.slash()
        if build.target:
            message.target = build.target
        for name, value in build.args:
            text = strip(value)
            if text.__class__ is not str:
                raise errors.wrong_type(text, "string", f"the build argument {name}")
            message.args.add(name=name, value=text)

    def mount(self, message: pb.ThunkMount, mount: Mount) -> None:
        self.put(message.source, mount.source)
        fill_name_path(message.target, mount.target)

    def placed(self, message: Any, path: Any) -> None:
        """One of a oneof, by the type of the path."""
        self.put(getattr(message, _SOURCES[path.__class__]), path)

    def directory(self, message: pb.ThunkDir, path: Any) -> None:
        self.put(
            message.local
            if isinstance(path, DirPath)
            else getattr(message, _SOURCES[path.__class__]),
            path,
        )

    def thunk_path(self, message: pb.ThunkPath, path: ThunkPath) -> None:
        self.put(message.thunk, path.thunk)
        fill_name_path(message.path, path.path)

    def host_path(self, message: pb.HostPath, path: HostPath) -> None:
        message.context = path.context
        fill_name_path(message.path, path.path)

    def cache_path(self, message: pb.CachePath, path: CachePath) -> None:
        message.id = path.id
        message.concurrency = pb.ConcurrencyMode.Name(path.mode)  # type: ignore[assignment]
        fill_name_path(message.path, path.path)

    def logical(self, message: pb.LogicalPath, path: FSPath) -> None:
        try:
            if isinstance(path.path, FilePath):
                content = path.read_now()
                self._bytes += len(content)
                message.file.name = path.path_name()
                message.file.content = content
                message.file.SetInParent()
                return
            entries = path.list_now()
        except NotRead:
            if self._strict:
                raise
            message.file.name = f"{id(path.fs)}/{path.path.path}"
            return
        message.dir.name = path.path_name()
        for entry in entries:
            child = DirPath(entry.name) if entry.is_dir else FilePath(entry.name)
            self.put(message.dir.entries.add(), path.extend(child))

    def addr(self, message: pb.ThunkAddr, addr: ThunkAddr) -> None:
        self.put(message.thunk, addr.thunk)
        message.port = addr.port
        message.format = addr.format

    def platform(self, message: pb.Platform, platform: Platform) -> None:
        message.os = platform.os
        message.arch = platform.arch

    def dir_path(self, message: pb.DirPath, path: DirPath) -> None:
        message.path = path.path
        message.include.extend(path.include)
        message.exclude.extend(path.exclude)

    def file_path(self, message: pb.FilePath, path: FilePath) -> None:
        message.path = path.path

    def name(self, message: Any, named: Any) -> None:
        message.name = named.command if isinstance(named, CommandPath) else named.name


_FILL: Final[dict[type, Callable[[_Filler, Any, Any], None]]] = {
    pb.Value: _Filler.value, pb.Thunk: _Filler.thunk, pb.ThunkImage: _Filler.image, pb.ImageRef: _Filler.ref,
    pb.ImageArchive: _Filler.archive, pb.ImageDockerBuild: _Filler.build, pb.ThunkMount: _Filler.mount,
    pb.ThunkMountSource: _Filler.placed, pb.ImageBuildInput: _Filler.placed, pb.ThunkDir: _Filler.directory,
    pb.ThunkPath: _Filler.thunk_path, pb.HostPath: _Filler.host_path, pb.CachePath: _Filler.cache_path,
    pb.LogicalPath: _Filler.logical, pb.ThunkAddr: _Filler.addr, pb.Platform: _Filler.platform,
    pb.DirPath: _Filler.dir_path, pb.FilePath: _Filler.file_path, pb.CommandPath: _Filler.name,
    pb.Secret: _Filler.name,
}  # fmt: skip
_VALUES: Final = {
    Secret: "secret", Thunk: "thunk", CommandPath: "command_path", FilePath: "file_path", DirPath: "dir_path",
    HostPath: "host_path", ThunkPath: "thunk_path", FSPath: "logical_path", ThunkAddr: "thunk_addr",
    CachePath: "cache_path",
}  # fmt: skip
_SOURCES: Final = {
    ThunkPath: "thunk", HostPath: "host", FSPath: "logical", CachePath: "cache", Secret: "secret"
}  # fmt: skip


# --- files of the host ---


async def read_files(value: Value) -> None:
    """Have all files read that a value takes along (a thunk's mounts, say), so that it can be encoded.

    Raises `BassError` if one is missing, or they are too much.
    """
    for path in list(_files(value)):
        await path.read_all()


def _files(value: Value) -> Iterator[FSPath]:
    """The paths in a value that stand on files of the host."""
    todo: list[Any] = [value]
    seen: set[int] = set()
    while todo:
        item = strip(todo.pop())
        if isinstance(item, FSPath):
            if not isinstance(item.fs, MemoryFiles):
                yield item
            continue
        if id(item) in seen or not isinstance(item, _PARTS):
            continue
        seen.add(id(item))
        todo.extend(_inner(item))


_PARTS: Final = (
    ImageRef,
    ImageArchive,
    ImageBuild,
    Mount,
    Scope,
    Pair,
    Thunk,
    ThunkAddr,
    PlacedPath,
)


def _inner(item: Any) -> list[Any]:
    if isinstance(item, Scope):
        return [value for _, value in item.items()]
    if isinstance(item, Pair):
        members: list[Value] = []
        end_of(item, members)
        return members
    if isinstance(item, Thunk):
        bound = [value for _, value in (*item.env, *item.labels)]
        return [item.image, item.dir, *item.args, *item.stdin, *item.mounts, *bound]
    if isinstance(item, ThunkPath | ThunkAddr):
        return [item.thunk]
    if isinstance(item, ImageRef):
        return [item.repository]
    if isinstance(item, ImageArchive):
        return [item.file]
    if isinstance(item, ImageBuild):
        return [item.context]
    return [item.source] if isinstance(item, Mount) else []
