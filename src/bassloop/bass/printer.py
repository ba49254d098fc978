"""Printing values.

Each class's printer is a method of `PRINTED`, defined beside the class. It yields `Verbatim` text, and inner values
that are printed in place. Printing iterates over these parts, so values can be nested deeper than Python's stack
allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias, final

from bassloop.bass.values import (
    EMPTY,
    Bind,
    Cell,
    Empty,
    Ignore,
    Keyword,
    Located,
    Methods,
    Object,
    Pair,
    Scope,
    Symbol,
    Value,
    WithMeta,
    bytes_of,
    plain,
    strip,
)


@final
class Verbatim(str):
    """Text among `Parts` that is printed as it is, unlike a string value, which is quoted."""

    __slots__ = ()


Parts: TypeAlias = Iterator[Verbatim | Value]
"""The parts of a printed form: `Verbatim` text, and values that are printed in place."""

PRINTED: Final[Methods[Callable[[Any], Parts]]] = Methods()
"""The printers of values, by class."""

_ESCAPES: Final = {
    "\\": "\\\\", '"': '\\"', "\a": "\\a", "\b": "\\b", "\f": "\\f",
    "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
}  # fmt: skip


def show(value: Value, limit: int | None = None) -> str:
    """Return the printed form of a value; with a limit, at least the first `limit` characters of it.

    A scope within itself prints as `{...}`. Never fails.
    """
    if value.__class__ is str:
        return quote(value)
    if value.__class__ is int:
        return str(value)
    out: list[str] = []
    length = 0
    # The ids of the scopes that are being printed reveal cycles.
    stack: list[tuple[Parts, int]] = [(iter((value,)), 0)]
    printing: set[int] = set()
    while stack:
        parts, marked = stack[-1]
        for part in parts:
            cls = part.__class__
            if cls is Verbatim:
                out.append(part)
            elif cls is str:
                out.append(quote(part))
            elif cls is int:
                out.append(str(part))
            elif isinstance(part, Object):
                mark = 0
                if cls is Scope:
                    mark = id(part)
                    if mark in printing:
                        out.append("{...}")
                        continue
                    printing.add(mark)
                stack.append((PRINTED[cls](part), mark))
                break
            else:
                out.append("null" if part is None else "true" if part else "false")
            if limit is not None:
                length += len(out[-1])
                if length > limit:
                    return "".join(out)
        else:
            stack.pop()
            printing.discard(marked)
    return "".join(out)


def quote(text: str) -> str:
    """Return a string as a literal, with unprintable characters escaped."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    out = []
    for char in text:
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif char.isprintable():
            out.append(char)
        else:
            code = ord(char)
            if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8
                out.append(f"\\x{code - 0xDC00:02x}")
            elif code < 0x80:
                out.append(f"\\x{code:02x}")
            else:
                out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return f'"{"".join(out)}"'


def display(value: Value) -> str:
    """Return a value as the builtin `str` puts it into text: strings as they are, everything else as it prints."""
    if value.__class__ is str:
        return value
    value = strip(value)
    return value if value.__class__ is str else show(value)


def printable(text: str) -> str:
    """Return text with the replacement character in place of bytes that aren't UTF-8."""
    return text if text.isascii() else bytes_of(text).decode(errors="replace")


def spaced(values: Any) -> Parts:
    """Yield the parts of values with spaces between them."""
    for index, value in enumerate(values):
        if index:
            yield Verbatim(" ")
        yield value


# --- how the basic values print ---


@PRINTED.of(Object)
def _object(value: Object) -> Parts:
    yield Verbatim(f"<{value.kind}>")


@PRINTED.of(Ignore)
def _ignore(value: Ignore) -> Parts:
    yield Verbatim("_")


@PRINTED.of(Empty)
def _empty(value: Empty) -> Parts:
    yield Verbatim("()")


@PRINTED.of(Symbol)
def _symbol(symbol: Symbol) -> Parts:
    yield Verbatim(symbol.name)


@PRINTED.of(Keyword)
def _keyword(keyword: Keyword) -> Parts:
    yield Verbatim(":" + keyword.name)


@PRINTED.of(Cell)
def _list(cell: Value) -> Parts:
    opening, closing = ("(", ")") if cell.__class__ is Pair else ("[", "]")
    yield Verbatim(opening)
    while True:
        yield cell.a
        rest = plain(cell.d)
        if rest is EMPTY:
            break
        if not isinstance(rest, Cell):
            yield Verbatim(" & ")
            yield cell.d
            break
        yield Verbatim(" ")
        cell = rest
    yield Verbatim(closing)


@PRINTED.of(Bind)
def _bind(form: Bind) -> Parts:
    yield Verbatim("{")
    yield from spaced(form.members)
    yield Verbatim("}")


@PRINTED.of(Located)
def _located(form: Located) -> Parts:
    if form.meta is not None:
        yield Verbatim("^")
        yield Bind(form.meta)
        yield Verbatim(" ")
    yield form.form


@PRINTED.of(WithMeta)
def _with_meta(value: WithMeta) -> Parts:
    yield value.value


@PRINTED.of(Scope)
def _scope(scope: Scope) -> Parts:
    if (name := getattr(scope, "name", "")) != "":
        yield Verbatim(f"<scope: {name}>")
        return
    yield Verbatim("{")
    for index, (key, value) in enumerate(scope.items()):
        yield Verbatim(f" :{key} " if index else f":{key} ")
        yield value
    yield Verbatim("}")
