"""Decoding messages to values.

Messages are data, which grants no capabilities: a message that contains a host path is rejected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from bassloop.bass.errors import BassError
from bassloop.bass.filesystem import FSPath, MemoryFiles
from bassloop.bass.path import CachePath, CommandPath, DirPath, FilePath, NamePath
from bassloop.bass.thunk import (
    BuildInput,
    Image,
    ImageArchive,
    ImageBuild,
    ImageRef,
    Mount,
    MountSource,
    Platform,
    Secret,
    Thunk,
    ThunkAddr,
    ThunkPath,
)
from bassloop.bass.values import Scope, from_list
from bassloop.wire import bass_pb2 as pb
from bassloop.wire.nesting import TooManyParts, flatten, index_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bassloop.bass.values import Value

MAX_DEPTH: Final = 150
"""The maximum nesting of values in a message."""
MAX_PARTS: Final = 500_000
"""The maximum number of messages in an encoded thunk, not counting those that can't contain thunks."""


def decode(message: pb.Value) -> Value:
    """Return the value of a message. Raises `BassError` if it contains a host path, or isn't a value."""
    return _Decoder().value(message)


def decode_thunk(message: pb.Thunk) -> Thunk:
    """Return the thunk of a message; raises as `decode` does."""
    return _Decoder().thunk(message)


def decode_encoded_thunk(encoded: bytes) -> Thunk:
    """Return a thunk from the bytes of its message; raises as `decode` does, and for bytes that aren't a message.

    Thunks in it can be nested to any depth. Equal ones become the same object.
    """
    try:
        return decode_flat(
            [pb.Thunk.FromString(each.encoded) for each in flatten(encoded, MAX_PARTS)]
        )
    except DecodeError as error:
        raise BassError(f"this is no thunk: {error}") from error
    except TooManyParts as error:
        raise BassError(f"a thunk may have {MAX_PARTS:,} parts") from error


def decode_flat(messages: Iterable[pb.Thunk]) -> Thunk:
    """Return the last of some flattened thunks, each of which may refer to those before it; raises as `decode` does."""
    thunks: list[Thunk] = []
    for message in messages:
        thunks.append(_Decoder(thunks).thunk(message))
    return thunks[-1]


def decode_ref(message: pb.ImageRef) -> ImageRef:
    """Return the image reference of a message; raises as `decode` does."""
    return _Decoder().ref(message)


