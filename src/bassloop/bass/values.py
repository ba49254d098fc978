"""What every value of the language has in common.

Numbers, strings, booleans and null are Python's own `int`, `str`, `bool` and `None` (mind that `True` is
an `int` to Python: ask with `type(x) is int`). Strings hold text; bytes that are not UTF-8 are kept as
surrogate escapes. Every other value is an instance of `Object`.

A type of value says about itself, by overriding what `Object` has:

* `parts()` and `json_parts()`: how it prints and how it encodes, as a flat run of `Verbatim` and of inner
  values. Printing and encoding are loops over such runs (`printer.py`, `json.py`), so a value may be
  nested deeper than any stack.
* `same(other, pending)`: whether another value of the same type is equal, leaving inner values that must be
  compared too in `pending` (`equal` below is the loop).
* `code()`: what evaluating it as a form does; without it, a value evaluates to itself.
* `binder()`: what it does as a pattern; without it, it is no pattern (`bindings.py`).

Combiners (`combiner.py`) add how they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, TypeVar, final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bassloop.bass.bindings import Binder
    from bassloop.bass.machine import Machine
    from bassloop.bass.scope import Scope

Value: TypeAlias = Any
"""Any value of the language: `None`, `bool`, `int`, `str`, or an `Object`."""

Code: TypeAlias = "Callable[[Scope, Machine], Value]"
"""A form that has been made ready: called with the scope to evaluate in, and the machine that runs it."""

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1


@final
class Verbatim(str):
    """Literal text among `parts`, as opposed to a string that is to be printed as a value."""

    __slots__ = ()


class Object:
    """The base of all values that are not Python's own. Values are immutable unless they say otherwise."""

    __slots__ = ()

    kind: ClassVar[str] = "value"
    """What messages call such a value, without an article: "file path", "scope"."""

    sees_through: ClassVar[bool] = True
    """Whether `same` is asked about a value that carries metadata (its metadata then being ignored)."""

    def parts(self) -> Iterator[Verbatim | Value]:
        """The printed form, flat: `Verbatim` stands for itself, anything else is a value to print in its place."""
        yield Verbatim(f"<{self.kind}>")

    def json_parts(self) -> Iterator[Verbatim | Value]:
        """The JSON encoding, flat, like `parts`.

        Raises `BassError` if the value has no encoding, which is the default.
        """
        from bassloop.bass.errors import cannot_encode

        raise cannot_encode(self)

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        """Whether `other`, which has exactly this type, is equal as far as can be seen without descending.

        Inner values that must be equal as well are appended to `pending`, not compared here.
        """
        return self is other

    def code(self, tail: bool = False) -> Code:
        """What evaluating this value as a form does. A value that is no form evaluates to itself.

        With `tail` the code may leave a call for the trampoline (`machine.py`) instead of a value.
        """
        return lambda scope, machine: self

    def binder(self) -> Binder:
        """What this value does as a pattern. Raises `BassError` when it cannot be one."""
        from bassloop.bass.errors import cannot_bind

        raise cannot_bind(self)

    def __repr__(self) -> str:
        from bassloop.bass.printer import show

        return show(self)


@final
class Ignore(Object):
    """`_`: as a pattern it takes anything and binds nothing."""

    __slots__ = ()
    kind = "ignore"

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim("_")

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim("{}")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        return True

    def binder(self) -> Binder:
        return lambda scope, value, machine: None


@final
class Empty(Object):
    """`()`, the empty list."""

    __slots__ = ()
    kind = "empty list"

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim("()")

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim("[]")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        return True

    def binder(self) -> Binder:
        from bassloop.bass.bindings import constant_binder

        return constant_binder(self, self)


IGNORE: Final = Ignore()
EMPTY: Final = Empty()

_T = TypeVar("_T")


def strip(value: Value) -> Value:
    """The value without the metadata it carries."""
    from bassloop.bass.annotated import WithMeta

    while value.__class__ is WithMeta:
        value = value.value
    return value


def equal(left: Value, right: Value) -> bool:
    """Whether two values are equal: of the same type, and the same all the way down.

    Asked as `left.same(right)`; metadata of either and what the reader noted are ignored, except that a type
    with `sees_through = False` (thunks) differs from a value on the right that carries metadata.
    """
    from bassloop.bass.annotated import Located, WithMeta

    pending: list[tuple[Value, Value]] = [(left, right)]
    while pending:
        left, right = pending.pop()
        while isinstance(left, WithMeta | Located):
            left = left.value if isinstance(left, WithMeta) else left.form
        if right.__class__ is WithMeta and isinstance(left, Object) and not left.sees_through:
            return False
        while isinstance(right, WithMeta | Located):
            right = right.value if isinstance(right, WithMeta) else right.form
        if left is right:
            continue
        if left.__class__ is not right.__class__:
            return False
        if isinstance(left, Object):
            if not left.same(right, pending):
                return False
        elif left != right:
            return False
    return True


def kind(value: Value) -> str:
    """What to call a value in a message, without an article."""
    value = strip(value)
    if value is None:
        return "null"
    if isinstance(value, Object):
        return value.kind
    return {bool: "boolean", int: "number", str: "string"}.get(type(value), type(value).__name__)


def wrap_int(number: int) -> int:
    """The number as 64 bits hold it: arithmetic wraps around."""
    return (number - INT_MIN) % 2**64 + INT_MIN
