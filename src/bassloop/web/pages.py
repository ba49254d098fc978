"""A run's page, and the same as JSON at the same address."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response, abort, jsonify, render_template

from bassloop.web import views
from bassloop.web.controls import actions_on
from bassloop.web.guard import visible_run
from bassloop.web.json import wants_json

if TYPE_CHECKING:
    from bassloop.store import Run, Vertex
    from bassloop.web.context import WebContext


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
    logs: dict[int, dict[str, Any]] = {}
    room = views.PAGE_LINES
    # The logs that are open come first, should there not be room for all.
    for view in sorted(shown, key=lambda view: not view.open):
        if view.vertex.lines or view.state == "runs":
            log = await _log(context, run.id, view.vertex, min(room, views.LAST_LINES))
            room -= len(log["lines"])
            logs[view.vertex.row] = log
    began = min(
        (vertex.started_at for vertex in vertexes if vertex.started_at), default=run.created_at
    )
    ended = run.ended_at or now
    return await render_template(
        "run.html",
        actions=await actions_on(context, run),
        view=views.view_run(run, now),
        vertexes=shown,
        logs=logs,
        bars=views.timeline(vertexes, began, ended),
        length=max(ended - began, 0.001),
        why=text,
        culprit=culprit,
    )


async def _log(context: WebContext, run_id: str, vertex: Vertex, most: int) -> dict[str, Any]:
    """The part of a log that a page has in it: all of a short one, else its last lines."""
    extent = await context.store.log_extent(run_id, vertex.row)
    start = max(0, extent.lines - most)
    lines = await context.rendered.lines(run_id, vertex.row, start, extent.lines)
    return {"start": start, "lines": lines, "total": extent.lines}
