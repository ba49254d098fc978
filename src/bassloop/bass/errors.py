"""The errors of scripts, how they are rendered, and the hints for those who know another Lisp.

An error holds values, a scope or ranges, and formats its message on demand, because most errors of patterns are never
shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Self, final

from bassloop.bass.printer import show
from bassloop.bass.values import kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bassloop.bass.source_text import Range
    from bassloop.bass.values import Scope, Value

MAX_TRACE: Final = 1000
"""The maximum length of an error's trace."""

SHOWN_VALUE: Final = 200
SHOWN_LINE: Final = 160
SHOWN_FORM: Final = 100
SHOWN_CALLS: Final = 20
SHOWN_KEYS: Final = 12


class BassError(Exception):
    """An error of a script: the `message`, where it happened (`range`), and the forms that led there (`trace`).

    The innermost form is first. None stands for calls in tail position, which leave no trace. `text` is the message, or
    a function that returns it. `fields` are those of `(error message :name value)`.
    """

    def __init__(self, text: str | Callable[[], str] = "", *, fields: Scope | None = None) -> None:
        super().__init__(text)
        self._text = text
        self.fields = fields
        self.trace: list[Range | None] = []
        self.omitted = 0

    @property
    def message(self) -> str:
        """The problem and, if it's known, the fix, in one line or more."""
        text = self._text
        if not isinstance(text, str):
            self._text = text = text()
        return text

    @property
    def range(self) -> Range | None:
        """The range of the innermost form that was being evaluated; None if it didn't come from a source text."""
        return next(filter(None, self.trace), None)

    def add_call(self, span: Range | None) -> None:
        """Add a form that the error propagates through to the trace, unless its range is unknown."""
        if span is None:
            return
        if len(self.trace) < MAX_TRACE:
            self.trace.append(span)
        else:
            self.omitted += 1

    def copy(self) -> Self:
        """Return the error with a trace of its own, to be raised once more."""
        made = self.__class__.__new__(self.__class__, *self.args)
        made.__dict__.update(self.__dict__, trace=list(self.trace))
        return made

    def add_tail_calls(self) -> None:
        """Note in the trace that it lacks calls in tail position."""
        if len(self.trace) < MAX_TRACE:
            self.trace.append(None)

    def notes(self) -> Iterator[str]:
        """Yield fields and hints, which are shown below the excerpt."""
        if self.fields is not None:
            for name, value in self.fields.items():
                yield f":{name} {brief(value)}"

    def __str__(self) -> str:
        return self.message


@final
class EndOfSource(BassError):
    """The error of a source that has no more values."""

    def __init__(self) -> None:
        super().__init__("end of source: give (next source default) a default to return instead")


@final
class ReadError(BassError):
    """A syntax error. `incomplete` is true if more text could make the program valid."""

    def __init__(self, text: str, span: Range, incomplete: bool = False) -> None:
        super().__init__(text)
        self.incomplete = incomplete
        self.trace.append(span)


@final
class Exhausted(BassError):
    """The error of a session that exceeded its budget. A script can't catch it."""

    def __init__(self, budget: str, text: str) -> None:
        super().__init__(text)
        self.budget = budget


_MODULES: Final = frozenset(
    {"bool", "checks", "git", "github", "paths", "regexp", "run", "streams", "strings", "time"}
)
"""The names of the modules of std, which scripts have to `use`."""

_NEAR: Final = 0.75
"""The minimum similarity of suggested names: a letter or two may be wrong, and more in a long name."""


