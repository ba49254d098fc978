"""The pages, and the same as JSON at the same addresses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response, abort, jsonify, render_template, request

from bassloop.store import RUN_STATES, Run, Vertex
from bassloop.terminal import render_lines
from bassloop.web import views
from bassloop.web.guard import visible_run
from bassloop.web.json import wants_json

if TYPE_CHECKING:
    from werkzeug.datastructures import MultiDict

    from bassloop.web.context import WebContext

PAGE_SIZE = 50


def routes(context: WebContext) -> Blueprint:
    """The pages' routes."""
    blueprint = Blueprint("pages", __name__)
    store = context.store

    @blueprint.get("/")
    async def front() -> str:
        page = await store.runs(10)
        now = time.time()
        return await render_template(
            "front.html",
            runs=[views.view_run(run, now) for run in page.items],
            known_hosts=context.known_hosts,
            ssh_command=context.ssh_command,
        )

    @blueprint.get("/runs")
    async def runs() -> str | Response:
        wanted = filters(request.args)
        page = await store.runs(PAGE_SIZE, request.args.get("before"), **wanted)
        if wants_json():
            return jsonify({"runs": [views.run_json(run) for run in page.items], "next": page.next})
        now = time.time()
        return await render_template(
            "runs.html",
            runs=[views.view_run(run, now) for run in page.items],
            following=page.next,
            filters=wanted,
        )

    @blueprint.get("/runs/<run_id>")
    async def run(run_id: str) -> str | Response:
        found = await visible_run(store, run_id)
        if found is None:
            abort(404, "there is no such run, or it is not for everyone to see")
        vertexes = await store.vertexes(run_id)
        if wants_json():
            steps = [views.vertex_json(vertex) for vertex in vertexes]
            return jsonify({**views.run_json(found), "vertexes": steps})
        return await _run_page(context, found, vertexes)

    @blueprint.get("/thunks/<digest>")
    async def thunk(digest: str) -> str | Response:
        found = await store.runs(PAGE_SIZE, thunk_digest=digest)
        record = await store.thunk(digest) if found.items else None
        if record is None:
            abort(404, "there is no such thunk, or none of its runs is for everyone to see")
        if wants_json():
            return Response(record.json, content_type="application/json")
        now = time.time()
        return await render_template(
            "thunk.html", thunk=record, runs=[views.view_run(run, now) for run in found.items]
        )

    @blueprint.get("/up")
    async def up() -> Response:
        return Response("up\n", content_type="text/plain; charset=utf-8")

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
    lines = await context.store.log_lines(run_id, vertex.row, start, extent.lines)
    return {"start": start, "lines": render_lines(lines), "total": extent.lines}


def filters(args: MultiDict[str, str]) -> dict[str, Any]:
    """The filters that an address asks for. Aborts with what is wrong with one."""
    names = {
        "repository": "repository",
        "login": "login",
        "branch": "head_branch",
        "sha": "head_sha",
        "check": "check_name",
    }
    wanted: dict[str, Any] = {
        field: args[name][:200] for name, field in names.items() if args.get(name)
    }
    state = args.get("state")
    if state:
        if state not in RUN_STATES:
            abort(400, f"state is one of {', '.join(sorted(RUN_STATES))}")
        wanted["state"] = state
    return wanted
