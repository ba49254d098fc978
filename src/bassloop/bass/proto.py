"""Values to and from the wire's messages, and the names and proofs of thunks.

Go writes the fields of a real oneof after all others, Python by number; a digest is taken over Go's
bytes, so they are made here (`go_bytes`). Checked with digests that the reference printed.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import xxhash
from google.protobuf.descriptor import FieldDescriptor

from bassloop.bass.errors import BassError
from bassloop.bass.paths import (
    CachePath,
    CommandPath,
    DirPath,
    FilePath,
    MemoryPath,
    Path,
    RepositoryPath,
    ThunkPath,
)
from bassloop.bass.thunk import (
    ImageArchive,
    ImageBuild,
    ImageRef,
    Mount,
    Platform,
    Thunk,
    ThunkAddr,
)
from bassloop.bass.values import EMPTY, Pair, Scope, Secret, Value, is_list, iterate, make_list
from bassloop.wire import bass_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message

# --- to messages ---------------------------------------------------------------------------------


def encode(value: Value) -> pb.Value:
    """A value's message. Raises BassError for what is no data: a symbol, a function, a source."""
    message = pb.Value()
    match value:
        case None:
            message.null.SetInParent()
        case bool():
            message.bool.value = value
            message.bool.SetInParent()
        case int():
            message.int.value = value
            message.int.SetInParent()
        case str():
            message.string.value = value
            message.string.SetInParent()
        case Secret():
            message.secret.name = value.name
            message.secret.SetInParent()
        case Scope():
            message.object.SetInParent()
            for name, bound in value.items():
                message.object.bindings.add(symbol=name, value=encode(bound))
        case Thunk():
            message.thunk.CopyFrom(encode_thunk(value))
        case CommandPath():
            message.command_path.name = value.command
        case FilePath():
            message.file_path.path = _clean(value.path)
        case DirPath():
            message.dir_path.CopyFrom(_dir(value))
        case ThunkPath():
            message.thunk_path.CopyFrom(encode_thunk_path(value))
        case MemoryPath():
            message.logical_path.CopyFrom(_memory(value))
        case ThunkAddr():
            message.thunk_addr.CopyFrom(_addr(value))
        case CachePath():
            message.cache_path.CopyFrom(_cache(value))
        case _ if value is EMPTY or isinstance(value, Pair):
            if not is_list(value):
                raise BassError("a pair that is no list can't be part of a thunk")
            message.array.SetInParent()
            message.array.values.extend(encode(member) for member in iterate(value))
        case _:
            from bassloop.bass.printer import show

            raise BassError(f"{show(value)} can't be part of a thunk: it is no data")
    return message


def encode_thunk(thunk: Thunk) -> pb.Thunk:
    """A thunk's message. Raises BassError when something in it is no data."""
    message = pb.Thunk(
        insecure=thunk.insecure,
        args=[encode(arg) for arg in thunk.args],
        stdin=[encode(value) for value in thunk.stdin],
        env=[pb.Binding(symbol=name, value=encode(value)) for name, value in thunk.env],
        mounts=[_mount(mount) for mount in thunk.mounts],
        labels=[pb.Binding(symbol=name, value=encode(value)) for name, value in thunk.labels],
        ports=[pb.ThunkPort(name=name, port=port) for name, port in thunk.ports],
        entrypoint=thunk.entrypoint,
        clear_entrypoint=thunk.clear_entrypoint,
        default_args=thunk.default_args,
        clear_default_args=thunk.clear_default_args,
        use_entrypoint=thunk.use_entrypoint,
    )
    if thunk.image is not None:
        message.image.CopyFrom(_image(thunk.image))
    if isinstance(thunk.dir, DirPath):
        message.dir.local.CopyFrom(_dir(thunk.dir))
    elif isinstance(thunk.dir, ThunkPath):
        message.dir.thunk.CopyFrom(encode_thunk_path(thunk.dir))
    elif thunk.dir is not None:
        raise BassError(f"a thunk can't run in {thunk.dir}")
    if thunk.tls is not None:
        cert, key = thunk.tls
        message.tls.cert.path, message.tls.key.path = cert.path, key.path
    return message


def encode_thunk_path(path: ThunkPath) -> pb.ThunkPath:
    """A thunk path's message."""
    return pb.ThunkPath(thunk=encode_thunk(path.thunk), path=_filesystem(path.path))


