"""Values as JSON and JSON as values, and what Python makes of both.

Encoding is a loop over what values say of themselves (`json_parts`). As it is in Go, `<`, `>` and `&` are
escaped in lists and in keys, and nowhere else.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import FieldDescriptor

from bassloop.bass import errors
from bassloop.bass.errors import BassError
from bassloop.bass.json_stream import read_json
from bassloop.bass.pair import Pair, end_of, from_list
from bassloop.bass.scope import Scope
from bassloop.bass.values import EMPTY, INT_MAX, INT_MIN, Object, Value, Verbatim, strip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message


MAX_OUTPUT: Final = 64 << 20
"""How many characters an encoding may have."""

_UNSAFE: Final = re.compile(r'[\x00-\x1f"\\\u2028\u2029\udc80-\udcff]')
_PROTO_UNSAFE: Final = re.compile(r'[\x00-\x1f"\\]')
_HTML: Final = re.compile("[<>&\u2028\u2029]")
_SHORT: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}


def encode(value: Value, limit: int = MAX_OUTPUT) -> str:
    """A value as JSON, without spaces.

    Raises `BassError` for a value that has none, for a scope within itself, and beyond `limit` characters.
    """
    out: list[str] = []
    length = 0
    # Scopes are marked by id while they are being written, so that a cycle is noticed. What stands in a list
    # is escaped for HTML.
    stack: list[tuple[Iterator[Verbatim | Value], int, bool]] = [(iter((value,)), 0, False)]
    open_scopes: set[int] = set()
    while stack:
        parts, mark, html = stack[-1]
        for part in parts:
            cls = part.__class__
            if cls is Verbatim:
                text = _escape_html(part) if html else part
            elif cls is str:
                text = _escape_html(quote(part)) if html else quote(part)
            elif cls is int:
                text = str(part)
            elif isinstance(part, Object):
                inner = 0
                if isinstance(part, Scope):
                    inner = id(part)
                    if inner in open_scopes:
                        raise BassError(
                            "a scope within itself has no JSON: leave out the key that it is bound to"
                        )
                    open_scopes.add(inner)
                    stack.append((_scope_parts(part), inner, html))
                else:
                    stack.append((part.json_parts(), 0, html or cls is Pair))
                break
            else:
                text = "null" if part is None else "true" if part else "false"
            out.append(text)
            length += len(text)
            if length > limit:
                raise BassError(f"this is too much for JSON: it has more than {limit:,} characters")
        else:
            stack.pop()
            open_scopes.discard(mark)
    return "".join(out)


def quote(text: str) -> str:
    """A string in JSON, as Go writes it. Bytes that are no UTF-8 become U+FFFD."""
    return f'"{_UNSAFE.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    if "\udc80" <= char <= "\udcff":
        return "\\ufffd"
    return _SHORT.get(char) or f"\\u{ord(char):04x}"


def _escape_html(text: str) -> str:
    return _HTML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _scope_parts(scope: Scope) -> Iterator[Verbatim | Value]:
    comma = "{"
    for name, value in scope.items():
        yield Verbatim(f"{comma}{_escape_html(quote(name))}:")
        yield value
        comma = ","
    yield Verbatim("{}" if comma == "{" else "}")


def decode(text: str | bytes) -> Value:
    """The value of a JSON text: objects become scopes, arrays lists, numbers that are no 64-bit integer strings.

    Raises `BassError` with the place where the text is no JSON, or is nested too deep.
    """
    return read_json(text)


# --- Python's values ---


def from_python(value: Any) -> Value:
    """Plain Python data as a value: dicts become scopes, lists and tuples lists, floats and large numbers strings.

    Values of the language are left as they are. Raises `BassError` for anything else.
    """
    if value is None or isinstance(value, bool | str | Object):
        return value
    if isinstance(value, int):
        return int(value) if INT_MIN <= value <= INT_MAX else str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return from_list([from_python(item) for item in value])
    if hasattr(value, "items"):
        return Scope({str(name): from_python(item) for name, item in value.items()})
    raise BassError(
        f"a Python {type(value).__name__} is no value: give it None, bool, int, str, a list or a dict"
    )


def to_python(value: Value) -> Any:
    """A value as plain Python data: scopes become dicts, lists lists, symbols and keywords strings.

    Paths and thunks become what their JSON is. Raises `BassError` for what has no JSON.
    """
    import json

    bare = strip(value)
    if bare is EMPTY or bare.__class__ is Pair:
        items: list[Value] = []
        if end_of(bare, items) is not EMPTY:
            raise errors.cannot_encode(bare)
        return [to_python(item) for item in items]
    if bare.__class__ is Scope:
        return {name: to_python(item) for name, item in bare.items()}
    return json.loads(encode(bare)) if isinstance(bare, Object) else bare


# --- messages ---


def message_json(message: Message) -> str:
    """A message in the JSON mapping of protobuf, its fields in the order in which they are declared."""
    out: list[str] = []
    todo: list[Any] = [message]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            out.append(item)
        else:
            todo.extend(reversed(list(_message_parts(item))))
    return "".join(out)


def _message_parts(message: Message) -> Iterator[Any]:
    comma = "{"
    present = {field.number: value for field, value in message.ListFields()}
    for field in message.DESCRIPTOR.fields:
        if field.number not in present:
            continue
        value = present[field.number]
        yield f'{comma}"{field.json_name}":'
        comma = ","
        if field.is_repeated:
            for index, each in enumerate(value):
                yield "," if index else "["
                yield _field_json(field, each)
            yield "]"
        else:
            yield _field_json(field, value)
    yield "{}" if comma == "{" else "}"


def _field_json(field: Any, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return value
    if field.type == FieldDescriptor.TYPE_ENUM:
        known = field.enum_type.values_by_number.get(value)
        return str(value) if known is None else f'"{known.name}"'
    if field.type == FieldDescriptor.TYPE_BYTES:
        return f'"{base64.b64encode(value).decode()}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if field.type == FieldDescriptor.TYPE_INT64:
        return f'"{value}"'
    return f'"{_PROTO_UNSAFE.sub(_escape, value)}"' if isinstance(value, str) else str(value)
