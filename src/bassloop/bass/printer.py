"""Values as text, in the shape in which they are written."""

from __future__ import annotations

import json

from bassloop.bass.values import (
    Annotated,
    Bind,
    Cons,
    Keyword,
    Pair,
    Scope,
    Secret,
    Symbol,
    Value,
)

MAX_SHOWN = 100_000


def show(value: Value) -> str:
    """A value's printed form, cut where it becomes endless."""
    out: list[str] = []
    _show(value, out, [])
    return "".join(out)[:MAX_SHOWN]


def _show(value: Value, out: list[str], inside: list[int]) -> None:
    if value is None:
        out.append("null")
    elif value is True or value is False:
        out.append("true" if value else "false")
    elif isinstance(value, str):
        out.append(json.dumps(value, ensure_ascii=False))
    elif isinstance(value, int):
        out.append(str(value))
    elif isinstance(value, Pair | Cons):
        _show_list(value, out, inside)
    elif isinstance(value, Scope):
        _show_scope(value, out, inside)
    elif isinstance(value, Bind):
        out.append("{")
        _spaced(value.forms, out, inside)
        out.append("}")
    elif isinstance(value, Annotated):
        _show(value.value, out, inside)
    elif isinstance(value, Symbol | Keyword | Secret):
        out.append(repr(value))
    else:
        out.append(str(value))


def _show_list(value: Value, out: list[str], inside: list[int]) -> None:
    opening, closing = ("(", ")") if isinstance(value, Pair) else ("[", "]")
    out.append(opening)
    first = True
    while isinstance(value, Pair | Cons):
        if not first:
            out.append(" ")
        first = False
        _show(value.a, out, inside)
        value = value.d
    if repr(value) != "()":
        out.append(" & ")
        _show(value, out, inside)
    out.append(closing)


def _show_scope(value: Scope, out: list[str], inside: list[int]) -> None:
    if value.name is not None:
        out.append(f"<scope: {value.name}>")
        return
    if id(value) in inside:
        out.append("{...}")
        return
    inside.append(id(value))
    out.append("{")
    for index, (name, bound) in enumerate(value.items()):
        out.append(f"{' ' if index else ''}:{name} ")
        _show(bound, out, inside)
    out.append("}")
    inside.pop()


def _spaced(values: list[Value], out: list[str], inside: list[int]) -> None:
    for index, value in enumerate(values):
        if index:
            out.append(" ")
        _show(value, out, inside)
