"""Encoding values as JSON; converting values to Python's and back.

Like printing, encoding iterates over the parts that the methods of `ENCODED` yield. As in Go, `<`, `>` and `&` are
escaped in lists and in keys, and nowhere else.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import FieldDescriptor

from bassloop.bass.combiner import Unwrapped
from bassloop.bass.errors import BassError, cannot_encode
from bassloop.bass.filesystem import FSPath
from bassloop.bass.path import (
    CachePath,
    CommandPath,
    DirPath,
    FilePath,
    HostPath,
    NamePath,
    PlacedPath,
)
from bassloop.bass.printer import Parts, Verbatim
from bassloop.bass.thunk import Secret, Thunk, ThunkAddr, ThunkPath
from bassloop.bass.values import (
    EMPTY,
    INT_MAX,
    INT_MIN,
    Empty,
    Ignore,
    Keyword,
    Methods,
    Object,
    Pair,
    Scope,
    Symbol,
    Value,
    WithMeta,
    end_of,
    from_list,
    strip,
)
from bassloop.bass.wire.encode import (
    encode_addr,
    encode_name_path,
    encode_thunk,
    encode_thunk_path,
)
from bassloop.wire import bass_pb2 as pb
from bassloop.wire.nesting import is_thunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.message import Message

MAX_OUTPUT: Final = 64 << 20
"""The maximum length of an encoding, in characters."""

ENCODED: Final[Methods[Callable[[Any], Parts]]] = Methods()
"""Methods that yield the parts of a value's JSON: `Verbatim` text, and values that are encoded in place."""

_UNSAFE: Final = re.compile(r'[\x00-\x1f"\\\u2028\u2029\udc80-\udcff]')
_PROTO_UNSAFE: Final = re.compile(r'[\x00-\x1f"\\]')
_HTML: Final = re.compile("[<>&\u2028\u2029]")
_SHORT: Final = {
    '"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
}  # fmt: skip


def encode(value: Value, limit: int = MAX_OUTPUT) -> str:
    """Return a value as JSON, without spaces.

    Raises `BassError` for a value that has no JSON, for a scope within itself, and above `limit` characters.
    """
    out: list[str] = []
    length = 0
    # The ids of the scopes that are being written reveal cycles. Text within a list is escaped for HTML.
    stack: list[tuple[Parts, int, bool]] = [(iter((value,)), 0, False)]
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
                if cls is Scope:
                    inner = id(part)
                    if inner in open_scopes:
                        raise BassError(
                            "a scope within itself has no JSON: leave out the key that it is bound to"
                        )
                    open_scopes.add(inner)
                stack.append((ENCODED[cls](part), inner, html or cls is Pair))
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
    """Return a string in JSON, as Go writes it. Bytes that aren't UTF-8 become U+FFFD."""
    return f'"{_UNSAFE.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    if "\udc80" <= char <= "\udcff":
        return "\\ufffd"
    return _SHORT.get(char) or f"\\u{ord(char):04x}"


def _escape_html(text: str) -> str:
    return _HTML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


# --- the JSON of each class ---


@ENCODED.of(Object)
def _object(value: Object) -> Parts:
    raise cannot_encode(value)


@ENCODED.of(WithMeta)
def _with_meta(value: WithMeta) -> Parts:
    yield value.value


@ENCODED.of(Ignore)
def _ignore(value: Ignore) -> Parts:
    yield Verbatim("{}")


@ENCODED.of(Empty)
def _empty(value: Empty) -> Parts:
    yield Verbatim("[]")


@ENCODED.of(Symbol, Keyword)
def _name(value: Symbol | Keyword) -> Parts:
    yield value.name


@ENCODED.of(Pair)
def _list(value: Pair) -> Parts:
    items: list[Value] = []
    if end_of(value, items) is not EMPTY:
        raise cannot_encode(value)
    yield Verbatim("[")
    yield from _commas(items)
    yield Verbatim("]")


def _commas(items: list[Value] | tuple[Value, ...]) -> Parts:
    for index, item in enumerate(items):
        if index:
            yield Verbatim(",")
        yield item


