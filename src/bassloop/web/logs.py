"""Ranges of a log's lines, and the whole of it to keep."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from quart import Blueprint, Response, abort, jsonify, request

from bassloop.terminal import render_lines
from bassloop.web.guard import visible_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bassloop.store import Run, Vertex
    from bassloop.web.context import WebContext

MAX_RANGE = 1000


def routes(context: WebContext) -> Blueprint:
    """The logs' routes."""
    blueprint = Blueprint("logs", __name__)
    store = context.store

    async def found(run_id: str, row: int) -> tuple[Run, Vertex]:
        run = await visible_run(store, run_id)
        vertex = await store.vertex(run_id, row) if run is not None else None
        if run is None or vertex is None:
            abort(404, "there is no such log, or it is not for everyone to see")
        return run, vertex

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>/lines")
    async def lines(run_id: str, row: int) -> Response:
        """Lines `start` to `stop`, from 0, as HTML in JSON; fewer where the log ends."""
        await found(run_id, row)
        start = max(request.args.get("start", 0, int), 0)
        stop = min(max(request.args.get("stop", start + MAX_RANGE, int), start), start + MAX_RANGE)
        extent = await store.log_extent(run_id, row)
        read = await store.log_lines(run_id, row, start, min(stop, extent.lines))
        return jsonify({"start": start, "total": extent.lines, "lines": render_lines(read)})

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>/raw")
    async def raw(run_id: str, row: int) -> Response:
        """The bytes as received, streamed."""
        run, vertex = await found(run_id, row)

        async def stream() -> AsyncIterator[bytes]:
            async with aclosing(store.log_raw(run_id, vertex.row)) as chunks:
                async for chunk in chunks:
                    yield chunk

        name = "".join(char if char.isalnum() else "-" for char in run.check_name)[:60]
        return Response(
            stream(),
            content_type="text/plain; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}-{vertex.row}.log"'},
        )

    return blueprint