@final
class Unbound(BassError):
    """The error of an unbound name.

    Args:
        is_key: the name is a key that was looked up in `scope`, such as an event's, and not a variable.
    """

    def __init__(self, name: str, scope: Scope, *, is_key: bool = False) -> None:
        super().__init__(f"unbound symbol: {name}")
        self.name = name
        self.scope = scope
        self.is_key = is_key

    def notes(self) -> Iterator[str]:
        if self.is_key:
            yield from self._notes_on_keys()
            return
        if self.name in _MODULES:
            yield f"{self.name} is a module of std: (use (.{self.name})) binds it"
            return
        if (instead := in_bass(self.name)) is not None:
            yield f"in Bass, that is {instead}"
            return
        similar = get_close_matches(self.name, self.scope.names(), n=3, cutoff=_NEAR)
        if similar:
            yield f"did you mean {', '.join(similar)}?"

    def _notes_on_keys(self) -> Iterator[str]:
        names = [f":{name}" for name in self.scope.names()]
        if similar := get_close_matches(f":{self.name}", names, n=3, cutoff=_NEAR):
            yield f"did you mean {', '.join(similar)}?"
        elif names:
            more = len(names) - SHOWN_KEYS
            shown = ", ".join(names[:SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")
            yield f"the scope has no :{self.name}, but {shown}"
        else:
            yield f"the scope is empty, so it has no :{self.name}"
        yield f"for a key that may be missing, give a default: (:{self.name} scope null)"


@final
@dataclass(slots=True, eq=False)
class Mismatch:
    """A value and the pattern that it doesn't match, or the error that explains why (`cause`)."""

    pattern: Value
    value: Value
    cause: BassError | None = None

    def error(self) -> BassError:
        """Return the error to raise."""
        return self.cause or BassError(
            lambda: f"bind: need {brief(self.pattern)}, have {brief(self.value)}"
        )


def brief(value: Value) -> str:
    """Return a value's printed form, truncated for messages."""
    text = show(value, limit=SHOWN_VALUE + 1)
    return text if len(text) <= SHOWN_VALUE else text[:SHOWN_VALUE] + "…"


def arity(name: str, need: int, have: int, *, variadic: bool = False) -> BassError:
    """Return the error for a call of a builtin with the wrong number of arguments."""
    least = "at least " if variadic else ""
    return BassError(f"{name} arity: need {least}{_arguments(need)}, given {have}")


def function_arity(formals: Value, need: int, args: list[Value]) -> BassError:
    """Return the error for a call of a function with the wrong number of arguments."""

    def text() -> str:
        takes = f"the function takes {_arguments(need)} {brief(formals)}, given {len(args)}"
        return ": ".join([takes, " ".join(map(brief, args))] if args else [takes])

    return BassError(text)


def _arguments(count: int) -> str:
    return f"{count} argument{'s' * (count != 1)}"


def wrong_type(value: Value, need: str, where: str = "") -> BassError:
    """Return the error for a value of the wrong type. `need` is the right one, and `where` is the builtin's name."""
    prefix = f"{where}: " if where else ""
    article = "an" if need[0] in "aeiou" else "a"
    return BassError(lambda: f"{prefix}need {article} {need}, have {brief(value)} ({kind(value)})")


def not_a_list(value: Value, combiner: Value) -> BassError:
    """Return the error for operands that aren't a proper list."""
    return BassError(lambda: f"{brief(combiner)}: need a list, have {brief(value)}")


def not_callable(value: Value) -> BassError:
    """Return the error for a combination whose head isn't a combiner."""
    return BassError(
        lambda: (
            f"cannot call {brief(value)} ({kind(value)}): the first member of (…) must be a combiner"
        )
    )


def cannot_encode(value: Value) -> BassError:
    """Return the error for a value that has no encoding."""
    return BassError(lambda: f"cannot encode {kind(value)}: {brief(value)}")


def bad_syntax(text: str) -> BassError:
    """Return the error for a malformed form."""
    return BassError(f"bad syntax: {text}")


# --- rendering ---


def render(error: BassError) -> str:
    """Return an error as text for a terminal or page, of one line or more.

    The text has the message, the source line with the range marked, and the calls that led there. Calls within the
    standard library are left out if possible.
    """
    return "\n".join(_lines(error))


def _lines(error: BassError) -> Iterator[str]:
    yield f"error: {error.message}"
    calls = list(_calls(error.trace))
    # Show the user's own code. Of the standard library's, the call that is nearest to it is enough.
    own = (call for call in calls if not call.span.source.standard)
    shown = next(own, calls[0] if calls else None)
    if shown is not None:
        yield from _excerpt(shown.span)
    for note in error.notes():
        yield f"  {note}"
    if shown is None:
        return
    first = calls.index(shown)
    if first > 0:
        yield f"  raised {_described(calls[0].span)}"
    kept = [
        call
        for before, call in pairwise(calls[first:])
        if not (before.span.source.standard and call.span.source.standard)
    ]
    for call in kept[:SHOWN_CALLS]:
        times = f" ({call.times:,} times)" if call.times > 1 else ""
        tail = ", which went on with tail calls" if call.goes_on else ""
        yield f"  called {_described(call.span)}{times}{tail}"
    left = len(kept) - SHOWN_CALLS
    if left > 0 or error.omitted:
        yield f"  … and {max(left, 0) + error.omitted:,} more"


@dataclass(slots=True)
class _Call:
    """A call that led to an error.

    Args:
        span: the call, or the form that failed.
        goes_on: whether there were calls in tail position between this call and the one inside.
        times: how many times in a row the same form was called.
    """

    span: Range
    goes_on: bool
    times: int = 1


def _calls(trace: Sequence[Range | None]) -> Iterator[_Call]:
    """Yield the calls in a trace, the innermost first, without the forms that only enclose the previous one."""
    last: _Call | None = None
    goes_on = False
    for span in trace:
        if span is None:
            goes_on = True
        elif last is None:
            last = _Call(span, goes_on=False)
        elif span == last.span:
            last.times += 1
        elif not _encloses(span, last.span):
            yield last
            last = _Call(span, goes_on)
        else:
            continue
        goes_on = span is None
    if last is not None:
        yield last


def _excerpt(span: Range) -> Iterator[str]:
    """Yield the line on which a range begins, with the range marked."""
    number = str(span.line)
    margin = " " * len(number)
    text = span.source.line(span.line)
    start = span.column
    end = span.end_column if span.end_line == span.line else len(text)
    left = max(0, start - SHOWN_LINE // 2) if start > SHOWN_LINE else 0
    shown = text[left : left + SHOWN_LINE].replace("\t", " ")
    marks = " " * (start - left) + "^" * max(1, min(end, left + SHOWN_LINE) - start)
    yield f"{margin}--> {_where(span)}"
    yield f"{margin} |"
    yield f"{number} | {_printable(shown)}"
    yield f"{margin} | {marks}"


def _encloses(outer: Range, inner: Range) -> bool:
    return inner.source is outer.source and outer.start <= inner.start and inner.end <= outer.end


def _described(span: Range) -> str:
    """Return a form's position and the beginning of its text. In the standard library, the position is the module."""
    at = f"in {span.source.name}" if span.source.standard else f"at {_where(span)}"
    text = _printable(" ".join(span.text.split()))
    return f"{at}: {text if len(text) <= SHOWN_FORM else text[:SHOWN_FORM] + '…'}"


def _where(span: Range) -> str:
    return f"{span.source.name}:{span.line}:{span.column + 1}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


# --- names of Scheme, Clojure and Common Lisp ---

_PRINT: Final = "(log x) prints for people, (emit x *stdout*) prints a value"
_FOLD: Final = "foldl or foldr"
_MACRO: Final = "defop, whose operands aren't evaluated; (eval form scope) evaluates one"
_TRUTH: Final = "true and false"

OTHER_LISPS: Final[Mapping[str, str]] = {
    "lambda": "fn",
    "λ": "fn",
    "define": "def, or defn for a function",
    "defun": "defn",
    "defvar": "def",
    "defparameter": "def",
    "setq": "def",
    "set!": "def, which binds a name anew; values don't change",
    "defmacro": _MACRO,
    "define-syntax": _MACRO,
    "$vau": "op, or defop with a name",
    "vau": "op, or defop with a name",
    "let*": "let, whose bindings see those before them: (let [x 1 y x] y)",
    "letrec": "let",
    "begin": "do",
    "progn": "do",
    "nil": "null",
    "t": "true",
    "#t": "true",
    "#f": "false",
    "#true": _TRUTH,
    "#false": _TRUTH,
    "else": ":else, or another keyword, which is true",
    "car": "first",
    "cdr": "rest",
    "cadr": "second",
    "nth": "first, second, third",
    "count": "length",
    "reduce": _FOLD,
    "fold": _FOLD,
    "inc": "(+ x 1)",
    "dec": "(- x 1)",
    "==": "=",
    "eq?": "=",
    "eqv?": "=",
    "equal?": "=",
    "procedure?": "applicative?",
    "fn?": "applicative?",
    "boolean": "bool",
    "list-ref": "first, second, third",
    "get": "a keyword: (:name scope)",
    "hash-map": "braces: {:name 1}",
    "display": _PRINT,
    "print": _PRINT,
    "println": _PRINT,
    "printf": _PRINT,
    "pr": _PRINT,
    "prn": _PRINT,
    "require": "use or import",
    "ns": "provide",
    "throw": "error",
    "raise": "error",
    "help": "(doc name), which describes a name",
    "exit": "Ctrl-D, which leaves the prompt",
    "quit": "Ctrl-D, which leaves the prompt",
}
"""Bass's word for each, with an explanation where that isn't enough. None of them is bound in Ground."""


def in_bass(name: str) -> str | None:
    """Return what to write instead of a name from another Lisp; None for any other name."""
    if name.startswith("'"):
        return f"(quote {name[1:] or 'form'})"
    if name.startswith("`"):
        return "list and conj, which make forms"
    return OTHER_LISPS.get(name)