@ENCODED.of(Scope)
def _scope(scope: Scope) -> Parts:
    comma = "{"
    for name, value in scope.items():
        yield Verbatim(f"{comma}{_escape_html(quote(name))}:")
        yield value
        comma = ","
    yield Verbatim("{}" if comma == "{" else "}")


@ENCODED.of(Unwrapped)
def _unwrapped(combiner: Unwrapped) -> Parts:
    inside = combiner.wrapped
    if isinstance(inside, Symbol):
        yield from _fields(Symbol=inside)
    else:
        path = inside.path if isinstance(inside, PlacedPath) else inside
        yield from _fields(**{"Path" if isinstance(path, DirPath) else "Cmd": inside})


def _fields(**fields: Value) -> Parts:
    for index, (name, value) in enumerate(fields.items()):
        yield Verbatim(f'{"," if index else "{"}"{name}":')
        yield value
    yield Verbatim("}")


@ENCODED.of(CommandPath)
def _command(path: CommandPath) -> Parts:
    return _fields(command=path.command)


@ENCODED.of(FilePath)
def _file(path: FilePath) -> Parts:
    return _fields(file=path.path)


@ENCODED.of(DirPath)
def _dir(path: DirPath) -> Parts:
    yield Verbatim('{"dir":')
    yield path.path
    for name, globs in (("include", path.include), ("exclude", path.exclude)):
        if globs:
            yield Verbatim(f',"{name}":[')
            yield from _commas(globs)
            yield Verbatim("]")
    yield Verbatim("}")


@ENCODED.of(CachePath)
def _cache(path: CachePath) -> Parts:
    return _fields(ID=path.id, ConcurrencyMode=path.mode, Path=_name_path(path.path))


@ENCODED.of(HostPath)
def _host(path: HostPath) -> Parts:
    return _fields(context=path.context, path=_name_path(path.path))


@ENCODED.of(FSPath)
def _file_system(path: FSPath) -> Parts:
    return _fields(path=_name_path(path.path))


def _name_path(path: NamePath) -> Verbatim:
    return Verbatim(message_json(encode_name_path(path)))


@ENCODED.of(Secret)
def _secret(secret: Secret) -> Parts:
    if secret.name:
        yield from _fields(name=secret.name)
    else:
        yield Verbatim("{}")


@ENCODED.of(Thunk)
def _thunk(thunk: Thunk) -> Parts:
    yield Verbatim(message_json(encode_thunk(thunk)))


@ENCODED.of(ThunkPath)
def _thunk_path(path: ThunkPath) -> Parts:
    yield Verbatim(message_json(encode_thunk_path(path)))


@ENCODED.of(ThunkAddr)
def _address(address: ThunkAddr) -> Parts:
    yield Verbatim(message_json(encode_addr(address)))


# --- Python's values ---


def from_python(value: Any) -> Value:
    """Return plain Python data as a value: dicts as scopes, lists and tuples as lists.

    Floats, and integers of more than 64 bits, become strings. Values of the language are returned as they are. Raises
    `BassError` for anything else.
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
        f"a Python {type(value).__name__} isn't a value of the language: give it None, bool, int, str, a list or a dict"
    )


def to_python(value: Value) -> Any:
    """Return a value as plain Python data: scopes as dicts, lists as lists, symbols and keywords as strings.

    Paths and thunks become the data in their JSON. Raises `BassError` for a value that has no JSON.
    """
    bare = strip(value)
    if bare is EMPTY or bare.__class__ is Pair:
        items: list[Value] = []
        if end_of(bare, items) is not EMPTY:
            raise cannot_encode(bare)
        return [to_python(item) for item in items]
    if bare.__class__ is Scope:
        return {name: to_python(item) for name, item in bare.items()}
    return json.loads(encode(bare)) if isinstance(bare, Object) else bare


# --- messages ---


def message_json(message: Message) -> str:
    """Return a message in protobuf's JSON mapping, with its fields in the order of declaration."""
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
        elif is_thunk(message, field.name):
            yield pb.Thunk.FromString(value)
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
