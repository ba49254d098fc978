"""Compare two runs of a check: their thunks, their steps' times, and their logs. No I/O.

Text that differs in every run (times, durations, hashes, addresses, temporary paths) counts as equal.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Any

import re2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bassloop.store import Step

MAX_LINES = 1_000
"""How many lines at the end of each log are compared."""

MAX_LINE = 500
MAX_ADDED = 200
MAX_DIFFERENCES = 50
MAX_VALUE = 300

SLOWER_FACTOR, SLOWER_SECONDS = 1.25, 1.0
"""A step counts as slower if it took longer by both the factor and the seconds."""

_VARYING = [
    (re2.compile(pattern), name)
    for pattern, name in (
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?", "<time>"),
        (r"\b\d{1,2}:\d\d:\d\d(?:[.,]\d+)?\b", "<time>"),
        (
            r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b",
            "<id>",
        ),
        (r"\b0x[0-9a-fA-F]{4,16}\b", "<address>"),
        (r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?\b", "<address>"),
        (r"\b(?:localhost|127\.0\.0\.1|\[::1\]):\d{2,5}\b", "<address>"),
        (r"/(?:tmp|var/folders)/[^\s\"':]+", "<temporary>"),
        (r"\b[0-9a-f]{7,64}\b", "<hash>"),
        (
            r"\b\d+(?:\.\d+)?\s?(?:ns|µs|us|ms|s|sec|secs|seconds?|m|min|minutes?|h|hours?|[KMG]i?B(?:/s)?)\b",
            "<amount>",
        ),
        (r"\b(?:pid|PID)[ =:]*\d+\b", "<process>"),
        (r"\d{1,3}(?:\.\d+)?\s?%", "<percent>"),
    )
]
_DIGIT = re2.compile(r"[0-9]")
_LETTER = re2.compile(r"[a-f]")


def normalize_line(line: str) -> str:
    """Return a line with placeholders for what differs in every run."""
    text = line[:MAX_LINE].encode(errors="replace").decode()
    for pattern, name in _VARYING:
        if name == "<hash>":
            text = pattern.sub(_hash, text)
        else:
            text = pattern.sub(name, text)
    return text.rstrip()


def _hash(match: Any) -> str:
    """Return the placeholder for hexadecimal digits, but words and numbers unchanged."""
    text: str = match[0]
    return "<hash>" if _DIGIT.search(text) and _LETTER.search(text) else text


def added_lines(before: Sequence[str], after: Sequence[str]) -> list[int]:
    """Return the positions of the lines that only the first log has. Slow: use a thread."""
    one = [normalize_line(line) for line in before[-MAX_LINES:]]
    offset = max(0, len(after) - MAX_LINES)
    other = [normalize_line(line) for line in after[offset:]]
    matcher = difflib.SequenceMatcher(None, one, other)
    added: list[int] = []
    for kind, _, _, start, stop in matcher.get_opcodes():
        if kind in ("insert", "replace"):
            added += [offset + number for number in range(start, stop) if other[number]]
    return added[:MAX_ADDED]


@dataclass(frozen=True, slots=True)
class Difference:
    """A part of a thunk that differs; None for the thunk that doesn't have it."""

    where: str
    before: str | None
    after: str | None


def thunk_differences(
    before: str, after: str, commits: Mapping[str, str] | None = None
) -> list[Difference]:
    """Return what differs between two thunks as JSON, at most MAX_DIFFERENCES.

    Args:
        commits: replacements to make first: each run's own commit becomes `<commit>`.
    """
    for text, name in (commits or {}).items():
        before, after = before.replace(text, name), after.replace(text, name)
    try:
        pair = json.loads(before), json.loads(after)
    except RecursionError:  # nested too deep to be compared
        return []
    return list(islice(_differences("", *pair), MAX_DIFFERENCES))


def _differences(where: str, before: Any, after: Any) -> Iterator[Difference]:
    waiting = [(where, before, after)]
    while waiting:
        where, before, after = waiting.pop()
        if isinstance(before, dict) and isinstance(after, dict):
            names = sorted(before.keys() | after.keys(), reverse=True)
            waiting += [
                (f"{where}.{name}".lstrip("."), before.get(name), after.get(name)) for name in names
            ]
        elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
            pairs = list(zip(before, after, strict=True))
            waiting += [
                (f"{where}[{number}]", *pairs[number]) for number in reversed(range(len(pairs)))
            ]
        elif before != after:
            yield Difference(where, _shown(before), _shown(after))


def _shown(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}…"


@dataclass(frozen=True, slots=True)
class SlowerStep:
    """A step that took longer than before, in seconds."""

    step: Step
    before: float
    after: float


def slower_steps(before: Sequence[Step], after: Sequence[Step]) -> list[SlowerStep]:
    """Return the steps that ran in both and became clearly slower, largest difference first."""
    known = {normalize_line(step.name): seconds for step in before if (seconds := took(step))}
    slower = []
    for step in after:
        seconds, earlier = took(step), known.get(normalize_line(step.name))
        if seconds is None or earlier is None:
            continue
        if is_slower(seconds, earlier):
            slower.append(SlowerStep(step, earlier, seconds))
    return sorted(slower, key=lambda each: each.before - each.after)


def usual_durations(
    steps: Sequence[Step], earlier: Iterable[tuple[str, float]]
) -> dict[int, float]:
    """Return the median duration of each step in earlier runs, in seconds, by the step's row.

    Args:
        earlier: names of steps and their seconds, of several runs.
    """
    by_name: dict[str, list[float]] = {}
    for name, seconds in earlier:
        by_name.setdefault(normalize_line(name), []).append(seconds)
    usual = {}
    for step in steps:
        if known := by_name.get(normalize_line(step.name)):
            usual[step.row] = median(known)
    return usual


def is_slower(seconds: float, before: float) -> bool:
    """Return whether a step was clearly slower than before."""
    return seconds >= before * SLOWER_FACTOR and seconds - before >= SLOWER_SECONDS


def took(step: Step) -> float | None:
    """Return the seconds that a step ran; None if it was cached, or hasn't run."""
    if step.cached or step.started_at is None or step.completed_at is None:
        return None
    return step.completed_at - step.started_at


def same_step(step: Step, others: Sequence[Step]) -> Step | None:
    """Return the corresponding step of another run."""
    name = normalize_line(step.name)
    return next((each for each in others if normalize_line(each.name) == name), None)
