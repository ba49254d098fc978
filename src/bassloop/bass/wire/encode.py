"""Values to messages.

Messages are filled in place, from a list of what is still to be filled, so that a chain of thunks may be of any length.
A file of the host is sent with its content, and must have been read before (`read_files`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from bassloop.bass.errors import BassError, cannot_encode, wrong_type
from bassloop.bass.filesystem import FSPath, MemoryFiles, NotRead
from bassloop.bass.path import CachePath, CommandPath, DirPath, FilePath, HostPath, NamePath
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
from bassloop.bass.values import EMPTY, Pair, Scope, Value, end_of, strip
from bassloop.wire import bass_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


_M = TypeVar("_M")

MAX_PARTS: Final = 500_000
"""How many values and messages one message may consist of."""
MAX_BYTES: Final = 64 << 20
"""How many bytes of files one message may hold."""


def encode(value: Value) -> pb.Value:
    """Return a value's message.

    Raises `BassError` for what isn't data (a symbol, a function, a source), and `NotRead` for files of the host that
    haven't been read.
    """
    return _filled(pb.Value(), value)


def encode_thunk(thunk: Thunk, *, strict: bool = True) -> pb.Thunk:
    """Return a thunk's message; raises as `encode` does.

    Without `strict`, files of the host stand for themselves, whether they have been read or not. Such a message only
    serves to compare thunks.
    """
    return _filled(pb.Thunk(), thunk, strict=strict)


def encode_thunk_path(path: ThunkPath) -> pb.ThunkPath:
    """Return a thunk path's message; raises as `encode` does."""
    return _filled(pb.ThunkPath(), path)


def encode_addr(addr: ThunkAddr) -> pb.ThunkAddr:
    """Return a thunk address's message; raises as `encode` does."""
    return _filled(pb.ThunkAddr(), addr)


def encode_ref(ref: ImageRef) -> pb.ImageRef:
    """Return an image reference's message; raises as `encode` does."""
    return _filled(pb.ImageRef(), ref)


def encode_name_path(path: NamePath) -> pb.FilesystemPath:
    """Return the message of a path that is only a name."""
    return _filled(pb.FilesystemPath(), path)


def _filled(message: _M, value: Any, *, strict: bool = True) -> _M:
    encoder = _Encoder(strict)
    encoder.put(message, value)
    try:
        encoder.run()
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        raise BassError(f"cannot encode: {error}") from error
    return message


class _Encoder:
    """Fills messages with values. What is still to be filled waits in a list."""

    def __init__(self, strict: bool) -> None:
        self._todo: list[tuple[Any, Any]] = []
        self._strict = strict
        self._parts = 0
        self._bytes = 0

    def put(self, message: Any, value: Any) -> None:
        """Add a message to what is to be filled. It is present from now on, even if it stays empty."""
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
                raise cannot_encode(value)
            message.array.SetInParent()
            for member in members:
                self.put(message.array.values.add(), member)
        elif value.__class__ is Scope:
            message.object.SetInParent()
            self.bindings(message.object.bindings, value.items())
        else:
            field = _VALUES.get(value.__class__)
            if field is None:
                raise cannot_encode(value)
            self.put(getattr(message, field), value)

    def bindings(self, repeated: Any, pairs: Iterable[tuple[str, Value]]) -> None:
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
        self.put(getattr(message, _IMAGES[image.__class__]), image)

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
                raise wrong_type(text, "string", f"the build argument {name}")
            message.args.add(name=name, value=text)

    def mount(self, message: pb.ThunkMount, mount: Mount) -> None:
        self.put(message.source, mount.source)
        self.put(message.target, mount.target)

    def source(self, message: Any, path: Any) -> None:
        """Fill a oneof by the type of the path."""
        self.put(getattr(message, _SOURCES[path.__class__]), path)

    def directory(self, message: pb.ThunkDir, path: Any) -> None:
        field = "local" if isinstance(path, DirPath) else _SOURCES[path.__class__]
        self.put(getattr(message, field), path)

    def thunk_path(self, message: pb.ThunkPath, path: ThunkPath) -> None:
        self.put(message.thunk, path.thunk)
        self.put(message.path, path.path)

    def host_path(self, message: pb.HostPath, path: HostPath) -> None:
        message.context = path.context
        self.put(message.path, path.path)

    def cache_path(self, message: pb.CachePath, path: CachePath) -> None:
        message.id = path.id
        message.concurrency = pb.ConcurrencyMode.Name(path.mode)  # type: ignore[assignment]
        self.put(message.path, path.path)

    def logical_path(self, message: pb.LogicalPath, path: FSPath) -> None:
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

    def name_path(self, message: pb.FilesystemPath, path: NamePath) -> None:
        self.put(message.file if isinstance(path, FilePath) else message.dir, path)

    def dir_path(self, message: pb.DirPath, path: DirPath) -> None:
        message.path = path.path
        message.include.extend(path.include)
        message.exclude.extend(path.exclude)

    def file_path(self, message: pb.FilePath, path: FilePath) -> None:
        message.path = path.path

    def command_path(self, message: pb.CommandPath, path: CommandPath) -> None:
        message.name = path.command

    def secret(self, message: pb.Secret, secret: Secret) -> None:
        message.name = secret.name


_FILL: Final[dict[type, Callable[[_Encoder, Any, Any], None]]] = {
    pb.Value: _Encoder.value, pb.Thunk: _Encoder.thunk, pb.ThunkImage: _Encoder.image, pb.ImageRef: _Encoder.ref,
    pb.ImageArchive: _Encoder.archive, pb.ImageDockerBuild: _Encoder.build, pb.ThunkMount: _Encoder.mount,
    pb.ThunkMountSource: _Encoder.source, pb.ImageBuildInput: _Encoder.source, pb.ThunkDir: _Encoder.directory,
    pb.ThunkPath: _Encoder.thunk_path, pb.HostPath: _Encoder.host_path, pb.CachePath: _Encoder.cache_path,
    pb.LogicalPath: _Encoder.logical_path, pb.ThunkAddr: _Encoder.addr, pb.Platform: _Encoder.platform,
    pb.FilesystemPath: _Encoder.name_path, pb.DirPath: _Encoder.dir_path, pb.FilePath: _Encoder.file_path,
    pb.CommandPath: _Encoder.command_path, pb.Secret: _Encoder.secret,
}  # fmt: skip
"""How each type of message is filled."""

_VALUES: Final = {
    Secret: "secret", Thunk: "thunk", CommandPath: "command_path", FilePath: "file_path", DirPath: "dir_path",
    HostPath: "host_path", ThunkPath: "thunk_path", FSPath: "logical_path", ThunkAddr: "thunk_addr",
    CachePath: "cache_path",
}  # fmt: skip
_IMAGES: Final = {
    ImageRef: "ref", Thunk: "thunk", ImageArchive: "archive", ImageBuild: "docker_build"
}  # fmt: skip
_SOURCES: Final = {
    ThunkPath: "thunk", HostPath: "host", FSPath: "logical", CachePath: "cache", Secret: "secret"
}  # fmt: skip


# --- files of the host ---


async def read_files(value: Value) -> None:
    """Read all files of the host that a value refers to (as a thunk's mounts, for example), so that it can be encoded.

    Raises `BassError` if one is missing, or they are too much.
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
"""What is inside of values, and of the parts of thunks, that files may be in."""
