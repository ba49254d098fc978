"""Outlines of logs, for pages that show a few lines of many: folds, pauses, and lines with errors.

A log is gone through once, a block at a time in a thread, as far as one answer's time allows; the next
answer goes on from there, also when the log has grown meanwhile. The outlines that were asked for
lately are kept.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio
from quart import Blueprint, Response, abort, jsonify

from bassloop.web.guard import visible_run
from bassloop.web.outlining import Outline

if TYPE_CHECKING:
    from bassloop.store import LogText, Store
    from bassloop.web.context import WebContext

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
    """The outlines' route."""
    blueprint = Blueprint("outlines", __name__)
    store = context.store
    kept: OrderedDict[int, _Kept] = OrderedDict()

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
