"""The failures that a step's log tells of, and the lines that hold them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bassloop.failures import Failure, find_failures
from bassloop.terminal import strip

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class LogFailures:
    """The failures that a step's log tells of, by line numbers of the log.

    Args:
        failures: the most telling first; none if the log has no text.
        key_lines: the lines of the first failure that hold its message or location.
    """

    failures: tuple[Failure, ...] = ()
    key_lines: frozenset[int] = frozenset()


def analyze_log(start: int, lines: Sequence[bytes]) -> LogFailures:
    """Find the failures in a log's last lines, the first of which is number `start`. Slow: use a thread."""
    texts = [strip(line) for line in lines]
    failures = find_failures(texts)
    if not failures:
        return LogFailures()
    first = failures[0]
    needles = {" ".join(text.split()) for text in first.message.split("\n") if text.strip()}
    needles |= {str(location) for location in first.locations[:1]}
    key_lines = frozenset(
        start + number
        for number in range(first.first, first.last + 1)
        if any(needle in " ".join(texts[number].split()) for needle in needles)
    )
    moved = tuple(
        replace(failure, first=start + failure.first, last=start + failure.last)
        for failure in failures
    )
    return LogFailures(moved, key_lines or frozenset({moved[0].first}))
