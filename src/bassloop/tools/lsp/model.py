"""What is found in a text: scopes, the names they define, and the places that refer to names.

All places are offsets into the text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["function", "operative", "parameter", "module", "value", "data", "key"]
"""What a name is bound to, as far as can be told from its definition: `data` is known not to be a combiner,
a `value` or `parameter` might be anything, a `key` is one of a scope that is written out."""

EVALUATING: frozenset[Kind] = frozenset(("function", "module", "data"))
"""Kinds that, called, evaluate their operands: nothing they are called with can bind a name where they are."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a text, from `start` up to `end`."""

    start: int
    end: int

    def __contains__(self, offset: int) -> bool:
        return self.start <= offset <= self.end


@dataclass(frozen=True, slots=True)
class Module:
    """What `(use …)` loads: a module of std by its name, or a file by its path from the script's directory."""

    std: str = ""
    file: str = ""


@dataclass(eq=False, slots=True)
class Definition:
    """A name that is bound somewhere: where it stands (`span`), and the form that binds it (`whole`).

    `alias` is the name that its value is, `inside` the scope of another definition that it provides, and
    `members` the scope that holds what it has, if it is a scope that is written out.
    """

    name: str
    span: Span
    whole: Span
    kind: Kind
    doc: str = ""
    formals: str | None = None
    module: Module | None = None
    alias: Reference | None = None
    inside: Scope | None = None
    members: Scope | None = None


@dataclass(eq=False, slots=True)
class Reference:
    """A name, or `name:member:…`, where its value is asked for."""

    name: str
    span: Span
    scope: Scope
    context: Context
    members: tuple[tuple[str, Span], ...] = ()

    @property
    def whole(self) -> Span:
        """From the name to the last member."""
        return Span(self.span.start, self.members[-1][1].end if self.members else self.span.end)


@dataclass(eq=False, slots=True)
class Scope:
    """A stretch of text in which names are bound. The first one is that of the whole text.

    `is_open` says that names may be bound in it that nothing in the text tells of. `heads` are what is called in
    it, other than what is known to be harmless.
    """

    span: Span
    parent: Scope | None = None
    names: dict[str, list[Definition]] = field(default_factory=dict)
    is_open: bool = False
    heads: list[Reference] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Context:
    """What a form is an operand of: it is surely evaluated if each of these evaluates its operands.

    `head` is what is called, None if that is known never to be evaluated as it stands (quoted forms).
    """

    parent: Context | None = None
    head: Reference | None = None
    sure: bool | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """Something to tell whoever writes the text."""

    span: Span
    message: str
    severity: Literal["error", "warning", "hint"]
    deprecated: bool = False