def encode_ref(ref: ImageRef) -> pb.ImageRef:
    """An image reference's message."""
    message = pb.ImageRef(platform=_platform(ref.platform))
    if isinstance(ref.repository, ThunkAddr):
        message.addr.CopyFrom(_addr(ref.repository))
    elif isinstance(ref.repository, ThunkPath):
        message.file.CopyFrom(encode_thunk_path(ref.repository))
    else:
        message.repository = ref.repository
    if ref.tag is not None:
        message.tag = ref.tag
    if ref.digest is not None:
        message.digest = ref.digest
    return message


def _image(image: Any) -> pb.ThunkImage:
    match image:
        case Thunk():
            return pb.ThunkImage(thunk=encode_thunk(image))
        case ImageRef():
            return pb.ThunkImage(ref=encode_ref(image))
        case ImageArchive():
            archive = pb.ImageArchive(platform=_platform(image.platform), file=_input(image.file))
            if image.tag is not None:
                archive.tag = image.tag
            return pb.ThunkImage(archive=archive)
        case ImageBuild():
            build = pb.ImageDockerBuild(
                platform=_platform(image.platform),
                context=_input(image.context),
                args=[pb.BuildArg(name=name, value=value) for name, value in image.args],
            )
            if image.dockerfile is not None:
                build.dockerfile = image.dockerfile
            if image.target is not None:
                build.target = image.target
            return pb.ThunkImage(docker_build=build)
    raise BassError(f"{image} is no image")


def _platform(platform: Platform) -> pb.Platform:
    return pb.Platform(os=platform.os, arch=platform.arch)


def _input(source: Any) -> pb.ImageBuildInput:
    match source:
        case ThunkPath():
            return pb.ImageBuildInput(thunk=encode_thunk_path(source))
        case MemoryPath():
            return pb.ImageBuildInput(logical=_memory(source))
    raise BassError(f"an image can't be made from {source}")


def _mount(mount: Mount) -> pb.ThunkMount:
    source = pb.ThunkMountSource()
    match mount.source:
        case ThunkPath():
            source.thunk.CopyFrom(encode_thunk_path(mount.source))
        case MemoryPath():
            source.logical.CopyFrom(_memory(mount.source))
        case CachePath():
            source.cache.CopyFrom(_cache(mount.source))
        case Secret():
            source.secret.name = mount.source.name
        case RepositoryPath():
            raise BassError(f"{mount.source} must be read before its thunk can be sent")
        case _:
            raise BassError(f"{mount.source} can't be mounted")
    return pb.ThunkMount(source=source, target=_filesystem(mount.target))


def _filesystem(path: Path) -> pb.FilesystemPath:
    if isinstance(path, DirPath):
        return pb.FilesystemPath(dir=_dir(path))
    assert isinstance(path, FilePath)
    return pb.FilesystemPath(file=pb.FilePath(path=_clean(path.path)))


def _clean(path: str) -> str:
    """A path as messages have it: without the `./` that it is written with."""
    return path.removeprefix("./") or "."


def _dir(path: DirPath) -> pb.DirPath:
    return pb.DirPath(path=_clean(path.path), include=path.include, exclude=path.exclude)


def _addr(addr: ThunkAddr) -> pb.ThunkAddr:
    return pb.ThunkAddr(thunk=encode_thunk(addr.thunk), port=addr.port, format=addr.format)


def _cache(path: CachePath) -> pb.CachePath:
    mode = pb.ConcurrencyMode.Name(path.mode)
    return pb.CachePath(id=path.id, path=_filesystem(path.path), concurrency=mode)


def _memory(path: MemoryPath) -> pb.LogicalPath:
    if isinstance(path.path, FilePath):
        return pb.LogicalPath(file=pb.LogicalPath.File(name=path.name(), content=path.content()))
    prefix = path.path.path.removeprefix("./").strip("/")
    prefix = "" if prefix == "." else prefix
    return logical_dir(path.name(), path.files.files, prefix)


