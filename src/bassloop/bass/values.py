"""The values of the language. The classes only hold data; the modules below define the operations on it.

Numbers, strings, booleans and null are Python's own `int`, `str`, `bool` and `None`. Because `True` is an `int` to
Python, test for numbers with `type(x) is int`. Strings are text, in which surrogate escapes represent bytes that aren't
UTF-8. Every other value is an instance of `Object`.

Each operation is a *generic function*: a table of methods by class (`Methods`), in the module that owns the operation.
To add a type of value, write a class, and add a method to each table that has no suitable default:

| operation | table | by default, a value |
| --- | --- | --- |
| print | `printer.PRINTED` | prints as `<kind>` |
| compare | `equality.EQUAL` | equals only itself |
| encode as JSON | `json.ENCODED` | can't be encoded |
| encode as a message | `wire.encode` | can't be encoded |
| evaluate as a form | `compile.code.COMPILED` | evaluates to itself |
| match as a pattern | `compile.patterns.PATTERNS` | isn't a pattern |
| call | `combiner.APPLIED` | can't be called |

Printing, comparing and encoding are iterative, so values can be nested deeper than Python's stack allows.
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

    from bassloop.bass.source_text import Range

Value: TypeAlias = Any
"""Any value of the language: `None`, `bool`, `int`, `str`, or an `Object`."""

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Methods(dict[type, F], Generic[F]):
    """The methods of a generic function, by class. A class without a method inherits its base class's."""

    def __missing__(self, cls: type) -> F:
        for base in cls.__mro__[1:]:
            if base in self:
                method = self[cls] = self[base]
                return method
        raise KeyError(cls)

    def of(self, *classes: type) -> Callable[[T], T]:
        """Return a decorator that registers a function as the method of these classes."""

        def define(function: T) -> T:
            self.update(dict.fromkeys(classes, function))  # type: ignore[arg-type]
            return function

        return define


@dataclass_transform(eq_default=False)
def value_type(cls: type[T]) -> type[T]:
    """Turn a class into a type of value: a slotted dataclass that compares by identity and doesn't show its fields."""
    return dataclass(slots=True, eq=False, repr=False)(cls)


class Object:
    """The base class of all values that aren't Python's own. They are immutable unless their class says otherwise."""

    __slots__ = ()

    kind: ClassVar[str] = "value"
    """The type's name in messages, without an article: "file path", "scope"."""

    def __repr__(self) -> str:
        return f"<{self.kind}>"


class Combiner(Object):
    """The base class of everything that can be called."""

    __slots__ = ()
    kind = "combiner"

    applicative: ClassVar[bool] = False
    """Whether a call evaluates its operands first, and passes the values to an underlying combiner (`unwrap`)."""


# --- atoms ---


@final
class Ignore(Object):
    """`_`, the pattern that matches anything and binds nothing."""

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
    """A name. It evaluates to the value that it's bound to. Called with a scope, it returns its value there."""

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
    """`:name`, which evaluates to the symbol `name`. As a pattern, it matches only that symbol."""

    kind = "keyword"

    name: str

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Keyword and other.name == self.name

    def __hash__(self) -> int:
        return hash((":", self.name))


# --- lists and other forms ---


@value_type
class Cell(Object):
    """The base class of `Pair` and `Cons`: a first value `a` (the car), and the rest `d` (the cdr).

    `compiled` caches the form's code, and `compiled_tail` its code in tail position.
    """

    kind = "list"

    a: Value
    d: Value
    compiled: Callable[..., Value] = field(init=False)
    compiled_tail: Callable[..., Value] = field(init=False)


@final
class Pair(Cell):
    """`(a & d)`, a combination. Evaluating it calls the value of `a` with the operands `d`.

    List values consist of pairs as well, and end in `EMPTY`.
    """

    __slots__ = ()


@final
class Cons(Cell):
    """`[a & d]`, a list form. Evaluating it returns a `Pair` of the values of both."""

    __slots__ = ()


@final
@value_type
class Bind(Object):
    """`{…}`, with its members as written. Evaluating it makes a scope; as a pattern, it destructures one."""

    kind = "bind form"

    members: tuple[Value, ...]
    compiled: Callable[..., Value] = field(init=False)


@final
@value_type
class Located(Object):
    """A form as it was read: the form itself, its range, the comment beside it, and the `^` metadata before it.

    Quoted forms keep these wrappers. All operations see through them, except encoding, which fails.
    """

    kind = "form"

    form: Value
    range: Range
    comment: str = ""
    meta: tuple[Value, ...] | None = None
    compiled: Callable[..., Value] = field(init=False)
    compiled_tail: Callable[..., Value] = field(init=False)


# --- scopes ---


@final
class Sentinel:
    """A result that can't be confused with any value."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


MISSING: Final = Sentinel("MISSING")
"""What `Scope.get` returns for an unbound name, because None is a value (null)."""

FOR_NOW: Final = Sentinel("FOR_NOW")
"""What `Scope.grounded` is, instead of True, while the scope's members are evaluated."""


