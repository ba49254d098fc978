"""The digests of thunks: one that names a thunk, and one that proves that two are the same.

Both are computed from the message's bytes in Go's order: the fields of a oneof come after all others, while Python
writes all fields by number. (The oneofs that `optional` makes don't count.)
"""

from __future__ import annotations

import hashlib
from base64 import b32hexencode
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import xxhash
from google.protobuf.descriptor import FieldDescriptor

from bassloop.bass.errors import BassError
from bassloop.bass.path import NamedPath
from bassloop.bass.printer import PRINTED, Parts, Verbatim, spaced
from bassloop.bass.thunk import Thunk
from bassloop.bass.wire.encode import encoded_thunk
from bassloop.wire.nesting import encode_varint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    from bassloop.bass.path import Path
    from bassloop.wire import bass_pb2


class _Field(NamedTuple):
    name: str
    type: int
    tag: bytes
    repeated: bool
    presence: bool


class _Length(NamedTuple):
    """The start of a message's bytes, counted from the end; its tag and length come in front of them."""

    tag: bytes
    start: int


def thunk_digest(thunk: Thunk) -> str:
    """Return the digest that names a thunk; see `digest_of`.

    Raises `BassError` if the thunk can't be encoded, and `NotRead` if it has files of the host that haven't been read.
    """
    try:
        return thunk.cached_digest
    except AttributeError:
        thunk.cached_digest = digest_of_encoded(encoded_thunk(thunk))
        return thunk.cached_digest


def path_name(path: Path) -> str:
    """Return the last part of a path, without a slash: a thunk's is its digest, or in brackets why it has none."""
    if isinstance(path, NamedPath):
        return path.path_name()
    assert isinstance(path, Thunk)
    try:
        return thunk_digest(path)
    except BassError as error:
        return f"(error: {error.message})"


@PRINTED.of(Thunk)
def _thunk(thunk: Thunk) -> Parts:
    yield Verbatim(f"{{{{thunk {path_name(thunk)}: ")
    yield from spaced(thunk.words())
    yield Verbatim("}}")


def digest_of(message: bass_pb2.Thunk) -> str:
    """Return the digest of a thunk's message that names it in URLs and in print.

    It is XXH3-64, big-endian, in base32hex without padding. Collisions can be made on purpose, so a name proves
    nothing; `thunk_sha256` does.
    """
    return digest_of_encoded(encode_go_order(message))


def digest_of_encoded(encoded: bytes) -> str:
    """Return the digest that names a thunk, from its message's bytes in Go's order; see `digest_of`."""
    return b32hexencode(xxhash.xxh3_64_digest(encoded)).decode().rstrip("=")


def thunk_sha256(message: bass_pb2.Thunk) -> str:
    """Return the digest that proves that thunks are the same: SHA-256 over the message in Go's order, in hex."""
    return hashlib.sha256(encode_go_order(message)).hexdigest()


def encode_go_order(message: Message) -> bytes:
    """Return a message's bytes, with the fields in Go's order."""
    # From the end to the beginning, so that each length is known when it is written.
    out: list[bytes] = []
    size = 0
    todo: list[Any] = [message]
    while todo:
        item = todo.pop()
        if item.__class__ is bytes:
            out.append(item)
            size += len(item)
        elif item.__class__ is _Length:
            header = item.tag + encode_varint(size - item.start)
            out.append(header)
            size += len(header)
        elif item.__class__ is tuple:
            tag, inner = item
            todo.append(_Length(tag, size))
            todo.extend(_pieces(inner))
        else:
            todo.extend(_pieces(item))
    out.reverse()
    return b"".join(out)


def _pieces(message: Message) -> Iterator[Any]:
    """Yield the fields of a message, as bytes, or as a tag and a message."""
    for field in _plan(message.DESCRIPTOR):
        if field.presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.repeated:
            for each in value:
                yield _piece(field, each)
        elif value or field.presence:
            yield _piece(field, value)


def _piece(field: _Field, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return (field.tag, value)
    if field.type == FieldDescriptor.TYPE_STRING:
        value = value.encode()
    if value.__class__ is bytes:
        return field.tag + encode_varint(len(value)) + value
    return field.tag + encode_varint(int(value) & 0xFFFFFFFFFFFFFFFF)


@cache
def _plan(descriptor: Descriptor) -> tuple[_Field, ...]:
    """Return the fields of a type of message in Go's order."""

    def order(field: FieldDescriptor) -> tuple[bool, int, int]:
        oneof = field.containing_oneof
        real = oneof is not None and not (len(oneof.fields) == 1 and oneof.name == f"_{field.name}")
        return real, oneof.index if real else 0, field.number  # type: ignore[union-attr]

    return tuple(
        _Field(
            field.name,
            field.type,
            encode_varint(field.number << 3 | (2 if field.type in _DELIMITED else 0)),
            field.is_repeated,
            not field.is_repeated and field.has_presence,
        )
        for field in sorted(descriptor.fields, key=order)
    )


_DELIMITED = (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
