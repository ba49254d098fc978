"""Ranges of a log's lines, and the whole of it to keep."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import trio
from quart import Blueprint, Response, abort, jsonify, request

from bassloop.terminal import strip_lines
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
        run = await visible_run(context, run_id)
        vertex = await store.vertex(run_id, min(row, 2**62)) if run is not None else None
        if run is None or vertex is None:
            abort(404, "there is no such log, or it is not for everyone to see")
        return run, vertex

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>/lines")
    async def lines(run_id: str, row: int) -> Response:
        """Lines `start` to `stop`, from 0, as HTML in JSON; fewer where the log ends. `times=yes`:
        with when they came."""
        await found(run_id, row)
        start = max(request.args.get("start", 0, int), 0)
        stop = min(max(request.args.get("stop", start + MAX_RANGE, int), start), start + MAX_RANGE)
        extent = await store.log_extent(run_id, row)
        stop = min(stop, extent.lines)
        made = await context.rendered.lines(run_id, row, start, stop) if start < stop else []
        answer: dict[str, Any] = {"start": start, "total": extent.lines, "lines": made}
        if request.args.get("times") == "yes":
            times = await store.log_times(run_id, row, start, stop) if made else []
            answer["times"] = [[time.line, time.at, time.stream] for time in times]
        return jsonify(answer)

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>/raw")
    async def raw(run_id: str, row: int) -> Response:
        """The bytes as received, streamed."""
        run, vertex = await found(run_id, row)
        extent = await store.log_extent(run_id, row)

        async def stream() -> AsyncIterator[bytes]:
            async with aclosing(store.log_raw(run_id, row)) as chunks:
                async for chunk in chunks:
                    yield chunk

        answer = _download(stream(), run, vertex, "log")
        if extent.closed:
            answer.content_length = extent.raw_bytes
        return answer

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>/text")
    async def text(run_id: str, row: int) -> Response:
        """The settled lines without colours, as a page shows them, streamed."""
        run, vertex = await found(run_id, row)

        async def stream() -> AsyncIterator[bytes]:
            async with aclosing(store.log_blocks(run_id, row)) as blocks:
                async for block in blocks:
                    yield await trio.to_thread.run_sync(
                        strip_lines, block.text, limiter=context.scanning
                    )

        return _download(stream(), run, vertex, "txt")

    return blueprint


async def _nothing() -> AsyncIterator[bytes]:
    """For who asks for the headers alone: a log would be read as fast as the disk gives it."""
    for piece in list[bytes]():
        yield piece


def _download(stream: AsyncIterator[bytes], run: Run, vertex: Vertex, suffix: str) -> Response:
    name = "".join(char if char.isalnum() and char.isascii() else "-" for char in run.check_name)
    answer = Response(
        _nothing() if request.method == "HEAD" else stream,
        content_type="text/plain; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{name[:60]}-{vertex.row}.{suffix}"'
        },
    )
    answer.timeout = None  # A large log takes as long as its reader's line needs.
    return answer
