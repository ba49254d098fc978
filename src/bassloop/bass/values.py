"""The values of the language, as data: what they consist of, and nothing about what can be done with them.

Numbers, strings, booleans and null are Python's own `int`, `str`, `bool` and `None`. Because `True` is an `int` to
Python, test for numbers with `type(x) is int`. Strings hold text; bytes that aren't UTF-8 are kept as surrogate
escapes. Every other value is an instance of `Object`.

What can be done with a value is a *generic function*: a table of functions by class (`Methods`), kept by the module
that owns the operation. A new type of value is a class here or elsewhere, plus an entry in each table that treats it
differently from any other value:

| operation | table | without an entry a value |
| --- | --- | --- |
| print | `printer.PRINTED` | prints as `<kind>` |
| compare | `equality.EQUAL` | equals only itself |
| encode as JSON | `json.ENCODED` | can't be encoded |
| encode as a message | `wire.encode` | can't be encoded |
| evaluate as a form | `compile.code.COMPILED` | evaluates to itself |
| match as a pattern | `compile.patterns.PATTERNS` | isn't a pattern |
| call | `compile.apply.APPLIED` | can't be called |

Printing, comparing and encoding are loops rather than recursions, so a value may be nested deeper than any stack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Generic,
    TypeAlias,
    TypeVar,
    dataclass_transform,
    final,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bassloop.bass.ranges import Range

Value: TypeAlias = Any
"""Any value of the language: `None`, `bool`, `int`, `str`, or an `Object`."""

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Methods(dict[type, F], Generic[F]):
    """A generic function's methods, by class; a class without one has its base class's."""

    def __missing__(self, cls: type) -> F:
        for base in cls.__mro__[1:]:
            if base in self:
                method = self[cls] = self[base]
                return method
        raise KeyError(cls)

    def of(self, *classes: type) -> Callable[[T], T]:
        """Return a decorator that makes a function the method of these classes."""

        def define(function: T) -> T:
            self.update(dict.fromkeys(classes, function))  # type: ignore[arg-type]
            return function

        return define


@dataclass_transform(eq_default=False)
def value_type(cls: type[T]) -> type[T]:
    """Make a class a type of value: a dataclass with slots that compares by identity and hides its fields."""
    return dataclass(slots=True, eq=False, repr=False)(cls)


class Object:
    """The base class of all values that aren't Python's own. Values are immutable unless they say otherwise."""

    __slots__ = ()

    kind: ClassVar[str] = "value"
    """The name of such a value in messages, without an article: "file path", "scope"."""

    def __repr__(self) -> str:
        return f"<{self.kind}>"


class Combiner(Object):
    """The base class of everything that can be called."""

    __slots__ = ()
    kind = "combiner"

    applicative: ClassVar[bool] = False
    """True if a call evaluates its operands first, and there is a combiner inside that doesn't."""


# --- atoms ---


@final
class Ignore(Object):
    """`_`: as a pattern it matches anything and binds nothing."""

    __slots__ = ()
    kind = "ignore"


@final
class Empty(Object):
    """`()`, the empty list."""

    __slots__ = ()
    kind = "empty list"


IGNORE: Final = Ignore()
EMPTY: Final = Empty()


@final
@value_type
class Symbol(Combiner):
    """A name. Evaluates to what it is bound to; called with a scope, it looks itself up there."""

    kind = "symbol"
    applicative = True

    name: str

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Symbol and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


@final
@value_type
class Keyword(Object):
    """`:name`, which evaluates to the symbol. As a pattern it matches exactly that symbol."""

    kind = "keyword"

    name: str

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Keyword and other.name == self.name

    def __hash__(self) -> int:
        return hash((":", self.name))


# --- lists and other forms ---


@value_type
class Cell(Object):
    """The base of `Pair` and `Cons`: a first value `a`, and the rest `d`.

    The compiled forms, for a call in tail position or not, are kept in `compiled_tail` and `compiled`.
    """

    kind = "list"

    a: Value
    d: Value
    compiled: Callable[..., Value] = field(init=False)
    compiled_tail: Callable[..., Value] = field(init=False)


@final
class Pair(Cell):
    """`(a & d)`. Evaluating it calls what `a` evaluates to with the operands `d`.

    A list that has been evaluated consists of pairs and ends in `EMPTY`.
    """

    __slots__ = ()