def logical_dir(name: str, files: dict[str, bytes], prefix: str = "") -> pb.LogicalPath:
    """A directory that travels with its files; paths in `files` are relative, with slashes."""
    start = f"{prefix}/" if prefix else ""
    here: dict[str, bytes] = {}
    below: dict[str, None] = {}
    for path, content in files.items():
        if path.startswith(start):
            first, slash, _ = path[len(start) :].partition("/")
            if slash:
                below[first] = None
            else:
                here[first] = content
    entries = [
        pb.LogicalPath(file=pb.LogicalPath.File(name=entry, content=content))
        for entry, content in here.items()
    ]
    entries += [logical_dir(entry, files, f"{start}{entry}") for entry in below]
    return pb.LogicalPath(dir=pb.LogicalPath.Dir(name=name, entries=entries))


# --- from messages -------------------------------------------------------------------------------


def decode_thunk(message: pb.Thunk) -> Thunk:
    """A thunk from its message, as a runner's answer has it. Raises BassError for a host path."""
    return Thunk(
        image=_decode_image(message.image) if message.HasField("image") else None,
        insecure=message.insecure,
        args=tuple(decode(arg) for arg in message.args),
        stdin=tuple(decode(value) for value in message.stdin),
        env=tuple((binding.symbol, decode(binding.value)) for binding in message.env),
        labels=tuple((binding.symbol, decode(binding.value)) for binding in message.labels),
        ports=tuple((port.name, port.port) for port in message.ports),
        entrypoint=tuple(message.entrypoint),
        clear_entrypoint=message.clear_entrypoint,
        default_args=tuple(message.default_args),
        clear_default_args=message.clear_default_args,
        use_entrypoint=message.use_entrypoint,
    )


def _decode_image(image: pb.ThunkImage) -> Any:
    kind = image.WhichOneof("image")
    if kind == "ref":
        ref = image.ref
        return ImageRef(
            repository=ref.repository,
            platform=Platform(ref.platform.os, ref.platform.arch),
            tag=ref.tag if ref.HasField("tag") else None,
            digest=ref.digest if ref.HasField("digest") else None,
        )
    if kind == "thunk":
        return decode_thunk(image.thunk)
    if kind is None:
        return None
    raise BassError(f"an image of the kind {kind} is not taken from a message")


def decode(message: pb.Value) -> Value:
    """A value from its message. Raises BassError for a path on the machine: data makes none."""
    kind = message.WhichOneof("value")
    match kind:
        case None | "null":
            return None
        case "bool" | "int" | "string":
            return getattr(message, kind).value
        case "array":
            return make_list(decode(value) for value in message.array.values)
        case "object":
            return Scope({item.symbol: decode(item.value) for item in message.object.bindings})
        case "thunk":
            return decode_thunk(message.thunk)
        case "command_path":
            return CommandPath(message.command_path.name)
        case "file_path":
            return FilePath(message.file_path.path)
        case "dir_path":
            return DirPath(message.dir_path.path)
    raise BassError(f"a value of the kind {kind} is not taken from a message")


# --- names and proofs ----------------------------------------------------------------------------


def digest_of(message: pb.Thunk) -> str:
    """A thunk's name: XXH3-64 of Go's bytes, big-endian, base32hex without padding."""
    digest = xxhash.xxh3_64_digest(go_bytes(message))
    return base64.b32hexencode(digest).decode().rstrip("=")


def thunk_sha256(message: pb.Thunk) -> str:
    """A thunk's proof: SHA-256 of its canonical bytes, in hexadecimal."""
    return hashlib.sha256(go_bytes(message)).hexdigest()


def go_bytes(message: Message) -> bytes:
    """A message as Go's protobuf serialises it."""
    ordinary: list[tuple[FieldDescriptor, Any]] = []
    in_oneof: list[tuple[FieldDescriptor, Any]] = []
    for field, value in message.ListFields():
        oneof = field.containing_oneof
        synthetic = oneof is None or (len(oneof.fields) == 1 and oneof.name.startswith("_"))
        (ordinary if synthetic else in_oneof).append((field, value))
    return b"".join(_field(field, value) for field, value in (*ordinary, *in_oneof))


def _field(field: FieldDescriptor, value: Any) -> bytes:
    values: Iterable[Any] = value if field.is_repeated else (value,)
    return b"".join(_one(field, each) for each in values)


def _one(field: FieldDescriptor, value: Any) -> bytes:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return _delimited(field.number, go_bytes(value))
    if field.type == FieldDescriptor.TYPE_STRING:
        return _delimited(field.number, value.encode())
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _delimited(field.number, value)
    return _varint(field.number << 3) + _varint(int(value) & (1 << 64) - 1)


def _delimited(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