class _Decoder:
    """Decodes messages, down to `MAX_DEPTH`.

    Args:
        referred: the thunks that references stand for; None if the messages contain encoded thunks instead.
    """

    def __init__(self, referred: Sequence[Thunk] | None = None) -> None:
        self._depth = 0
        self._referred = referred
        self._decoded: dict[bytes, Thunk] = {}

    def value(self, message: pb.Value) -> Value:
        kind = message.WhichOneof("value")
        if kind is None:
            raise _missing("a value")
        if kind == "null":
            return None
        if kind == "host_path":
            raise _no_right()
        inner = getattr(message, kind)
        if kind in ("bool", "int", "string"):
            return inner.value
        self._enter()
        value = _VALUES[kind](self, inner)
        self._depth -= 1
        return value

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BassError(f"this message is nested deeper than {MAX_DEPTH}")

    def array(self, message: pb.Array) -> Value:
        return from_list([self.value(each) for each in message.values])

    def object(self, message: pb.Object) -> Scope:
        return Scope(dict(self.bindings(message.bindings)))

    def bindings(self, bindings: Iterable[pb.Binding]) -> tuple[tuple[str, Value], ...]:
        return tuple({each.symbol: self.value(each.value) for each in bindings}.items())

    def inner_thunk(self, encoded: bytes) -> Thunk:
        """Return a thunk that is a part of a message."""
        if self._referred is not None and encoded:
            return self._referred[index_of(encoded)]
        if encoded not in self._decoded:
            self._decoded[encoded] = decode_encoded_thunk(encoded)
        return self._decoded[encoded]

    def thunk(self, message: pb.Thunk) -> Thunk:
        return Thunk(
            image=self.image(message.image) if message.HasField("image") else None,
            insecure=message.insecure,
            args=tuple(self.value(each) for each in message.args),
            use_entrypoint=message.use_entrypoint,
            stdin=tuple(self.value(each) for each in message.stdin),
            env=self.bindings(message.env),
            dir=self.directory(message.dir) if message.HasField("dir") else None,
            mounts=tuple(self.mount(each) for each in message.mounts),
            labels=self.bindings(message.labels),
            ports=tuple((each.name, each.port) for each in message.ports),
            tls=(
                (FilePath(message.tls.cert.path), FilePath(message.tls.key.path))
                if message.HasField("tls")
                else None
            ),
            entrypoint=tuple(message.entrypoint),
            clear_entrypoint=message.clear_entrypoint,
            default_args=tuple(message.default_args),
            clear_default_args=message.clear_default_args,
        )

    def image(self, message: pb.ThunkImage) -> Image | None:
        kind = message.WhichOneof("image")
        if kind == "thunk":
            return self.inner_thunk(message.thunk)
        if kind == "ref":
            if message.ref.WhichOneof("source") == "file":
                # Archives were written like this before they had a message of their own.
                ref = message.ref
                return ImageArchive(self.thunk_path(ref.file), _platform(ref.platform), ref.tag)
            return self.ref(message.ref)
        if kind == "archive":
            archive = message.archive
            return ImageArchive(self.input(archive.file), _platform(archive.platform), archive.tag)
        if kind == "docker_build":
            build = message.docker_build
            return ImageBuild(
                self.input(build.context),
                _platform(build.platform),
                FilePath(build.dockerfile.removeprefix("./")) if build.dockerfile else None,
                build.target,
                tuple((each.name, each.value) for each in build.args),
            )
        return None

    def ref(self, message: pb.ImageRef) -> ImageRef:
        source: str | ThunkAddr = message.repository
        if message.WhichOneof("source") == "addr":
            source = self.addr(message.addr)
        return ImageRef(source, _platform(message.platform), message.tag, message.digest)

    def input(self, message: pb.ImageBuildInput) -> BuildInput:
        kind = message.WhichOneof("input")
        if kind == "thunk":
            return self.thunk_path(message.thunk)
        if kind == "logical":
            return self.logical(message.logical)
        raise _no_right() if kind == "host" else _missing("an image's input")

    def directory(self, message: pb.ThunkDir) -> DirPath | ThunkPath:
        kind = message.WhichOneof("dir")
        if kind == "local":
            return _dir_path(message.local)
        if kind == "thunk":
            return self.thunk_path(message.thunk)
        raise _no_right() if kind == "host" else _missing("a thunk's directory")

    def mount(self, message: pb.ThunkMount) -> Mount:
        source = message.source
        kind = source.WhichOneof("source")
        made: MountSource
        if kind == "thunk":
            made = self.thunk_path(source.thunk)
        elif kind == "logical":
            made = self.logical(source.logical)
        elif kind == "cache":
            made = self.cache_path(source.cache)
        elif kind == "secret":
            made = Secret(source.secret.name)
        else:
            raise _no_right() if kind == "host" else _missing("a mount's source")
        return Mount(made, _name_path(message.target))

    def thunk_path(self, message: pb.ThunkPath) -> ThunkPath:
        return ThunkPath(self.inner_thunk(message.thunk), _name_path(message.path))

    def addr(self, message: pb.ThunkAddr) -> ThunkAddr:
        return ThunkAddr(self.inner_thunk(message.thunk), message.port, message.format)

    def cache_path(self, message: pb.CachePath) -> CachePath:
        if not 0 <= message.concurrency < len(CachePath.MODES):
            raise BassError(f"there is no cache mode {message.concurrency}")
        return CachePath(message.id, _name_path(message.path), message.concurrency)

    def logical(self, message: pb.LogicalPath) -> FSPath:
        files: dict[str, bytes] = {}
        todo = [("", message)]
        while todo:
            parent, each = todo.pop()
            kind = each.WhichOneof("path")
            if kind is None:
                raise _missing("a file or directory")
            entry = each.file if kind == "file" else each.dir
            at_root = kind == "dir" and each is message and entry.name == "."
            if not at_root and (
                entry.name in ("", ".", "..") or "/" in entry.name or "\0" in entry.name
            ):
                raise BassError(f"this message has a file with an impossible name: {entry.name!r}")
            path = "" if at_root else f"{parent}/{entry.name}" if parent else entry.name
            if kind == "file":
                files[path] = each.file.content
            else:
                todo.extend((path, child) for child in each.dir.entries)
        if message.WhichOneof("path") == "file":
            return FSPath(MemoryFiles(files), FilePath(message.file.name))
        return FSPath(MemoryFiles(files), DirPath(message.dir.name))


_VALUES: Final[dict[str, Any]] = {
    "array": _Decoder.array,
    "object": _Decoder.object,
    "thunk": _Decoder.inner_thunk,
    "thunk_path": _Decoder.thunk_path,
    "thunk_addr": _Decoder.addr,
    "cache_path": _Decoder.cache_path,
    "logical_path": _Decoder.logical,
    "secret": lambda decoder, message: Secret(message.name),
    "command_path": lambda decoder, message: CommandPath(message.name),
    "file_path": lambda decoder, message: FilePath(message.path),
    "dir_path": lambda decoder, message: _dir_path(message),
}


def _name_path(message: pb.FilesystemPath) -> NamePath:
    if message.WhichOneof("path") == "dir":
        return _dir_path(message.dir)
    return FilePath(message.file.path)


def _dir_path(message: pb.DirPath) -> DirPath:
    return DirPath(message.path, tuple(message.include), tuple(message.exclude))


def _platform(message: pb.Platform) -> Platform:
    return Platform(message.os, message.arch)


def _no_right() -> BassError:
    return BassError("this message has a path on this machine, which no message may grant")


def _missing(what: str) -> BassError:
    return BassError(f"{what} is missing in this message")
