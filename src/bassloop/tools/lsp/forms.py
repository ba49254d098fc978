"""The forms of a text: of one that is no program yet because somebody is typing it, and what is in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from bassloop.bass.errors import ReadError
from bassloop.bass.ranges import SourceText
from bassloop.bass.reader import Reader, closers
from bassloop.bass.values import EMPTY, Cell, Located, Pair, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.bass.values import Value

REPAIRS: Final = 20
"""How often a text is repaired, which costs reading a form again each time."""

_TOP: Final = re.compile(r"\n(?=\()")


class Forms(NamedTuple):
    """The forms of a text, and the errors in it.

    The range of a form that had to be closed may go beyond the end of the text.
    """

    forms: list[Located]
    errors: list[ReadError]


def read(text: str) -> Forms:
    """Read any text.

    Errors are blanked out. A form that isn't closed ends before the next line that begins with a bracket, which is how
    people start a new form.
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
            # The bracket that it doesn't match stays open: that is the same error.
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
    """Read the forms of a text that ends in an open one."""
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
    """Return the members of a list, the last of which is what follows its `&`."""
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
        # A lookup, a:b, is read as a list, too.
        if isinstance(bare, Cell) and each.__class__ is Located and _in_brackets(each):
            form = Located(Pair(bare.a, Pair(form, bare.d)), each.range)
        else:
            form = Pair(each, Pair(form, EMPTY))
    return form


def _in_brackets(form: Located) -> bool:
    place = form.range
    return place.source.text[place.start : place.start + 1] in ("(", "[")
