"""The step to show first: the one that broke a run, or that a stopped run was at. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Vertex


def failing_step(vertexes: Sequence[Vertex]) -> Vertex | None:
    """Return the step that broke a run: the first with an error that none of its inputs explains."""
    failed = {vertex.digest: vertex for vertex in vertexes if vertex.error}
    for vertex in failed.values():
        if not any(name in failed for name in vertex.inputs if name != vertex.digest):
            return vertex
    return next(iter(failed.values()), None)


def unfinished_step(vertexes: Sequence[Vertex]) -> Vertex | None:
    """Return the step that a stopped run was at: the last one that had started and not completed."""
    for vertex in reversed(vertexes):
        if vertex.started_at is not None and (vertex.completed_at is None or vertex.cancelled):
            return vertex
    return None
