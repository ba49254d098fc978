"""Printing values. A loop, not a recursion: a value may be nested deeper than any stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bassloop.bass.scope import Scope
from bassloop.bass.values import Object, Verbatim, strip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.bass.values import Value

_ESCAPES: Final = {
    "\\": "\\\\", '"': '\\"', "\a": "\\a", "\b": "\\b", "\f": "\\f",
    "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
}  # fmt: skip


def show(value: Value, limit: int | None = None) -> str:
    """The printed form of a value: the first `limit` characters of it at least, if there is a limit.

    A scope within itself prints as `{...}`. Never fails.
    """
    if value.__class__ is str:
        return quote(value)
    if value.__class__ is int:
        return str(value)
    out: list[str] = []
    length = 0
    # Scopes are marked by id while they are being printed, so that a cycle ends.
    stack: list[tuple[Iterator[Verbatim | Value], int]] = [(iter((value,)), 0)]
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
                stack.append((part.parts(), mark))
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
    """A string as it is written in a program, everything that does not print escaped."""
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
    """A value as `str` puts it into text: strings as they are, everything else as it prints."""
    if value.__class__ is str:
        return value
    value = strip(value)
    return value if value.__class__ is str else show(value)
