"""Values as JSON, and JSON as values."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.json_format import MessageToDict

from bassloop.bass.errors import BassError
from bassloop.bass.paths import CommandPath, DirPath, FilePath, Path
from bassloop.bass.values import (
    EMPTY,
    Pair,
    Scope,
    Secret,
    Symbol,
    Value,
    is_list,
    iterate,
    make_list,
)

MAX_DEPTH = 1_000


def dumps(value: Value) -> str:
    """A value's JSON. Raises BassError for what has none."""
    return json.dumps(to_python(value), separators=(",", ":"), ensure_ascii=False)


def to_python(value: Value, depth: int = 0) -> Any:
    """A value as Python's own types. Raises BassError for what is no data, or is too deep."""
    if depth > MAX_DEPTH:
        raise BassError(f"a value nested more than {MAX_DEPTH} deep has no JSON")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Symbol):
        return value.name
    if value is EMPTY or isinstance(value, Pair):
        if not is_list(value):
            raise BassError("a pair that is no list has no JSON")
        return [to_python(member, depth + 1) for member in iterate(value)]
    if isinstance(value, Scope):
        return {name: to_python(bound, depth + 1) for name, bound in value.items()}
    if isinstance(value, Secret):
        return {"name": value.name}
    if isinstance(value, FilePath):
        return {"file": value.path.removeprefix("./")}
    if isinstance(value, DirPath):
        return {"dir": value.path.removeprefix("./").removesuffix("/")}
    if isinstance(value, CommandPath):
        return {"command": value.command}
    if isinstance(value, Path):
        from bassloop.bass.proto import encode

        message = encode(value)
        kind = message.WhichOneof("value")
        assert kind is not None
        return MessageToDict(getattr(message, kind), preserving_proto_field_name=True)
    from bassloop.bass.printer import show

    raise BassError(f"{show(value)} has no JSON: it is no data")


def from_python(value: Any) -> Value:
    """Python's own types as a value: dicts as scopes, sequences as lists."""
    if isinstance(value, dict):
        return Scope({str(name): from_python(bound) for name, bound in value.items()})
    if isinstance(value, list | tuple):
        return make_list(from_python(member) for member in value)
    if isinstance(value, float):
        return repr(value)
    return value


def loads(text: str | bytes) -> Value:
    """The value of a JSON text; numbers that are no 64-bit integers become strings.

    Raises BassError with what is wrong with the text.
    """
    try:
        found = json.loads(text, parse_float=str, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise BassError(f"this is no JSON: {error}") from error
    return from_python(found)


def _integer(text: str) -> int | str:
    if len(text) > 20:
        return text
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 63 else text
