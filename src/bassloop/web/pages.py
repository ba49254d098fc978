"""A run's page, and the same as JSON at the same address."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio
from quart import Blueprint, Response, abort, jsonify, render_template

from bassloop.web import views
from bassloop.web.controls import actions_on
from bassloop.web.failing import LOOK_BACK, Failing, failing
from bassloop.web.guard import visible_run
from bassloop.web.json import wants_json
from bassloop.web.outputs import on_offer
from bassloop.web.timeline import timeline

if TYPE_CHECKING:
    from bassloop.store import Run, Vertex
    from bassloop.web.context import WebContext

LINES = 200
"""Lines of an open log that a page has in it: around the line that broke it, or the last."""

BEFORE = 60
"""How many of them stand before the line that broke it."""

CHARACTERS = 400_000
"""Characters of HTML of one log that a page has in it, or one line."""

OPEN_LOGS = 5
"""Logs that a page has lines of."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The part of a log that a page has in it: lines as HTML, from number `start`, from 0."""

    start: int
    lines: list[str]
    total: int

    @property
    def end(self) -> int:
        """The number after the last line's."""
        return self.start + len(self.lines)


def routes(context: WebContext) -> Blueprint:
    """The pages' routes."""
    blueprint = Blueprint("pages", __name__)
    store = context.store

    @blueprint.get("/runs/<run_id>")
    async def run(run_id: str) -> str | Response:
        found = await visible_run(context, run_id)
        if found is None:
            abort(404, "there is no such run, or it is not for everyone to see")
        vertexes = await store.vertexes(run_id)
        if wants_json():
            steps = [views.vertex_json(vertex) for vertex in vertexes]
            return jsonify({**views.run_json(found), "vertexes": steps})
        return await _run_page(context, found, vertexes)

    @blueprint.get("/ssh")
    async def ssh() -> Response:
        return Response(f"{context.known_hosts}\n", content_type="text/plain; charset=utf-8")

    return blueprint


async def _run_page(context: WebContext, run: Run, vertexes: list[Vertex]) -> str:
    now = time.time()
    shown = [views.view_vertex(vertex, now) for vertex in vertexes]
    text, culprit = views.why(run, vertexes)
    place = None if culprit is None else await _place(context, run.id, culprit)
    logs: dict[int, Excerpt] = {}
    open_ones = [view.vertex for view in shown if view.open and not view.hidden]
    # What broke comes first, should there not be room for all.
    for vertex in sorted(open_ones, key=lambda vertex: vertex != culprit)[:OPEN_LOGS]:
        logs[vertex.row] = await _excerpt(context, run.id, vertex, place)
    began = min(
        (vertex.started_at for vertex in vertexes if vertex.started_at), default=run.created_at
    )
    ended = run.ended_at or now
    return await render_template(
        "run.html",
        actions=await actions_on(context, run),
        outputs=on_offer(context, [run]),
        view=views.view_run(run, now),
        vertexes=shown,
        sources=views.sources(shown),
        logs=logs,
        timeline=timeline(vertexes, began, ended),
        began=began,
        now=now,
        why=text,
        culprit=next((view for view in shown if view.vertex == culprit), None),
        place=place,
    )


async def _place(context: WebContext, run_id: str, vertex: Vertex) -> Failing | None:
    """The line that broke it, in the log of the vertex to blame. Where lines are so long that only the
    first of them are given, fewer are asked for: its end is what counts."""
    start = max(0, vertex.lines - LOOK_BACK)
    lines = await context.store.log_lines(run_id, vertex.row, start, vertex.lines)
    while lines and start + len(lines) < vertex.lines:
        start = (start + vertex.lines + 1) // 2
        lines = await context.store.log_lines(run_id, vertex.row, start, vertex.lines)
    return await trio.to_thread.run_sync(failing, vertex.row, start, lines)


async def _excerpt(
    context: WebContext, run_id: str, vertex: Vertex, place: Failing | None
) -> Excerpt:
    start = max(0, vertex.lines - LINES)
    if place is not None and place.row == vertex.row:
        start = min(start, max(0, place.first - BEFORE))
    stop = min(start + LINES, vertex.lines)
    lines = await context.rendered.lines(run_id, vertex.row, start, stop)
    return Excerpt(start, _bounded(lines), vertex.lines)


def _bounded(lines: list[str]) -> list[str]:
    """Those that a page has room for: a single one may be very long."""
    room = CHARACTERS
    for index, line in enumerate(lines):
        room -= len(line)
        if room < 0:
            return lines[: max(index, 1)]
    return lines