@final
class Cons(Cell):
    """`[a & d]`. Evaluating it makes the pair of both, evaluated."""

    __slots__ = ()


@final
@value_type
class Bind(Object):
    """The members of `{…}` as written. Evaluating it makes a scope; as a pattern it takes one apart."""

    kind = "bind form"

    members: tuple[Value, ...]
    compiled: Callable[..., Value] = field(init=False)


@final
@value_type
class Located(Object):
    """A form as it was read: the form itself, its range, the comment beside it, the `^` metadata before it.

    Quoted forms keep these wrappers, which show through everything but JSON.
    """

    kind = "form"

    form: Value
    range: Range
    comment: str = ""
    meta: tuple[Value, ...] | None = None
    compiled: Callable[..., Value] = field(init=False)
    compiled_tail: Callable[..., Value] = field(init=False)


# --- scopes ---


class _Missing:
    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""The result of `Scope.get` for a name that isn't bound, since null is a value like any other."""


@final
class Scope(Object):
    """Bindings, in the order in which they were made, and parents to ask for what isn't bound here.

    Scopes are mutable and live. `grounded` says that the first parents lead to Ground, so that a name of Ground has
    Ground's meaning unless a scope in between has rebound it; see `compile/combination.py`. Use `Machine.define` to
    bind a name in a scope that code runs in; `vars[name] = value` is enough for a scope that is only data.
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

    def child(self) -> Scope:
        """Return a new empty scope below this one."""
        return Scope({}, (self,), self.grounded)

    def get(self, name: str) -> Value:
        """Return the value of a name here or in the first parent, depth first, that has it, else `MISSING`."""
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
        """Return all names bound here and in parents, each once: parents' names come first, in order."""
        seen: dict[str, None] = {}
        # A scope's own names follow those of all its parents: visit it twice, the second time to take them.
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
        """Return all names with the values that they have here, in the order of `names`."""
        if not self.parents:
            return list(self.vars.items())
        return [(name, self.get(name)) for name in self.names()]

    def copy(self) -> Scope:
        """Return a scope without parents that has the same bindings in the same order."""
        return Scope(dict(self.items()))


def _get_among(parents: tuple[Scope, ...], name: str) -> Value:
    stack = list(reversed(parents))
    while stack:
        scope = stack.pop()
        value = scope.vars.get(name, MISSING)
        if value is not MISSING:
            return value
        stack.extend(reversed(scope.parents))
    return MISSING


@final
@value_type
class WithMeta(Object):
    """A value with metadata, which is a scope. It prints, compares and encodes as the value alone."""

    value: Value
    meta: Scope


# --- helpers ---


def strip(value: Value) -> Value:
    """Return the value without its metadata."""
    while value.__class__ is WithMeta:
        value = value.value
    return value


def plain(value: Value) -> Value:
    """Return the value without its metadata and without the reader's wrapper around it."""
    while True:
        if value.__class__ is WithMeta:
            value = value.value
        elif value.__class__ is Located:
            value = value.form
        else:
            return value


def end_of(value: Value, items: list[Value]) -> Value:
    """Append the members of a list to `items`, and return what ends it: `EMPTY` for a proper list."""
    append = items.append
    while True:
        cls = value.__class__
        if cls is Pair or cls is Cons:
            append(value.a)
            value = value.d
        elif cls is Empty:
            return EMPTY
        else:
            inner = plain(value)
            if inner is value:
                return value
            value = inner


def from_list(items: Iterable[Value], rest: Value = EMPTY) -> Value:
    """Return the list value with these members, ended by `rest`."""
    members = list(items)
    while members:
        rest = Pair(members.pop(), rest)
    return rest


def is_list(value: Value) -> bool:
    """Return whether a value is a proper list."""
    return end_of(value, []) is EMPTY


def kind(value: Value) -> str:
    """Return what messages call a value, without an article."""
    value = strip(value)
    if value is None:
        return "null"
    if isinstance(value, Object):
        return value.kind
    return {bool: "boolean", int: "number", str: "string"}.get(type(value), type(value).__name__)


def wrap_int(number: int) -> int:
    """Return the number as 64 bits hold it: arithmetic wraps around."""
    return (number - INT_MIN) % 2**64 + INT_MIN
