"""The values of Bass that are made of nothing but other values.

Null, booleans, integers and strings are Python's ``None``, ``bool``, ``int`` and ``str``. Everything
else has a class: here the forms (what the reader makes) and scopes; combiners, paths and thunks are in
modules of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Value = Any
"""Any value of Bass. What may stand where is checked where it is used, with a message."""


class Range:
    """Where a form stands in its source: lines from 1, columns from 1, the end exclusive."""

    __slots__ = ("column", "end_column", "end_line", "line", "source")

    def __init__(
        self, source: Source, line: int, column: int, end_line: int, end_column: int
    ) -> None:
        self.source = source
        self.line, self.column = line, column
        self.end_line, self.end_column = end_line, end_column

    def __repr__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


class Source:
    """A text that was read, kept for messages."""

    __slots__ = ("name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text


class Symbol:
    """A name. Called with a scope, it looks itself up there."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return type(other) is Symbol and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return self.name


class Keyword:
    """`:name`, a form that evaluates to the symbol."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return type(other) is Keyword and other.name == self.name

    def __hash__(self) -> int:
        return hash((Keyword, self.name))

    def __repr__(self) -> str:
        return f":{self.name}"


class Empty:
    """The empty list."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "()"


class Ignore:
    """`_`: matches anything and binds nothing."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "_"


EMPTY = Empty()
IGNORE = Ignore()


class Pair:
    """`(a & d)`: a list's link, and as a form a combination to be evaluated."""

    __slots__ = ("a", "code", "d", "range", "tail_code")

    def __init__(self, a: Value, d: Value, range: Range | None = None) -> None:
        self.a, self.d, self.range = a, d, range
        self.code: Any = None
        self.tail_code: Any = None


class Cons:
    """`[a & d]`: a form that evaluates to a list of its evaluated members."""

    __slots__ = ("a", "d", "range")

    def __init__(self, a: Value, d: Value, range: Range | None = None) -> None:
        self.a, self.d, self.range = a, d, range


class Bind:
    """`{…}`: a form that evaluates to a scope."""

    __slots__ = ("forms", "range")

    def __init__(self, forms: list[Value], range: Range | None = None) -> None:
        self.forms, self.range = forms, range


class Annotated:
    """A form with what stands beside it: its comment, and `^` metadata."""

    __slots__ = ("comment", "meta", "range", "value")

    def __init__(
        self,
        value: Value,
        comment: str = "",
        meta: Value = None,
        range: Range | None = None,
    ) -> None:
        self.value, self.comment, self.meta, self.range = value, comment, meta, range


class Secret:
    """A value that is never shown; only its name is."""

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: bytes) -> None:
        self.name, self.value = name, value

    def __repr__(self) -> str:
        return f"<secret: {self.name}>"


class Scope:
    """Names and their values; what is not bound here is looked for in the parents, in order."""

    __slots__ = ("bindings", "docs", "name", "parents")

    def __init__(
        self,
        bindings: dict[str, Value] | None = None,
        parents: tuple[Scope, ...] = (),
        name: str | None = None,
    ) -> None:
        self.bindings: dict[str, Value] = {} if bindings is None else bindings
        self.parents = parents
        self.name = name
        self.docs: dict[str, str] = {}

    def get(self, name: str, default: Value = None) -> Value:
        """The value of a name, or the default."""
        value = self.find(name)
        return default if value is MISSING else value

    def find(self, name: str) -> Value:
        """The value of a name, or MISSING: own bindings, then the parents in order, depth first."""
        scope = self
        while True:
            value = scope.bindings.get(name, MISSING)
            if value is not MISSING:
                return value
            parents = scope.parents
            if len(parents) == 1:
                scope = parents[0]
                continue
            for parent in parents:
                value = parent.find(name)
                if value is not MISSING:
                    return value
            return MISSING

    def items(self) -> list[tuple[str, Value]]:
        """All names with their values: the parents' first, a shadowed one in its parent's place."""
        found: dict[str, Value] = {}
        self._collect(found, set())
        return list(found.items())

    def _collect(self, found: dict[str, Value], seen: set[int]) -> None:
        if id(self) in seen:
            return
        seen.add(id(self))
        for parent in self.parents:
            inherited: dict[str, Value] = {}
            parent._collect(inherited, seen)
            for name, value in inherited.items():
                found.setdefault(name, value)
        found.update(self.bindings)


class _Missing:
    __slots__ = ()


MISSING: Any = _Missing()


def make_list(values: Iterable[Value], end: Value = EMPTY) -> Value:
    """A Bass list of the values (links end with `end`)."""
    result = end
    for value in reversed(list(values)):
        result = Pair(value, result)
    return result


def is_list(value: Value) -> bool:
    """Whether a value is a proper list."""
    while type(value) is Pair or type(value) is Cons:
        value = value.d
    return value is EMPTY


def iterate(value: Value) -> Iterator[Value]:
    """The members of a list. Raises TypeError where it is no proper list."""
    while value is not EMPTY:
        if type(value) is not Pair and type(value) is not Cons:
            raise TypeError("not a proper list")
        yield value.a
        value = value.d


def unwrap_form(form: Value) -> Value:
    """A form without its annotations."""
    while type(form) is Annotated:
        form = form.value
    return form


def wrap_int(number: int) -> int:
    """An integer as 64 bits hold it: arithmetic wraps around."""
    if -0x8000000000000000 <= number <= 0x7FFFFFFFFFFFFFFF:
        return number
    return (number + 0x8000000000000000) % (1 << 64) - 0x8000000000000000
