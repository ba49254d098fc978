"""What goes wrong in a script.

An error keeps the facts (the values, the scope, the range) and becomes text when somebody asks for it: most
failures to match a pattern are never shown to anyone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bassloop.bass.ranges import Range
    from bassloop.bass.scope import Scope
    from bassloop.bass.values import Value


TRACE_LIMIT = 1000
SHOWN = 200


class BassError(Exception):
    """A script's failure: `message`, where it happened (`range`), and the calls that led there (`trace`).

    `text` is the message, or a function that makes it when it is needed. `fields` are the facts that
    `(error message :name value)` was given.
    """

    def __init__(self, text: str | Callable[[], str] = "", *, fields: Scope | None = None) -> None:
        super().__init__(text)
        self._text = text
        self.fields = fields
        self.trace: list[Range] = []
        self.omitted = 0

    @property
    def message(self) -> str:
        """One line or more for people: what was wrong and, where it can be told, the mend."""
        text = self._text
        if not isinstance(text, str):
            self._text = text = text()
        return text

    @property
    def range(self) -> Range | None:
        """The innermost form that was being evaluated, if the error came from a source text."""
        return self.trace[0] if self.trace else None

    def passed(self, place: Range) -> None:
        """Note that the error left a form on its way out."""
        trace = self.trace
        if len(trace) < TRACE_LIMIT:
            if not trace or trace[-1] is not place:
                trace.append(place)
        else:
            self.omitted += 1

    def notes(self) -> Iterator[str]:
        """Further lines that help, shown below the excerpt."""
        if self.fields is not None:
            for name, value in self.fields.items():
                yield f":{name} {brief(value)}"

    def __str__(self) -> str:
        return self.message

    def render(self) -> str:
        """The message, the lines of source with the range marked, and the call trace, for a terminal or page."""

        return render(self)


@final
class EndOfSource(BassError):
    """A source has no more values."""

    def __init__(self) -> None:
        super().__init__("end of source: give (next source default) a default to return instead")


@final
class ReadError(BassError):
    """A text is no program. `incomplete` says that more text could make it one."""

    def __init__(self, text: str, place: Range, incomplete: bool = False) -> None:
        super().__init__(text)
        self.incomplete = incomplete
        self.trace.append(place)


@final
class Exhausted(BassError):
    """A budget ran out. Not to be caught by the script: whatever runs under the budget ends."""

    def __init__(self, budget: str, text: str) -> None:
        super().__init__(text)
        self.budget = budget


@final
class Unbound(BassError):
    """A name that means nothing where it was used."""

    def __init__(self, name: str, scope: Scope) -> None:
        super().__init__(f"unbound symbol: {name}")
        self.name = name
        self.scope = scope

    def notes(self) -> Iterator[str]:
        similar = self.similar()
        if similar:
            yield "did you mean " + ", ".join(similar) + "?"

    def similar(self) -> list[str]:
        """Names that are bound in the scope and look alike, best first."""
        from difflib import get_close_matches

        return get_close_matches(self.name, self.scope.names(), n=3, cutoff=0.6)


def brief(value: Value) -> str:
    """A value's printed form, cut to a length that suits a message."""
    from bassloop.bass.printer import show

    text = show(value, limit=SHOWN + 1)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def unbound(name: str, scope: Scope) -> BassError:
    """A symbol without a binding."""
    return Unbound(name, scope)


def arity(name: str, need: int, have: int, *, variadic: bool = False) -> BassError:
    """The wrong number of arguments."""
    least = "at least " if variadic else ""
    return BassError(f"{name} arity: need {least}{need} argument{'s' * (need != 1)}, given {have}")


def miscounted(formals: Value, need: int, args: list[Value]) -> BassError:
    """A function called with the wrong number of arguments."""
    takes = f"{need} argument{'s' * (need != 1)}"

    def text() -> str:
        given = " ".join(brief(arg) for arg in args)
        return f"the function takes {takes} {brief(formals)}, given {len(args)}: {given}".rstrip(
            ": "
        )

    return BassError(text)


def wrong_type(value: Value, need: str, asked_by: str = "") -> BassError:
    """A value of another type than was needed; `asked_by` is the builtin that needed it."""

    def text() -> str:
        from bassloop.bass.values import kind

        where = f"{asked_by}: " if asked_by else ""
        return f"{where}need a {need}, have {brief(value)} ({kind(value)})"

    return BassError(text)


def not_a_list(value: Value, asked_by: Value = None) -> BassError:
    """A value that should be a list, ended by the empty list."""

    def text() -> str:
        where = f"{brief(asked_by)}: " if asked_by is not None else ""
        return f"{where}need a list, have {brief(value)}"

    return BassError(text)


def not_callable(value: Value) -> BassError:
    """The head of a combination that is no combiner."""

    def text() -> str:
        from bassloop.bass.values import kind

        return f"cannot call {brief(value)} ({kind(value)}): the first member of (…) must be a combiner"

    return BassError(text)


def cannot_encode(value: Value) -> BassError:
    """A value that has no encoding."""

    def text() -> str:
        from bassloop.bass.values import kind

        return f"cannot encode {kind(value)}: {brief(value)}"

    return BassError(text)


def cannot_bind(value: Value) -> BassError:
    """A value in a pattern that nothing can be bound to."""
    return BassError(lambda: f"bind: cannot bind to {brief(value)}")


def mismatch(need: Value, have: Value) -> BassError:
    """A value that does not match a pattern."""
    return BassError(lambda: f"bind: need {brief(need)}, have {brief(have)}")


def bad_syntax(text: str) -> BassError:
    """A form of the wrong shape."""
    return BassError(f"bad syntax: {text}")


CALLS_SHOWN: Final = 20
LINE_SHOWN: Final = 160


def render(error: BassError) -> str:
    """An error in several lines, without one at the end."""
    return "\n".join(_lines(error))


def _lines(error: BassError) -> Iterator[str]:
    yield f"error: {error.message}"
    place = error.range
    if place is not None:
        yield from excerpt(place)
    for note in error.notes():
        yield f"  {note}"
    calls = [call for call in error.trace[1:] if place is None or not _within(place, call)]
    for call in calls[:CALLS_SHOWN]:
        yield f"  called at {_where(call)}: {_cut(' '.join(call.text.split()), 100)}"
    left = len(calls) - CALLS_SHOWN + error.omitted
    if left > 0:
        yield f"  … and {left} more"


def excerpt(place: Range) -> Iterator[str]:
    """The line on which a range begins, with what it covers of it marked."""
    number = str(place.line)
    margin = " " * len(number)
    text = place.source.line(place.line)
    start = place.column
    end = place.end_column if place.end_line == place.line else len(text)
    left = max(0, start - LINE_SHOWN // 2) if start > LINE_SHOWN else 0
    shown = text[left : left + LINE_SHOWN].replace("\t", " ")
    marks = " " * (start - left) + "^" * max(1, min(end, left + LINE_SHOWN) - start)
    yield f"{margin}--> {_where(place)}"
    yield f"{margin} |"
    yield f"{number} | {_printable(shown)}"
    yield f"{margin} | {marks}"


def _within(inner: Range, outer: Range) -> bool:
    """Whether a call is only the same place once more: a form around it on the same line."""
    return (
        inner.source is outer.source
        and outer.start <= inner.start
        and inner.end <= outer.end
        and outer.line == inner.line
        and outer.end_line == inner.line
    )


def _where(place: Range) -> str:
    return f"{place.source.name}:{place.line}:{place.column + 1}"


def _cut(text: str, length: int) -> str:
    text = _printable(text)
    return text if len(text) <= length else text[:length] + "…"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