@final
class Scope(Object):
    """A scope: bindings in insertion order, and parents, in which other names are looked up.

    Scopes are mutable, and their children see the changes. A scope is `grounded` if following the first parents leads
    to Ground. A builtin's name then means the builtin, unless a scope on the way shadows it; see
    `compile/combination.py`. While the members of `{…}` are evaluated, the new scope is only grounded `FOR_NOW`, and
    its children, which may outlive that, aren't. Use `Machine.define` to bind a name in a scope that code runs in;
    `vars[name] = value` is enough for a scope that is only data.
    """

    __slots__ = ("__weakref__", "grounded", "name", "parents", "vars")
    kind = "scope"

    name: str
    vars: dict[str, Value]
    parents: tuple[Scope, ...]
    grounded: bool | Sentinel

    def __init__(
        self,
        vars: dict[str, Value] | None = None,
        parents: tuple[Scope, ...] = (),
        grounded: bool | Sentinel = False,
    ) -> None:
        self.vars = {} if vars is None else vars
        self.parents = parents
        self.grounded = grounded

    def child(self) -> Scope:
        """Return a new empty scope below this one."""
        return Scope({}, (self,), self.grounded is True)

    def get(self, name: str) -> Value:
        """Return a name's value, searching this scope and then its parents depth first; `MISSING` if it's unbound."""
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
        """Return all names that are bound here and in the parents, each once, the parents' names first."""
        return [name for name, _ in self.items()]

    def items(self) -> list[tuple[str, Value]]:
        """Return all names with their values, in the order of `names`."""
        if not self.parents:
            return list(self.vars.items())
        names: dict[str, None] = {}
        values: dict[str, Value] = {}
        visited: set[Scope] = set()
        # Each scope is visited before its parents, because its values take precedence over theirs, and again after
        # them, because their names come first.
        stack: list[tuple[Scope, bool]] = [(self, False)]
        while stack:
            scope, after_parents = stack.pop()
            if after_parents:
                names.update(dict.fromkeys(scope.vars))
            elif scope not in visited:
                visited.add(scope)
                for name, value in scope.vars.items():
                    values.setdefault(name, value)
                stack.append((scope, True))
                stack.extend((parent, False) for parent in reversed(scope.parents))
        return [(name, values[name]) for name in names]

    def descends_from(self, other: Scope) -> bool:
        """Return whether this is the other scope, or has it among its parents, their parents, and so on."""
        visited: set[Scope] = set()
        stack = [self]
        while stack:
            scope = stack.pop()
            if scope is other:
                return True
            if scope not in visited:
                visited.add(scope)
                stack.extend(scope.parents)
        return False

    def copy(self) -> Scope:
        """Return a scope without parents that has the same names and values, in the same order."""
        return Scope(dict(self.items()))


def _get_among(parents: tuple[Scope, ...], name: str) -> Value:
    stack = list(reversed(parents))
    visited: set[Scope] = set()
    while stack:
        scope = stack.pop()
        value = scope.vars.get(name, MISSING)
        if value is not MISSING:
            return value
        if scope not in visited:
            visited.add(scope)
            stack.extend(reversed(scope.parents))
    return MISSING


@final
@value_type
class WithMeta(Object):
    """A value with metadata (a scope), which printing, comparing and encoding ignore."""

    value: Value
    meta: Scope


# --- helpers ---


def strip(value: Value) -> Value:
    """Return the value without its metadata."""
    while value.__class__ is WithMeta:
        value = value.value
    return value


def plain(value: Value) -> Value:
    """Return the value without its metadata and its `Located` wrapper."""
    while True:
        if value.__class__ is WithMeta:
            value = value.value
        elif value.__class__ is Located:
            value = value.form
        else:
            return value


def end_of(value: Value, items: list[Value]) -> Value:
    """Append the members of a list to `items`, and return its end: `EMPTY` if the list is proper."""
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
    """Return a list of these members, followed by `rest`."""
    members = list(items)
    while members:
        rest = Pair(members.pop(), rest)
    return rest


def is_list(value: Value) -> bool:
    """Return whether a value is a proper list."""
    return end_of(value, []) is EMPTY


def kind(value: Value) -> str:
    """Return the name of a value's type for messages, without an article."""
    value = strip(value)
    if value is None:
        return "null"
    if isinstance(value, Object):
        return value.kind
    return {bool: "boolean", int: "number", str: "string"}.get(type(value), type(value).__name__)


def text_of(data: bytes) -> str:
    """Return bytes as a string, with surrogate escapes for those that aren't UTF-8."""
    return data.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """Return a string's bytes; the opposite of `text_of`."""
    return text.encode("utf-8", "surrogateescape")


def wrap_int(number: int) -> int:
    """Return a number wrapped around to a signed 64-bit integer."""
    return (number - INT_MIN) % 2**64 + INT_MIN
