"""Flatten and rebuild thunks within thunks, which are nested messages of any depth. No I/O.

Scripts chain thousands of thunks, but protobuf's parsers fail after 100 levels. So `bass.proto` declares a thunk within
another message as bytes, and each message is flat. This module finds all thunks in such bytes without recursion, and
makes messages whose thunks are messages, for protobuf's text and JSON formats.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from bassloop.wire import bass_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.descriptor import Descriptor

_BYTES: Final = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_MESSAGE: Final = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE

_REFERENCE: Final = 4
"""The length of a reference in bytes."""

_MAX_DEPTH: Final = 100
"""How deep messages may be nested in a thunk, apart from those of thunks in it, which is protobuf's own limit."""

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
"""The wire types of proto3."""


class FlatThunk(NamedTuple):
    """A thunk within an encoded thunk: its message, with references instead of thunks, and its position."""

    encoded: bytes
    start: int
    end: int


class TooManyParts(ValueError):
    """An encoded thunk has more messages in it than the caller allows."""


def flatten(encoded: bytes, most: int) -> list[FlatThunk]:
    """Return the distinct thunks in an encoded thunk, each after those that it refers to, with itself last.

    In the results, fields for thunks contain references; `index_of` returns the index in the list. Time and memory are
    proportional to the bytes, at any depth. Raises DecodeError for malformed messages, and if others than thunks
    are nested too deep to be decoded. Raises TooManyParts for more than `most` messages that can contain thunks.
    """
    return _Flattener(encoded, most).run()


def index_of(reference: bytes) -> int:
    """Return the index in a flattened thunk's reference."""
    return int.from_bytes(reference, "little")


def is_thunk(message: Message, name: str) -> bool:
    """Return whether a field of a message is an encoded thunk."""
    return (message.DESCRIPTOR.name, name) in _THUNK_FIELDS


@dataclass(slots=True)
class _Open:
    """A message that is being read. Its bytes up to `copied` are already in `out`."""

    kind: str
    tag: bytes
    start: int
    body: int
    end: int
    copied: int
    depth: int
    out: list[bytes] = field(default_factory=list)


class _Flattener:
    """Reads an encoded thunk once, from beginning to end."""

    def __init__(self, encoded: bytes, most: int) -> None:
        self._data = encoded
        self._left = most
        self._flat: dict[bytes, int] = {}
        self._thunks: list[FlatThunk] = []

    def run(self) -> list[FlatThunk]:
        data = self._data
        opened = [_Open("Thunk", b"", 0, 0, len(data), 0, 0)]
        at = 0
        while True:
            top = opened[-1]
            if at < top.end:
                start = at
                tag, at = _read_varint(data, at)
                number, wire_type = tag >> 3, tag & 7
                if wire_type == _DELIMITED:
                    size, at = _read_varint(data, at)
                    inner = _INNER[top.kind].get(number)
                    if inner is None:
                        at += size
                    else:
                        self._left -= 1
                        if self._left < 0:
                            raise TooManyParts
                        if at + size > top.end:
                            raise DecodeError("a message ends too early")
                        depth = 0 if inner == "Thunk" else top.depth + 1
                        if depth > _MAX_DEPTH:
                            raise DecodeError("messages are nested too deep")
                        opened.append(
                            _Open(inner, encode_varint(tag), start, at, at + size, at, depth)
                        )
                elif wire_type == _VARINT:
                    _, at = _read_varint(data, at)
                elif wire_type in (_FIXED32, _FIXED64):
                    at += 4 if wire_type == _FIXED32 else 8
                else:
                    raise DecodeError(f"there is no wire type {wire_type} here")
            elif at > top.end:
                raise DecodeError("a message ends too early")
            else:
                opened.pop()
                changed = self._close(top)
                if not opened:
                    return self._thunks
                if changed is not None:
                    into = opened[-1]
                    into.out += (
                        data[into.copied : top.start],
                        top.tag,
                        encode_varint(len(changed)),
                        changed,
                    )
                    into.copied = at

    def _close(self, message: _Open) -> bytes | None:
        """Return what to replace a message with, or None to leave it unchanged."""
        if message.kind != "Thunk":
            if not message.out:
                return None
            message.out.append(self._data[message.copied : message.end])
            return b"".join(message.out)
        message.out.append(self._data[message.copied : message.end])
        flat = b"".join(message.out)
        index = self._flat.setdefault(flat, len(self._thunks))
        if index == len(self._thunks):
            self._thunks.append(FlatThunk(flat, message.body, message.end))
        return index.to_bytes(_REFERENCE, "little")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a varint, and where it ends."""
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise DecodeError("a number has no end")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def encode_varint(number: int) -> bytes:
    """Encode a non-negative number like protobuf: seven bits per byte, lowest first."""
    if number < 0x80:
        return _SMALL[number]
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SMALL: Final = tuple(bytes([number]) for number in range(0x80))


# --- fields that contain thunks -----------------------------------------------------------------------

_THUNK_FIELDS: Final = frozenset(
    (("Value", "thunk"), ("ThunkAddr", "thunk"), ("ThunkImage", "thunk"), ("ThunkPath", "thunk"))
)


def _thunk_bearing() -> Mapping[str, Mapping[int, str]]:
    """Return the fields that can contain a thunk, with their types, by message type."""
    types: dict[str, Descriptor] = pb.DESCRIPTOR.message_types_by_name
    inner: dict[str, dict[int, str]] = {name: {} for name in types}
    bearing, before = {"Thunk"}, 0
    while before != len(bearing):
        before = len(bearing)
        for name, descriptor in types.items():
            for each in descriptor.fields:
                kind = each.message_type.name if each.message_type else None
                if (name, each.name) in _THUNK_FIELDS:
                    kind = "Thunk"
                if kind in bearing and kind in types:
                    inner[name][each.number] = kind
                    bearing.add(name)
    return inner


_INNER: Final = _thunk_bearing()


# --- messages whose thunks are messages --------------------------------------------------------------


def nested(message: Message) -> Message:
    """Convert a message to one whose thunks are messages, for protobuf's text and JSON formats.

    Raises EncodeError or DecodeError if it's nested deeper than protobuf's limit of 100 levels.
    """
    made: Message = nested_type(message.DESCRIPTOR.full_name)()
    made.MergeFromString(message.SerializeToString())
    return made


@cache
def nested_type(name: str) -> type[Message]:
    """Return the message type with a full name whose thunks are messages."""
    return message_factory.GetMessageClass(_nested_pool().FindMessageTypeByName(name))


@cache
def _nested_pool() -> DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    for message in file.message_type:
        for each in message.field:
            if each.type == _BYTES and (message.name, each.name) in _THUNK_FIELDS:
                each.type = _MESSAGE
                each.type_name = ".bass.Thunk"
                if each.proto3_optional:
                    each.ClearField("proto3_optional")
                    each.ClearField("oneof_index")
                    message.oneof_decl.pop()
    pool = DescriptorPool()
    pool.Add(file)
    return pool
