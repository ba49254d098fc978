"""Forms of texts that are no programs yet, because somebody is typing them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from bassloop.bass.cursor import closers
from bassloop.bass.errors import ReadError
from bassloop.bass.ranges import SourceText
from bassloop.bass.reader import Reader

if TYPE_CHECKING:
    from bassloop.bass.annotated import Located

REPAIRS: Final = 20
"""How often a text is mended; each time costs reading a form again, and a text so wrong is no text of ours."""

_TOP: Final = re.compile(r"\n(?=\()")


class Forms(NamedTuple):
    """The forms of a text, as far as it has any, and what is wrong with it.

    Ranges of forms may go beyond the end of the text, when something that was never closed has been closed.
    """

    forms: list[Located]
    errors: list[ReadError]


def read(text: str) -> Forms:
    """Read a text, whatever it is.

    Something that is wrong is blanked out. What is never closed is closed before the next line that begins with
    a bracket, which is how people write a new form.
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
            # The bracket that it does not match stays open, which is nothing new.
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
    """Read forms up to the end or the first error; that, and where the form with it begins."""
    try:
        for form in Reader(SourceText(text, ""), start):
            forms.append(form)
            start = form.range.end
    except ReadError as error:
        return error, start
    return None, len(text)


def _closed(text: str, start: int, forms: list[Located]) -> None:
    """Read forms of a text of which something is not closed."""
    for _ in range(3):
        error, start = _read_from(text + closers(text[start:]), start, forms)
        if error is None or error.incomplete:
            return
        place = error.range
        assert place is not None
        text = _blanked(text, place.start, min(place.end, len(text)))


def _blanked(text: str, start: int, end: int) -> str:
    return f"{text[:start]}{' ' * (end - start)}{text[end:]}"
