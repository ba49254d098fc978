"""Scopes: bindings from names to values, and parents to ask for what is not bound here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from bassloop.bass.values import Object, Value, Verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Missing:
    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""What `Scope.get` answers for a name that is not bound (null is a value like any other)."""


@final
class Scope(Object):
    """Bindings, in the order they were made, and parents. Scopes are mutable and live.

    `grounded` says that Ground is what the first parents lead to, so that a name of Ground means Ground's
    unless a scope on the way has rebound it; see `compiler.py`. Use `Machine.define` to bind a name in a
    scope that code runs in; `vars[name] = value` is enough for a scope that is only data.
    """

    __slots__ = ("__weakref__", "grounded", "name", "parents", "vars")
    kind = "scope"

    name: str
    vars: dict[str, Value]
    parents: tuple[Scope, ...]
    grounded: bool

    def __init__(
        self,
        vars: dict[str, Value] | None = None,
        parents: tuple[Scope, ...] = (),
        grounded: bool = False,
    ) -> None:
        self.vars = {} if vars is None else vars
        self.parents = parents
        self.grounded = grounded

    def get(self, name: str) -> Value:
        """The value of a name here or in the first parent, depth first, that has it; `MISSING` otherwise."""
        scope = self
        while True:
            value = scope.vars.get(name, MISSING)
            if value is not MISSING:
                return value
            parents = scope.parents
            if len(parents) == 1:
                scope = parents[0]
            elif not parents:
                return MISSING
            else:
                return _get_among(parents, name)

    def names(self) -> list[str]:
        """All names bound here and in parents, each once: parents come first, in order."""
        seen: dict[str, None] = {}
        # A scope's own names follow all of its parents': visit twice, the second time to take them.
        stack: list[tuple[Scope, bool]] = [(self, False)]
        while stack:
            scope, ready = stack.pop()
            if ready or not scope.parents:
                seen.update(dict.fromkeys(scope.vars))
                continue
            stack.append((scope, True))
            stack.extend((parent, False) for parent in reversed(scope.parents))
        return list(seen)

    def items(self) -> list[tuple[str, Value]]:
        """All names with the values they have seen from here, in the order of `names`."""
        if not self.parents:
            return list(self.vars.items())
        return [(name, self.get(name)) for name in self.names()]

    def copy(self) -> Scope:
        """A scope without parents that has the same bindings in the same order."""
        return Scope(dict(self.items()))

    def parts(self) -> Iterator[Verbatim | Value]:
        if (name := getattr(self, "name", "")) != "":
            yield Verbatim(f"<scope: {name}>")
            return
        yield Verbatim("{")
        for index, (key, value) in enumerate(self.items()):
            yield Verbatim(f" :{key} " if index else f":{key} ")
            yield value
        yield Verbatim("}")

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim("{")
        for index, (key, value) in enumerate(self.items()):
            if index:
                yield Verbatim(",")
            yield key
            yield Verbatim(":")
            yield value
        yield Verbatim("}")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        mine = dict(self.items())
        theirs = dict(other.items())
        if mine.keys() != theirs.keys():
            return False
        pending.extend((value, theirs[name]) for name, value in mine.items())
        return True


def _get_among(parents: tuple[Scope, ...], name: str) -> Value:
    stack = list(reversed(parents))
    while stack:
        scope = stack.pop()
        value = scope.vars.get(name, MISSING)
        if value is not MISSING:
            return value
        stack.extend(reversed(scope.parents))
    return MISSING
