"""The model of a text, which may be unfinished: its forms, scopes, names, and references to names."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from bassloop.bass.errors import ReadError
from bassloop.bass.reader import Reader, closers
from bassloop.bass.source_text import SourceText
from bassloop.bass.values import EMPTY, Cell, Located, Pair, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.bass.values import Value


REPAIRS: Final = 20
"""The maximum number of repairs, each of which reads a form again."""

_TOP: Final = re.compile(r"\n(?=\()")

Kind: TypeAlias = Literal["function", "operative", "parameter", "module", "value", "data", "key"]
"""The kind of value that a name is bound to, as far as its definition shows: `data` isn't a combiner, a `value` or
`parameter` may be anything, and a `key` is in a scope literal."""

EVALUATING: frozenset[Kind] = frozenset(("function", "module", "data"))
"""Kinds whose calls evaluate their operands, so operands can't bind names in the call's scope."""


class Forms(NamedTuple):
    """The forms of a text, and the errors in it.

    The span of a form that was closed automatically may extend beyond the end of the text.
    """

    forms: list[Located]
    errors: list[ReadError]


def read(text: str) -> Forms:
    """Read any text.

    Errors are blanked out. A form that isn't closed ends before the next line that begins with a bracket, since people
    usually start new forms like that.
    """
    found = Forms([], [])
    start = 0
    mismatched = False
    for _ in range(REPAIRS):
        error, start = _read_from(text, start, found.forms)
        if error is None:
            break
        place = error.range
        assert place is not None
        if not error.incomplete:
            found.errors.append(error)
            # The unmatched bracket stays open. That's part of the same error.
            mismatched = "needs" in error.message
            text = _blanked(text, place.start, place.end)
            continue
        if not mismatched:
            found.errors.append(error)
        mismatched = False
        top = _TOP.search(text, max(place.start, start))
        end = top.end() if top else len(text)
        _closed(text[:end], start, found.forms)
        start = end
    return found


def _read_from(text: str, start: int, forms: list[Located]) -> tuple[ReadError | None, int]:
    """Read forms up to the first error; return it, and where the form with it begins."""
    try:
        for form in Reader(SourceText(text, ""), start):
            forms.append(form)
            start = form.range.end
    except ReadError as error:
        return error, start
    return None, len(text)


def _closed(text: str, start: int, forms: list[Located]) -> None:
    """Read the forms of a text, the last of which isn't closed."""
    for _ in range(3):
        error, start = _read_from(text + closers(text[start:]), start, forms)
        if error is None or error.incomplete:
            return
        place = error.range
        assert place is not None
        text = _blanked(text, place.start, min(place.end, len(text)))


def _blanked(text: str, start: int, end: int) -> str:
    return f"{text[:start]}{' ' * (end - start)}{text[end:]}"


# --- what is in a form ---


def listed(form: Value) -> list[Value]:
    """Return the members of a list, including the one after `&`."""
    members: list[Value] = []
    while isinstance(form, Cell):
        members.append(form.a)
        form = form.d
    if form is not EMPTY:
        members.append(form)
    return members


def threaded(members: Sequence[Value]) -> Value:
    """Return the form that `(-> x (f y) g)` evaluates: `(g (f x y))`."""
    form, *calls = members
    for each in calls:
        bare = plain(each)
        # Lookups, such as a:b, are read as lists, too.
        if isinstance(bare, Cell) and each.__class__ is Located and _in_brackets(each):
            form = Located(Pair(bare.a, Pair(form, bare.d)), each.range)
        else:
            form = Pair(each, Pair(form, EMPTY))
    return form


def _in_brackets(form: Located) -> bool:
    place = form.range
    return place.source.text[place.start : place.start + 1] in ("(", "[")


@dataclass(frozen=True, slots=True)
class TextSpan:
    """A part of a text, from `start` up to `end`."""

    start: int
    end: int

    def __contains__(self, offset: int) -> bool:
        return self.start <= offset <= self.end


@dataclass(frozen=True, slots=True)
class Module:
    """A module that `(use …)` loads: a standard one, or a file, by its path relative to the script's directory."""

    std: str = ""
    file: str = ""


@dataclass(eq=False, slots=True)
class Definition:
    """A name that is bound.

    Args:
        span: the name's span; `whole` is that of the form that binds it.
        alias: the name that it's bound to.
        inside: the scope that `provide` exports the name from.
        members: the scope that it's bound to, if that's a literal.
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
    """A part of the text with its own bindings.

    Args:
        is_open: names may be bound in it that the analysis can't see.
        heads: the operators of calls in it that may bind names.
    """

    span: TextSpan
    parent: LexicalScope | None = None
    names: dict[str, list[Definition]] = field(default_factory=dict)
    is_open: bool = False
    heads: list[Reference] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Context:
    """The calls around a form: it's certainly evaluated if each of them evaluates its operands.

    Args:
        head: the operator; None for a form that isn't evaluated as written, such as a quoted one.
        sure: whether the form is certainly evaluated, as soon as that's known.
    """

    parent: Context | None = None
    head: Reference | None = None
    sure: bool | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True)
class CallSite:
    """A call of an operative.

    Args:
        doc: the comment next to it.
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


# --- positions in a text ---

_END: Final = re.compile(r"\r\n|\n|\r")
_WIDTH: Final = {"utf-8": 1, "utf-16": 2, "utf-32": 4}


class Positions:
    """Converts between offsets and the protocol's positions: lines from 0, and code units of an encoding.

    Every position has an offset; one after the end of a line is the same as the end.
    """

    def __init__(self, text: str, encoding: str = "utf-16") -> None:
        self._text = text
        self._codec = {"utf-8": "utf-8", "utf-32": "utf-32-le"}.get(encoding, "utf-16-le")
        self._width = _WIDTH.get(encoding, 2)
        self._starts = [0]
        self._ends: list[int] = []
        for end in _END.finditer(text):
            self._ends.append(end.start())
            self._starts.append(end.end())
        self._ends.append(len(text))

    def position(self, offset: int) -> tuple[int, int]:
        """Return the line of an offset, and the code units before it in that line."""
        offset = max(0, min(offset, len(self._text)))
        line = bisect_right(self._starts, offset) - 1
        before = self._text[self._starts[line] : min(offset, self._ends[line])]
        return line, self._units(before)

    def offset(self, line: int, units: int) -> int:
        """Return the offset of a position."""
        if line < 0:
            return 0
        if line >= len(self._starts):
            return len(self._text)
        start, end = self._starts[line], self._ends[line]
        at = start
        left = units
        while at < end and left > 0:
            left -= self._units(self._text[at])
            # Never in the middle of a character.
            at += left >= 0
        return at

    def _units(self, text: str) -> int:
        if text.isascii():
            return len(text)
        return len(text.encode(self._codec, "surrogatepass")) // self._width
