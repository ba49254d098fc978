"""A vertex's own page: what it is, what it stood on, and its log by pages, without any script."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from quart import Blueprint, Response, abort, jsonify, render_template, request

from bassloop.web import views
from bassloop.web.guard import visible_run
from bassloop.web.json import wants_json

if TYPE_CHECKING:
    from bassloop.web.context import WebContext

PAGE_LINES = 1000


def routes(context: WebContext) -> Blueprint:
    """The vertexes' route."""
    blueprint = Blueprint("vertexes", __name__)
    store = context.store

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>")
    async def vertex(run_id: str, row: int) -> str | Response:
        """A vertex; its page has 1,000 lines of its log from line `start` on, else the last."""
        run = await visible_run(context, run_id)
        found = await store.vertex(run_id, min(row, 2**62)) if run is not None else None
        if run is None or found is None:
            abort(404, "there is no such vertex, or it is not for everyone to see")
        if wants_json():
            return jsonify({"run": run_id, **views.vertex_json(found)})
        vertexes = await store.vertexes(run_id)
        last = max(0, found.lines - 1) // PAGE_LINES * PAGE_LINES
        asked = request.args.get("start", last, int)
        start = max(0, min(asked, last)) if found.lines else 0
        stop = min(start + PAGE_LINES, found.lines)
        lines = await context.rendered.lines(run_id, row, start, stop)
        now = time.time()
        return await render_template(
            "vertex.html",
            view=views.view_run(run, now),
            step=views.view_vertex(found, now),
            inputs=[
                views.view_vertex(other, now)
                for other in vertexes
                if other.digest in found.inputs and other.row != row
            ],
            users=[
                views.view_vertex(other, now)
                for other in vertexes
                if found.digest in other.inputs and other.row != row
            ],
            lines=lines,
            start=start,
            last=last,
            page=PAGE_LINES,
        )

    return blueprint
