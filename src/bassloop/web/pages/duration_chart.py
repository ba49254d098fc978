"""A chart of the durations of runs or tests. Each bar links to its run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.units import format_duration
from bassloop.web.presentation import RUN_LABELS, instant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Run

CHART_HEIGHT = 60
MIN_BAR_HEIGHT = 2.0
BAR_PITCH = 14


@dataclass(frozen=True, slots=True)
class TimedResult:
    """A result with its duration.

    Args:
        run: the id of its run.
        word: the outcome, such as ``succeeded``.
        colour: the CSS class of its colour.
        time: its time, in seconds since the epoch.
        seconds: its duration; None if unknown.
    """

    run: str
    word: str
    colour: str
    time: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class ChartBar:
    """A bar. Lengths are in pixels."""

    run: str
    colour: str
    label: str
    x: int
    y: float
    height: float


def run_results(runs: Sequence[Run]) -> list[TimedResult]:
    """Return the results of those runs that have started and ended."""
    return [
        TimedResult(
            run.id,
            RUN_LABELS[run.state].word,
            RUN_LABELS[run.state].colour,
            run.started_at,
            run.ended_at - run.started_at,
        )
        for run in runs
        if run.started_at is not None and run.ended_at is not None
    ]


def duration_chart(results: Sequence[TimedResult]) -> list[ChartBar]:
    """Return a bar for each result, oldest first. `results` must be sorted newest first.

    The longest one has full height, and one with an unknown duration the minimum height.
    """
    longest = max((result.seconds or 0.0 for result in results), default=0.0) or 1.0
    bars = []
    for index, result in enumerate(reversed(results)):
        height = max(MIN_BAR_HEIGHT, round((result.seconds or 0.0) / longest * CHART_HEIGHT, 1))
        after = "" if result.seconds is None else f" after {format_duration(result.seconds)}"
        label = f"{instant(result.time)[:10]}: {result.word}{after}"
        bars.append(
            ChartBar(
                result.run, result.colour, label, index * BAR_PITCH, CHART_HEIGHT - height, height
            )
        )
    return bars
