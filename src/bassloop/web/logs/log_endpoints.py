"""Ranges of a log's lines, and the whole of it to keep."""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio
from quart import Blueprint, Response, abort, jsonify, request

from bassloop.terminal import strip_lines
from bassloop.web.guard import visible_run
from bassloop.web.logs.outline import Outline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bassloop.store import LogText, Run, Store, Vertex
    from bassloop.web.context import WebContext

MAX_RANGE = 1000

SECONDS = 2.0
"""How long one answer is worked on."""

KEPT = 64
"""Outlines that are kept."""

GAP_SECONDS = 10.0
"""A pause in a log's output that is worth being told."""

MAX_GAPS = 500


@dataclass(slots=True, eq=False)
class _Kept:
    """One log's outline. One at a time works on it."""

    outline: Outline = field(default_factory=Outline)
    lock: trio.Lock = field(default_factory=trio.Lock)


def routes(context: WebContext) -> Blueprint:
    """The logs' routes."""
    blueprint = Blueprint("logs", __name__)
    store = context.store
    kept: OrderedDict[int, _Kept] = OrderedDict()

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

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>/outline")
    async def outline(run_id: str, row: int) -> Response:
        """What is in a log, by line numbers from 0; `complete: false` says to ask again."""
        run = await visible_run(context, run_id)
        if run is None or await store.vertex(run_id, min(row, 2**62)) is None:
            abort(404, "there is no such log, or it is not for everyone to see")
        extent = await store.log_extent(run_id, row)
        its = kept.setdefault(row, _Kept())
        kept.move_to_end(row)
        if len(kept) > KEPT:
            kept.popitem(last=False)
        async with its.lock:
            await _go_on(store, run_id, row, its.outline, context.scanning)
            found = _json(its.outline)
        gaps = await store.log_gaps(run_id, row, GAP_SECONDS, MAX_GAPS)
        return jsonify(
            {
                **found,
                "total": extent.lines,
                "complete": found["lines"] >= extent.lines,
                "gaps": [{"line": gap.line, "seconds": round(gap.seconds, 3)} for gap in gaps],
            }
        )

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


async def _go_on(
    store: Store, run_id: str, row: int, outline: Outline, threads: trio.CapacityLimiter
) -> None:
    """Go through what of the log is not in its outline, for a while. When cancelled, what was gone
    through by then is in it."""
    until = time.perf_counter() + SECONDS

    def visit(block: LogText) -> bool:
        outline.scan(block.text, block.lines)
        return time.perf_counter() < until

    await store.scan_log(run_id, row, outline.lines, visit, threads)


def _json(outline: Outline) -> dict[str, Any]:
    return {
        "lines": outline.lines,
        "groups": [
            {"line": group.line, "end": group.end, "title": group.title} for group in outline.groups
        ],
        "more_groups": outline.more_groups,
        "errors": outline.error_lines(),
        "error_count": outline.errors,
    }
