"""A thunk's description: what the loop needs to know of it beside its bytes. Pure."""

from __future__ import annotations

from typing import Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError, Message

from bassloop import bass
from bassloop.evaluator.messages import MAX_CONTENT, Described, as_text
from bassloop.wire import bass_pb2

MAX_PARTS: Final = 200_000
"""Messages within a thunk's message: more of them than that cost whoever decodes it too much."""

MAX_SMALL: Final = 16 << 10
"""Bytes of a thunk that costs nobody anything, whatever it is made of."""

_LONGEST_COMMAND: Final = 64 << 10


def describe(encoded: bytes) -> Described:
    """Describe a thunk. Raises BassError for one that can't be decoded, or shouldn't be."""
    try:
        message = bass_pb2.Thunk.FromString(encoded)
    except DecodeError as error:
        raise bass.BassError(f"this is no thunk: {error}") from error
    if len(encoded) > MAX_SMALL and _count(message, MAX_PARTS) > MAX_PARTS:
        raise bass.BassError(f"a thunk of more than {MAX_PARTS:,} parts is too large to be run")
    thunk = bass.decode_thunk(message)
    platform = thunk.platform()
    json = MessageToJson(message, preserving_proto_field_name=True, indent=2).encode()
    if len(json) > MAX_CONTENT:
        raise bass.BassError(
            f"{thunk.cmdline()} is too large to be run: {len(json):,} bytes as JSON"
        )
    return Described(
        command=as_text(thunk.cmdline())[:_LONGEST_COMMAND],
        platform=None if platform is None else (platform.os, platform.arch),
        content=json,
    )


def _count(message: Message, enough: int) -> int:
    """Return the number of messages within a message, or something above `enough`."""
    count, todo = 0, [message]
    while todo and count <= enough:
        count += 1
        for field, value in todo.pop().ListFields():
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                todo.extend(value if field.is_repeated else (value,))
    return count + len(todo)
