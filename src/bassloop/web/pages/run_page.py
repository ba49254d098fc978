"""A run's page, and the same as JSON at the same address."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio
from quart import Blueprint, Response, abort, jsonify, redirect, render_template, request

from bassloop.checks.actions import CantSay, NotAllowed
from bassloop.web import presentation
from bassloop.web.guard import may_cancel, may_write, visible_run, who_asks
from bassloop.web.logs.outline import LOOK_BACK, Failing, failing
from bassloop.web.pages.output_download import on_offer
from bassloop.web.pages.timeline import timeline
from bassloop.web.responses import wants_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from werkzeug.wrappers import Response as AnyResponse

    from bassloop.store import Run, Vertex
    from bassloop.web.auth.web_sessions import Visitor
    from bassloop.web.context import WebContext

PAGE_LINES = 1000
"""Lines of a log on one page of a step's."""

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
            steps = [presentation.vertex_json(vertex) for vertex in vertexes]
            return jsonify({**presentation.run_json(found), "vertexes": steps})
        return await _run_page(context, found, vertexes)

    @blueprint.get("/ssh")
    async def ssh() -> Response:
        return Response(f"{context.known_hosts}\n", content_type="text/plain; charset=utf-8")

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>")
    async def vertex(run_id: str, row: int) -> str | Response:
        """A vertex; its page has 1,000 lines of its log from line `start` on, else the last."""
        run = await visible_run(context, run_id)
        found = await store.vertex(run_id, min(row, 2**62)) if run is not None else None
        if run is None or found is None:
            abort(404, "there is no such vertex, or it is not for everyone to see")
        if wants_json():
            return jsonify({"run": run_id, **presentation.vertex_json(found)})
        vertexes = await store.vertexes(run_id)
        last = max(0, found.lines - 1) // PAGE_LINES * PAGE_LINES
        asked = request.args.get("start", last, int)
        start = max(0, min(asked, last)) if found.lines else 0
        stop = min(start + PAGE_LINES, found.lines)
        lines = await context.rendered.lines(run_id, row, start, stop)
        now = time.time()
        return await render_template(
            "step.html",
            view=presentation.view_run(run, now),
            step=presentation.view_vertex(found, now),
            inputs=[
                presentation.view_vertex(other, now)
                for other in vertexes
                if other.digest in found.inputs and other.row != row
            ],
            users=[
                presentation.view_vertex(other, now)
                for other in vertexes
                if found.digest in other.inputs and other.row != row
            ],
            lines=lines,
            start=start,
            last=last,
            page=PAGE_LINES,
        )

    @blueprint.post("/runs/<run_id>/cancel")
    async def cancel(run_id: str) -> Response | AnyResponse:
        """Cancel a run: one's own, or of a repository that one can write to."""
        return await _asked(context, run_id, context.control.cancel)

    @blueprint.post("/runs/<run_id>/approve")
    async def approve(run_id: str) -> Response | AnyResponse:
        """Approve a run's head, of a repository that one can write to."""
        return await _asked(context, run_id, context.control.approve)

    return blueprint


async def _run_page(context: WebContext, run: Run, vertexes: list[Vertex]) -> str:
    now = time.time()
    shown = [presentation.view_vertex(vertex, now) for vertex in vertexes]
    text, culprit = presentation.why(run, vertexes)
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
        view=presentation.view_run(run, now),
        vertexes=shown,
        sources=presentation.sources(shown),
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


@dataclass(frozen=True, slots=True)
class Action:
    """A form on a run's page: where it goes, and the word on its button.

    Args:
        while_live: whether it is removed from the page when the run ends.
    """

    url: str
    word: str
    main: bool = False
    while_live: bool = False


async def actions_on(context: WebContext, run: Run) -> list[Action]:
    """What whoever asks may do to a run that they see."""
    visitor, found = await who_asks(context), []
    if not run.ended and await may_cancel(context, visitor, run):
        found.append(Action(f"/runs/{run.id}/cancel", "Cancel", while_live=True))
    from_fork = run.head_branch is None
    waits = not run.started_at and run.state in ("queued", "action_required")
    if from_fork and waits and await may_write(context, visitor, run):
        found.append(Action(f"/runs/{run.id}/approve", "Approve", main=True))
    return found


async def _asked(
    context: WebContext, run_id: str, do: Callable[[str, Visitor], Awaitable[bool | None]]
) -> Response | AnyResponse:
    visitor = await who_asks(context)
    if visitor is None:
        abort(401, "sign in first")
    if await visible_run(context, run_id) is None:
        abort(404, "there is no such run, or it is not for everyone to see")
    try:
        done = await do(run_id, visitor)
    except NotAllowed as error:
        abort(403, str(error))
    except CantSay as error:
        abort(502, f"GitHub can't say whether you may do that; try again in a while ({error})")
    if wants_json():
        return jsonify({"done": done is not False})
    return redirect(f"/runs/{run_id}", 303)
