"""The layout of charts: a run's timeline, and the durations of runs or tests.

A timeline has a bar for each step that started, and edges from the steps it waited for. While the run continues, the
page's script draws the same (`static/timeline.js`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from bassloop.units import format_duration
from bassloop.web.presentation import RUN_LABELS, instant, step_state, step_title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Run, Step


MAX_BARS = 300
MAX_LABELLED = 14
MAX_THICK = 60
"""The maximum number of bars that are thick enough to see where edges end. With more, no edges are drawn."""

MAX_EDGES = 1000
MAX_INPUTS = 20
MIN_WIDTH = 0.25
MAX_NAME = 60
"""The maximum length of a label, in characters."""

CHARACTER_WIDTH = 0.65
"""The width of a character on a screen of common width, in percent of the timeline."""

TICKS = 4

CHART_HEIGHT = 60
MIN_BAR_HEIGHT = 2.0
BAR_PITCH = 14


@dataclass(frozen=True, slots=True)
class TimelineBar:
    """A step's bar.

    Args:
        x, width: percentages of the whole time.
        y: pixels.
        label: the position with room for the name: ``right``, ``left`` or ``inside``.
        critical: whether the step is on the critical path.
    """

    row: int
    name: str
    state: str
    duration: str
    x: float
    width: float
    y: int
    label: str
    critical: bool


@dataclass(frozen=True, slots=True)
class TimelineEdge:
    """A line from the end of a bar down to the start of another step that waited for it."""

    x: float
    y: int
    to_x: float
    to_y: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """The timeline's layout.

    Args:
        pitch: the height of a row, in pixels.
        thickness: the height of a bar, in pixels.
        labelled: whether bars have labels, because there are only a few.
        started: the number of steps that have started, which may be more than there are bars.
    """

    bars: tuple[TimelineBar, ...]
    edges: tuple[TimelineEdge, ...]
    ticks: tuple[str, ...]
    pitch: int
    thickness: int
    labelled: bool
    started: int

    @property
    def height(self) -> int:
        """The height in pixels."""
        return len(self.bars) * self.pitch


def lay_out_timeline(steps: Sequence[Step], start: float, end: float) -> Timeline:
    """Lay out the steps between two times, without internal ones.

    If there are more than `MAX_BARS`, draw those that failed, run or are on the critical path, and the longest others.
    """
    length = max(end - start, 0.001)
    shown = [each for each in steps if each.started_at is not None and not each.internal]
    started, critical = len(shown), critical_path(shown)
    if started > MAX_BARS:
        kept = {
            each.row
            for each in sorted(shown, key=lambda each: _priority(each, critical))[:MAX_BARS]
        }
        shown = [each for each in shown if each.row in kept]
    labelled = len(shown) <= MAX_LABELLED
    pitch, thickness = (22, 16) if labelled else (11, 8) if len(shown) <= MAX_THICK else (5, 4)
    bars: list[TimelineBar] = []
    for index, step in enumerate(shown):
        left, right = _extent(step, start, length, end)
        width = max(right - left, MIN_WIDTH)
        bars.append(
            TimelineBar(
                row=step.row,
                name=step_title(step),
                state=step_state(step),
                duration=format_duration((step.completed_at or end) - (step.started_at or start)),
                x=min(left, 100 - width),
                width=width,
                y=index * pitch,
                label=_label_position(step_title(step), left, right),
                critical=step.row in critical,
            )
        )
    ticks = tuple(format_duration(length * step / TICKS) for step in range(TICKS + 1))
    edges = _edges(shown, bars, thickness) if len(shown) <= MAX_THICK else ()
    return Timeline(tuple(bars), edges, ticks, pitch, thickness, labelled, started)


def _priority(step: Step, critical: frozenset[int]) -> float:
    """Return a sort key that is lower for more informative bars."""
    if step.error or step.completed_at is None or step.row in critical:
        return -inf
    return (step.started_at or 0) - step.completed_at


def critical_path(steps: Sequence[Step]) -> frozenset[int]:
    """Return the rows of the steps that the end of a run waited for, one after the other.

    None while a step runs, and none if it would be all of them.
    """
    ran = {step.digest: step for step in steps if step.started_at is not None}
    ends = {digest: step.completed_at for digest, step in ran.items()}
    if not ran or any(end is None for end in ends.values()):
        return frozenset()
    current: Step | None = max(ran.values(), key=lambda step: step.completed_at or 0)
    path: set[int] = set()
    while current is not None and current.row not in path:
        path.add(current.row)
        inputs = [ran[digest] for digest in current.inputs if digest in ran]
        current = max(inputs, key=lambda step: step.completed_at or 0, default=None)
    return frozenset(path) if len(path) < len(ran) else frozenset()


def _label_position(name: str, left: float, right: float) -> str:
    needed = CHARACTER_WIDTH * (min(len(name), MAX_NAME) + 2)
    if needed <= max(100 - right, left):
        return "right" if 100 - right >= min(needed, left) else "left"
    return "inside" if right - left >= needed else "left" if left > 100 - right else "right"


def _extent(step: Step, start: float, length: float, end: float) -> tuple[float, float]:
    left = ((step.started_at or start) - start) / length
    right = ((step.completed_at or end) - start) / length
    left = min(max(left, 0.0), 1.0)
    return round(100 * left, 3), round(100 * min(max(right, left), 1.0), 3)


def _edges(
    shown: Sequence[Step], bars: Sequence[TimelineBar], thickness: int
) -> tuple[TimelineEdge, ...]:
    by_digest = {step.digest: bar for step, bar in zip(shown, bars, strict=True)}
    edges = []
    for step, bar in zip(shown, bars, strict=True):
        for digest in step.inputs[:MAX_INPUTS]:
            source = by_digest.get(digest)
            if source is not None and source.y < bar.y:
                x = min(source.x + source.width, 100.0)
                edges.append(
                    TimelineEdge(x, source.y + thickness // 2, bar.x, bar.y + thickness // 2)
                )
    return tuple(edges[:MAX_EDGES])


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
