"""Where a run's time went: a bar for each vertex that began, and what it waited for.

Pure. The page's script draws the same while the run goes on (`static/timeline.js`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.units import format_duration
from bassloop.web.presentation import plain, vertex_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Vertex

MOST = 300
"""Vertexes that are drawn."""

MANY = 60
FEW = 14
LEAST = 0.25
TICKS = 4


@dataclass(frozen=True, slots=True)
class Bar:
    """A vertex. `x` and `width` are percentages of the whole time, `y` pixels; `left` says that its
    name is written before it, for want of room behind."""

    row: int
    name: str
    state: str
    took: str
    x: float
    width: float
    y: int
    left: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """What a bar waited for: from the end of one bar down to the beginning of another."""

    x: float
    y: int
    to_x: float
    to_y: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """A drawing: `pitch` pixels a row, bars as high as `thick`, named ones if there are few."""

    bars: tuple[Bar, ...]
    edges: tuple[Edge, ...]
    ticks: tuple[str, ...]
    pitch: int
    thick: int
    named: bool

    @property
    def height(self) -> int:
        """Pixels."""
        return len(self.bars) * self.pitch


def timeline(vertexes: Sequence[Vertex], began: float, ended: float) -> Timeline:
    """The drawing of these vertexes between two times; internal ones are left out."""
    length = max(ended - began, 0.001)
    shown = [each for each in vertexes if each.started_at is not None and not each.internal][:MOST]
    named = len(shown) <= FEW
    pitch, thick = (22, 16) if named else (11, 8) if len(shown) <= MANY else (5, 4)
    bars: list[Bar] = []
    for index, vertex in enumerate(shown):
        start, end = _place(vertex, began, length, ended)
        width = max(end - start, LEAST)
        bars.append(
            Bar(
                vertex.row,
                plain(vertex.name),
                vertex_state(vertex),
                format_duration((vertex.completed_at or ended) - (vertex.started_at or began)),
                min(start, 100 - width),
                width,
                index * pitch,
                start > 100 - end,
            )
        )
    ticks = tuple(format_duration(length * step / TICKS) for step in range(TICKS + 1))
    return Timeline(tuple(bars), _edges(shown, bars, thick), ticks, pitch, thick, named)


def _place(vertex: Vertex, began: float, length: float, ended: float) -> tuple[float, float]:
    start = ((vertex.started_at or began) - began) / length
    end = ((vertex.completed_at or ended) - began) / length
    start = min(max(start, 0.0), 1.0)
    return round(100 * start, 3), round(100 * min(max(end, start), 1.0), 3)


def _edges(shown: Sequence[Vertex], bars: Sequence[Bar], thick: int) -> tuple[Edge, ...]:
    places = {vertex.digest: bar for vertex, bar in zip(shown, bars, strict=True)}
    edges = []
    for vertex, bar in zip(shown, bars, strict=True):
        for digest in vertex.inputs[:20]:
            source = places.get(digest)
            if source is not None and source.y < bar.y:
                end = min(source.x + source.width, 100.0)
                edges.append(Edge(end, source.y + thick // 2, bar.x, bar.y + thick // 2))
    return tuple(edges[:1000])
