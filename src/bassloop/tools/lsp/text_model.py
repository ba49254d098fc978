"""The model of a text: scopes, the names that they define, and the references to names.

All positions are offsets into the text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.bass.values import Value

Kind: TypeAlias = Literal["function", "operative", "parameter", "module", "value", "data", "key"]
"""What a name is bound to, as far as its definition tells: `data` is not a combiner, a `value` or `parameter` may be
anything, and a `key` belongs to a scope literal."""

EVALUATING: frozenset[Kind] = frozenset(("function", "module", "data"))
"""Kinds whose calls evaluate their operands, so that no operand can bind a name around the call."""


@dataclass(frozen=True, slots=True)
class TextSpan:
    """A part of a text, from `start` up to `end`."""

    start: int
    end: int

    def __contains__(self, offset: int) -> bool:
        return self.start <= offset <= self.end


@dataclass(frozen=True, slots=True)
class Module:
    """A module that `(use …)` loads: a standard one, or a file by its path from the script's directory."""

    std: str = ""
    file: str = ""


@dataclass(eq=False, slots=True)
class Definition:
    """A name that is bound.

    Args:
        span: the name; `whole` is the form that binds it.
        alias: the name that is its value.
        inside: the scope that `provide` takes the name from.
        members: the scope that is its value, if that is a literal.
    """

    name: str
    span: TextSpan
    whole: TextSpan
    kind: Kind
    doc: str = ""
    formals: str | None = None
    module: Module | None = None
    alias: Reference | None = None
    inside: LexicalScope | None = None
    members: LexicalScope | None = None


@dataclass(eq=False, slots=True)
class Reference:
    """A name, or `name:member:…`, that is looked up."""

    name: str
    span: TextSpan
    scope: LexicalScope
    context: Context
    members: tuple[tuple[str, TextSpan], ...] = ()

    @property
    def whole(self) -> TextSpan:
        """The name with its members."""
        return TextSpan(self.span.start, self.members[-1][1].end if self.members else self.span.end)


@dataclass(eq=False, slots=True)
class LexicalScope:
    """A part of the text in which names are bound.

    Args:
        is_open: names may be bound in it that the text does not show.
        heads: what is called in it, other than what is known to bind nothing.
    """

    span: TextSpan
    parent: LexicalScope | None = None
    names: dict[str, list[Definition]] = field(default_factory=dict)
    is_open: bool = False
    heads: list[Reference] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Context:
    """The calls that a form is an operand of: it is evaluated for sure if each of them evaluates its operands.

    Args:
        head: what is called; None for a form that is not evaluated as it is written, such as a quoted one.
        sure: whether the form is evaluated for sure, once that is known.
    """

    parent: Context | None = None
    head: Reference | None = None
    sure: bool | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True)
class CallSite:
    """A call of an operative.

    Args:
        doc: the comment beside it.
        span: the whole form.
    """

    operands: Sequence[Value]
    scope: LexicalScope
    context: Context
    doc: str
    span: TextSpan


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, warning or hint for the author."""

    span: TextSpan
    message: str
    severity: Literal["error", "warning", "hint"]
    deprecated: bool = False
