"""What the pages show, made from what the store has. Pure; texts are escaped by the templates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bassloop.terminal import strip
from bassloop.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Run, Vertex

STATES: dict[str, tuple[str, str, str]] = {
    "queued": ("○", "waits", "waiting for a runner"),
    "running": ("●", "runs", "running"),
    "succeeded": ("✓", "ok", "succeeded"),
    "failed": ("✕", "bad", "failed"),
    "cancelled": ("■", "warn", "cancelled"),
    "timed_out": ("✕", "bad", "ran out of time"),
    "interrupted": ("■", "warn", "interrupted"),
    "action_required": ("!", "warn", "needs a runner"),
    "neutral": ("–", "waits", "nothing to do"),
}
"""A run's state: its sign, its colour's name, its word."""

SHORT_SHA = 7


def instant(at: float | None) -> str:
    """A time as HTML and JSON have it; nothing for none."""
    if at is None:
        return ""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain(text: str) -> str:
    """A text that a runner chose, without what a terminal would obey."""
    return strip(text.encode(errors="replace"))


@dataclass(frozen=True, slots=True)
class RunView:
    """A run in a list or at the top of its page."""

    run: Run
    sign: str
    colour: str
    word: str
    began: float
    took: str
    live: bool

    @property
    def sha(self) -> str:
        """The head, short."""
        return self.run.head_sha[:SHORT_SHA]

    @property
    def created(self) -> str:
        """When it was made."""
        return instant(self.run.created_at)

    @property
    def event(self) -> str:
        """What led to it, in words."""
        return self.run.event.replace("_", " ")


def view_run(run: Run, now: float) -> RunView:
    """A run as pages show it at a time."""
    sign, colour, word = STATES[run.state]
    began = run.started_at or run.created_at
    return RunView(
        run,
        sign,
        colour,
        word,
        began,
        format_duration((run.ended_at or now) - began),
        not run.ended,
    )


@dataclass(frozen=True, slots=True)
class VertexView:
    """A vertex on its run's page. `state` is one of ok, bad, warn, runs, cached and waits."""

    vertex: Vertex
    name: str
    sign: str
    state: str
    note: str
    took: str
    hidden: bool
    open: bool

    @property
    def word(self) -> str:
        """The state, for who can't see the sign."""
        return VERTEX_WORDS[self.state]


VERTEX_WORDS = {
    "ok": "succeeded",
    "bad": "failed",
    "warn": "cancelled",
    "runs": "running",
    "cached": "from cache",
    "waits": "not started",
}
_VERTEX_SIGNS = {"ok": "✓", "bad": "✕", "warn": "■", "runs": "●", "cached": "≡", "waits": "○"}


def vertex_state(vertex: Vertex) -> str:
    """Which of the states a vertex is in."""
    if vertex.error:
        return "bad"
    if vertex.cancelled:
        return "warn"
    if vertex.cached:
        return "cached"
    if vertex.completed_at is not None:
        return "ok"
    return "runs" if vertex.started_at is not None else "waits"


def view_vertex(vertex: Vertex, now: float) -> VertexView:
    """A vertex as pages show it at a time."""
    state = vertex_state(vertex)
    note = {
        "cached": "from cache",
        "warn": "cancelled",
        "waits": "not started",
        "bad": plain(vertex.error or "")[:300],
    }.get(state, "")
    took = ""
    if vertex.started_at is not None and state != "cached":
        took = format_duration((vertex.completed_at or now) - vertex.started_at)
    hidden = vertex.internal or "[hide]" in vertex.name
    name = plain(vertex.name).replace("[hide] ", "")
    return VertexView(
        vertex, name, _VERTEX_SIGNS[state], state, note, took, hidden, state in ("bad", "runs")
    )


def sources(shown: Sequence[VertexView]) -> dict[int, list[VertexView]]:
    """What each vertex stands on, by its row, as far as it is shown."""
    known = {view.vertex.digest: view for view in shown}
    return {
        view.vertex.row: [
            known[digest]
            for digest in view.vertex.inputs
            if digest in known and digest != view.vertex.digest and not known[digest].hidden
        ]
        for view in shown
    }


def why(run: Run, vertexes: Sequence[Vertex]) -> tuple[str, Vertex | None]:
    """Why a run did not succeed: a text, and the vertex to look at. Nothing for one that did."""
    failed = {vertex.digest for vertex in vertexes if vertex.error}
    culprit = None
    for vertex in vertexes:
        if vertex.error and not any(
            name in failed for name in vertex.inputs if name != vertex.digest
        ):
            culprit = vertex
            break
    if run.state in ("succeeded", "queued", "running"):
        return "", culprit
    return plain(run.message or (culprit.error if culprit and culprit.error else "")), culprit


def run_json(run: Run) -> dict[str, Any]:
    """A run as JSON."""
    return {
        "id": run.id,
        "state": run.state,
        "check": run.check_name,
        "repository": run.repository,
        "head_sha": run.head_sha,
        "head_branch": run.head_branch,
        "pull_request": run.pull_request,
        "event": run.event,
        "login": run.login,
        "thunk": run.thunk_digest or None,
        "command": run.cmdline,
        "runner": run.runner_login,
        "platform": run.platform,
        "message": run.message,
        "created_at": instant(run.created_at) or None,
        "started_at": instant(run.started_at) or None,
        "ended_at": instant(run.ended_at) or None,
    }


def vertex_json(vertex: Vertex) -> dict[str, Any]:
    """A vertex as JSON."""
    return {
        "row": vertex.row,
        "digest": vertex.digest,
        "name": plain(vertex.name),
        "state": vertex_state(vertex),
        "error": plain(vertex.error) if vertex.error else None,
        "inputs": list(vertex.inputs),
        "internal": vertex.internal,
        "lines": vertex.lines,
        "bytes": vertex.raw_bytes,
        "started_at": instant(vertex.started_at) or None,
        "completed_at": instant(vertex.completed_at) or None,
    }
