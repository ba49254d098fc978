"""Errors as people are shown them: the message, the line with the place marked, and the calls that led there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.bass.errors import BassError
    from bassloop.bass.source import Range

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
