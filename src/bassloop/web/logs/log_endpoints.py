"""A log's lines, its outline, and downloads of it."""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio
from quart import Blueprint, Response, jsonify, request

from bassloop.concurrency import TTLCache
from bassloop.store import LogPiece
from bassloop.terminal import plain, strip, strip_lines
from bassloop.web.guard import run_or_404
from bassloop.web.logs.outline import LogOutline
from bassloop.web.logs.replay import Recording, ReplayFrames
from bassloop.web.presentation import abort_not_found

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bassloop.store import LogText, Run, Step, Store
    from bassloop.web.web_context import WebContext

MAX_RANGE = 1000

OUTLINE_SECONDS = 2.0
"""How long one request scans a log; the next one continues from there."""

MAX_OUTLINES = 64
"""Outlines that are cached."""

GAP_SECONDS = 10.0
"""The shortest pause in a log's output that is reported."""

MAX_GAPS = 500

FRAMES_AT_ONCE = 64 << 10
"""How many bytes of a log are drawn before other tasks get a turn."""


@dataclass(slots=True, eq=False)
class _CachedOutline:
    """A log's outline. The request that is scanning the log holds the lock."""

    outline: LogOutline = field(default_factory=LogOutline)
    lock: trio.Lock = field(default_factory=trio.Lock)


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("log_endpoints", __name__)
    store = context.store
    outlines: TTLCache[int, _CachedOutline] = TTLCache(MAX_OUTLINES)

    async def find(run_id: str, row: int) -> tuple[Run, Step]:
        run = await run_or_404(context, run_id, "log")
        step = await store.steps.get(run_id, min(row, 2**62))
        if step is None:
            abort_not_found("log")
        return run, step

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>/lines")
    async def lines(run_id: str, row: int) -> Response:
        """Return lines `start` to `stop`, from 0, as HTML, or as plain text with `format=text`, in JSON.

        Returns fewer at the end of the log. Adds the lines' times with `times=yes`.
        """
        run, _ = await find(run_id, row)
        start = max(request.args.get("start", 0, int), 0)
        stop = min(max(request.args.get("stop", start + MAX_RANGE, int), start), start + MAX_RANGE)
        extent = await store.logs.extent(run_id, row)
        stop = min(stop, extent.lines)
        found: list[str] = []
        if start < stop and request.args.get("format") == "text":
            found = [strip(line) for line in await store.logs.lines(run_id, row, start, stop)]
        elif start < stop:
            found = await context.log_lines(run, row, start, stop)
        answer: dict[str, Any] = {"start": start, "total": extent.lines, "lines": found}
        if request.args.get("times") == "yes":
            times = await store.logs.times(run_id, row, start, stop) if found else []
            answer["times"] = [[time.line, time.at, time.stream] for time in times]
        return jsonify(answer)

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>/outline")
    async def outline(run_id: str, row: int) -> Response:
        """Return a log's groups, errors and pauses, by line numbers from 0.

        `complete: false` means that there is more: repeat the request.
        """
        await find(run_id, row)
        extent = await store.logs.extent(run_id, row)
        cached = outlines.get(row)
        if cached is None:
            cached = _CachedOutline()
            outlines.store(row, cached)
        async with cached.lock:
            await _scan(store, run_id, row, cached.outline, context.scan_limiter)
            if extent.closed and cached.outline.lines >= extent.lines:
                cached.outline.end()
            found = _outline_json(cached.outline)
        gaps = await store.logs.gaps(run_id, row, GAP_SECONDS, MAX_GAPS)
        return jsonify(
            {
                **found,
                "total": extent.lines,
                "complete": found["lines"] >= extent.lines,
                "gaps": [{"line": gap.line, "seconds": round(gap.seconds, 3)} for gap in gaps],
            }
        )

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>/raw")
    async def raw(run_id: str, row: int) -> Response:
        """Stream the log's bytes as received."""
        run, step = await find(run_id, row)
        extent = await store.logs.extent(run_id, row)

        async def stream() -> AsyncIterator[bytes]:
            async with aclosing(store.logs.raw(run_id, row)) as chunks:
                async for chunk in chunks:
                    yield chunk

        response = _download(stream(), run, step, "log")
        if extent.closed:
            response.content_length = extent.raw_bytes
        return response

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>/text")
    async def text(run_id: str, row: int) -> Response:
        """Stream the settled lines as a page shows them, without colours."""
        run, step = await find(run_id, row)

        async def stream() -> AsyncIterator[bytes]:
            async with aclosing(store.logs.blocks(run_id, row)) as blocks:
                async for block in blocks:
                    yield await trio.to_thread.run_sync(
                        strip_lines, block.text, limiter=context.scan_limiter
                    )

        return _download(stream(), run, step, "txt")

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>/cast")
    async def cast(run_id: str, row: int) -> Response:
        """Stream the log as a recording that plays at its own speed, for asciinema."""
        run, step = await find(run_id, row)
        recording = Recording(plain(step.name))

        async def stream() -> AsyncIterator[bytes]:
            async with aclosing(store.logs.pieces(run_id, row)) as pieces:
                async for piece in pieces:
                    yield recording.add(piece).encode()

        return _download(stream(), run, step, "cast", "application/x-asciicast")

    @blueprint.get("/runs/<run_id>/vertexes/<int:row>/frames")
    async def frames(run_id: str, row: int) -> Response:
        """Return the frames of a replay of the log in a terminal; only the beginning of a long one."""
        await find(run_id, row)
        found, waiting, size = ReplayFrames(), list[LogPiece](), 0
        async with aclosing(store.logs.pieces(run_id, row)) as pieces:
            async for piece in pieces:
                waiting.append(piece)
                size += len(piece.data)
                if size >= FRAMES_AT_ONCE:
                    await trio.to_thread.run_sync(found.add, waiting, limiter=context.scan_limiter)
                    waiting, size = [], 0
                if found.full:
                    break
        await trio.to_thread.run_sync(found.add, waiting, limiter=context.scan_limiter)
        await trio.to_thread.run_sync(found.end, limiter=context.scan_limiter)
        return jsonify(found.json())

    return blueprint


def _download(
    stream: AsyncIterator[bytes],
    run: Run,
    step: Step,
    suffix: str,
    content_type: str = "text/plain; charset=utf-8",
) -> Response:
    name = "".join(char if char.isalnum() and char.isascii() else "-" for char in run.check_name)
    filename = f"{name[:60]}-{step.row}.{suffix}"
    response = Response(
        stream,
        content_type=content_type,
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )
    response.timeout = None  # A large log takes as long as the visitor's connection needs.
    return response


async def _scan(
    store: Store, run_id: str, row: int, outline: LogOutline, limiter: trio.CapacityLimiter
) -> None:
    """Add the rest of a log to its outline, for OUTLINE_SECONDS at most. Cancelling it loses no results."""
    deadline = time.perf_counter() + OUTLINE_SECONDS

    def visit(block: LogText) -> bool:
        outline.scan(block.text, block.lines)
        return time.perf_counter() < deadline

    await store.logs.scan(run_id, row, outline.lines, visit, limiter)


def _outline_json(outline: LogOutline) -> dict[str, Any]:
    return {
        "lines": outline.lines,
        "groups": [
            {"line": group.line, "end": group.end, "title": group.title, "open": group.open}
            for group in outline.groups
        ],
        "more_groups": outline.more_groups,
        "errors": outline.error_lines(),
        "error_count": outline.errors,
    }
