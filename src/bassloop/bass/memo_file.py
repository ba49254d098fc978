"""Memo files, such as `bass.lock`: stored results of calls of modules' functions, which are committed with the code.

The format is protobuf's text format. Files can be formatted in any way, but are written in only one, so that diffs show
only what has changed. Memos are data, so a result that contains a host path is rejected.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError

from bassloop.bass.errors import BassError
from bassloop.bass.wire.decode import decode
from bassloop.bass.wire.encode import encode, encode_thunk
from bassloop.wire import bass_pb2 as pb
from bassloop.wire.nesting import is_thunk, nested_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from bassloop.bass.thunk import Thunk
    from bassloop.bass.values import Value


MAX_SIZE: Final = 16 << 20
MAX_NESTING: Final = 200


class MemoKey(NamedTuple):
    """A call with a stored result: a module's function `binding`, and the list `input` of its arguments."""

    module: pb.Thunk
    binding: str
    input: pb.Value


def memo_key(thunk: Thunk, binding: str, input: Value) -> MemoKey:
    """Return the key of a call. Raises `BassError` if an argument isn't data."""
    return MemoKey(encode_thunk(thunk), binding, encode(input))


def parse(content: bytes, name: str) -> pb.Memosphere:
    """Parse the content of a memo file. `name` is for messages. Raises `BassError` if it isn't a memo file."""
    if len(content) > MAX_SIZE:
        raise BassError(f"{name} is larger than {MAX_SIZE >> 20} MiB: it isn't a file of memos")
    memos = nested_type("bass.Memosphere")()
    try:
        text = content.decode()
        if _nesting(text) > MAX_NESTING:
            raise BassError(f"{name} is nested deeper than {MAX_NESTING}: it isn't a file of memos")
        text_format.Parse(text, memos)
        return pb.Memosphere.FromString(memos.SerializeToString())
    except (text_format.ParseError, EncodeError, DecodeError, UnicodeDecodeError) as error:
        raise BassError(f"{name} holds no memos that can be read: {error}") from error


def recall(memos: pb.Memosphere, key: MemoKey) -> tuple[Value] | None:
    """Return the stored result of a call, in a tuple of one; None if there is none.

    Raises `BassError` for a result that isn't a value, or contains a host path.
    """
    for result in _results(memos, key):
        if result.input == key.input:
            return (decode(result.output),)
    return None


def store(memos: pb.Memosphere, key: MemoKey, output: pb.Value) -> None:
    """Store the result of a call, and replace an earlier one."""
    for result in _results(memos, key):
        if result.input == key.input:
            result.output.CopyFrom(output)
            return
    for memo in memos.memos:
        if memo.module == key.module:
            break
    else:
        memo = memos.memos.add(module=key.module)
    for calls in memo.calls:
        if calls.binding == key.binding:
            break
    else:
        calls = memo.calls.add(binding=key.binding)
    calls.results.add(input=key.input, output=output)


def _results(memos: pb.Memosphere, key: MemoKey) -> Iterator[pb.Memosphere.Result]:
    for memo in memos.memos:
        if memo.module == key.module:
            for calls in memo.calls:
                if calls.binding == key.binding:
                    yield from calls.results


def render(memos: pb.Memosphere) -> bytes:
    """Return the content of a memo file: one field per line, in the order of declaration, indented by two spaces."""
    out: list[str] = []
    todo: list[Any] = [(memos, 0)]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            out.append(item)
        else:
            todo.extend(reversed(list(_lines(*item))))
    return "".join(out).encode()


def _lines(message: Message, level: int) -> Iterator[Any]:
    indent = "  " * level
    present = {field.number: value for field, value in message.ListFields()}
    for field in message.DESCRIPTOR.fields:
        if field.number not in present:
            continue
        value = present[field.number]
        for each in value if field.is_repeated else (value,):
            if is_thunk(message, field.name):
                each = pb.Thunk.FromString(each)
            if field.type == FieldDescriptor.TYPE_MESSAGE or isinstance(each, pb.Thunk):
                if each.ListFields():
                    yield f"{indent}{field.name}: {{\n"
                    yield (each, level + 1)
                    yield f"{indent}}}\n"
                else:
                    yield f"{indent}{field.name}: {{}}\n"
            else:
                yield f"{indent}{field.name}: {_scalar(field, each)}\n"


def _scalar(field: Any, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if field.type == FieldDescriptor.TYPE_ENUM:
        known = field.enum_type.values_by_number.get(value)
        return str(value) if known is None else known.name
    if isinstance(value, bytes):
        return _quoted(value.decode("latin-1"), binary=True)
    return _quoted(value, binary=False) if isinstance(value, str) else str(value)


_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _quoted(text: str, *, binary: bool) -> str:
    out = []
    for char in text:
        code = ord(char)
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif code < 0x20 or code == 0x7F or (binary and code > 0x7F):
            out.append(f"\\x{code:02x}")
        elif not binary and 0x80 <= code <= 0x9F:
            out.append(f"\\u{code:04x}")
        else:
            out.append(char)
    return f'"{"".join(out)}"'


_BRACES: Final = re.compile(r"""([{<])|[}>]|"(?:[^"\\\n]|\\.)*+"|'(?:[^'\\\n]|\\.)*+'|#.*""")


def _nesting(text: str) -> int:
    """Return the maximum nesting depth of the braces in a text."""
    deepest = depth = 0
    for found in _BRACES.finditer(text):
        if found[1]:
            depth += 1
            deepest = max(deepest, depth)
        elif found[0] in "}>":
            depth -= 1
    return deepest
