"""A thunk's description: what the loop needs to know about it besides its encoding. No I/O."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict, MessageToJson
from google.protobuf.message import DecodeError, Message

from bassloop import bass
from bassloop.evaluator.messages import MAX_CONTENT, Described, as_text
from bassloop.wire import bass_pb2
from bassloop.wire.nesting import FlatThunk, TooManyParts, flatten, index_of, nested_type

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PARTS: Final = 200_000
"""The limit on messages nested in a thunk's message, since decoding takes time and memory for each."""

MAX_SMALL: Final = 16 << 10
"""The size in bytes up to which any thunk is cheap to decode."""

_LONGEST_COMMAND: Final = 64 << 10


def describe(encoded: bytes) -> Described:
    """Describe a thunk. Raises BassError for one that can't be decoded, or is too large."""
    try:
        flat = flatten(encoded, MAX_PARTS)
        messages = [bass_pb2.Thunk.FromString(each.encoded) for each in flat]
        if len(encoded) > MAX_SMALL and _count(messages, MAX_PARTS) > MAX_PARTS:
            raise TooManyParts
    except DecodeError as error:
        raise bass.BassError(f"this isn't a thunk: {error}") from error
    except TooManyParts as error:
        raise bass.BassError(
            f"a thunk of more than {MAX_PARTS:,} parts is too large to be run"
        ) from error
    thunk = bass.decode_flat(messages)
    platform = thunk.platform()
    content = _thunk_json(encoded, flat, messages).encode()
    if len(content) > MAX_CONTENT:
        raise bass.BassError(
            f"{thunk.cmdline()} is too large to be run: {len(content):,} bytes as JSON"
        )
    return Described(
        command=as_text(thunk.cmdline())[:_LONGEST_COMMAND],
        platform=None if platform is None else (platform.os, platform.arch),
        content=content,
    )


def _thunk_json(
    encoded: bytes, flat: Sequence[FlatThunk], messages: Sequence[bass_pb2.Thunk]
) -> str:
    """Return a thunk as JSON, including the thunks that it is made of.

    If they would be nested too deeply, or repeated too often, each is in `thunks` once, and is referred to by its
    name.
    """
    repeated = len(encoded) > MAX_SMALL and len(encoded) > 2 * sum(len(one.encoded) for one in flat)
    if not repeated:
        try:
            whole = nested_type("bass.Thunk").FromString(encoded)
            return MessageToJson(whole, preserving_proto_field_name=True, indent=2)
        except DecodeError:
            pass  # it's nested too deeply
    names = [bass.digest_of_encoded(encoded[one.start : one.end]) for one in flat]
    parts = [
        _with_names(MessageToDict(message, preserving_proto_field_name=True), names)
        for message in messages
    ]
    return json.dumps({**parts[-1], "thunks": dict(zip(names[:-1], parts, strict=False))}, indent=2)


def _with_names(part: Any, names: Sequence[str]) -> Any:
    """Return a part of a flattened thunk's JSON, with names instead of references."""
    if isinstance(part, list):
        return [_with_names(each, names) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: names[index_of(base64.b64decode(value))]
        if key == "thunk" and isinstance(value, str)
        else _with_names(value, names)
        for key, value in part.items()
    }


def _count(messages: Sequence[Message], enough: int) -> int:
    """Return the number of nested messages; any number above `enough` may be too low."""
    count, todo = 0, list(messages)
    while todo and count <= enough:
        count += 1
        for field, value in todo.pop().ListFields():
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                todo.extend(value if field.is_repeated else (value,))
    return count + len(todo)
