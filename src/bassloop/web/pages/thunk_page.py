"""A thunk's page: what it is, what it looks like, and how its runs went."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import trio
from quart import Blueprint, Response, abort, render_template, request

from bassloop.units import format_duration
from bassloop.web import presentation
from bassloop.web.guard import visible_thunk
from bassloop.web.pages.output_download import on_offer
from bassloop.web.pages.runs_page import PAGE_SIZE, viewed
from bassloop.web.pages.thunk_tree import coloured_json, thunk_tree
from bassloop.web.responses import wants_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Run
    from bassloop.web.context import WebContext

CHART_HEIGHT = 60


def routes(context: WebContext) -> Blueprint:
    """The thunks' routes."""
    blueprint = Blueprint("thunks", __name__)

    @blueprint.get("/thunks/<digest>")
    async def thunk(digest: str) -> str | Response:
        """The thunk's own JSON, or its page."""
        found = await visible_thunk(context, digest, PAGE_SIZE, request.args.get("before"))
        if found is None:
            abort(404, "there is no such thunk, or none of its runs is for everyone to see")
        record, page = found
        if wants_json():
            return Response(record.json, content_type="application/json")
        older = f"/thunks/{quote(digest)}?before={quote(page.next)}" if page.next else None
        return await render_template(
            "thunk.html",
            thunk=record,
            avatar=avatar_svg(record.digest),
            parts=await trio.to_thread.run_sync(thunk_tree, record.json),
            json=coloured_json(record.json),
            runs=viewed(page.items),
            outputs=on_offer(context, page.items),
            bars=durations(page.items),
            height=CHART_HEIGHT,
            older=older,
        )

    @blueprint.get("/thunks/<digest>/avatar.svg")
    async def avatar(digest: str) -> Response:
        """Its face. Whether there is such a thunk makes no difference."""
        return Response(
            avatar_svg(digest[:200]),
            content_type="image/svg+xml",
            headers={"Cache-Control": "max-age=31536000, immutable"},
        )

    return blueprint


@dataclass(frozen=True, slots=True)
class Bar:
    """One run in the chart of durations."""

    run: str
    colour: str
    words: str
    x: int
    y: float
    height: float


def durations(runs: Sequence[Run]) -> list[Bar]:
    """How long each of the runs took that began and ended, oldest first, the longest at full
    height."""
    took = [
        (run, run.ended_at - run.started_at)
        for run in reversed(runs)
        if run.started_at is not None and run.ended_at is not None
    ]
    longest = max((seconds for _, seconds in took), default=0.0) or 1.0
    bars = []
    for index, (run, seconds) in enumerate(took):
        height = max(2.0, round(seconds / longest * CHART_HEIGHT, 1))
        _, colour, word = presentation.STATES[run.state]
        words = (
            f"{presentation.instant(run.started_at)[:10]}: {word} after {format_duration(seconds)}"
        )
        bars.append(Bar(run.id, colour, words, index * 14, CHART_HEIGHT - height, height))
    return bars


SIDE = 7
"""Cells a side; the right half mirrors the left."""


def avatar_svg(digest: str, size: int = 96) -> str:
    """The drawing, as SVG without script or style: two colours on a ground, mirrored."""
    bits = hashlib.sha256(digest.encode(errors="replace")).digest()
    hue = bits[0] * 360 // 256
    other = (hue + 90 + bits[1] * 180 // 256) % 360
    half = SIDE // 2 + 1
    cells = []
    for index in range(SIDE * half):
        x, y = index % half, index // half
        drawn = bits[2 + index // 2] >> (index % 2 * 4) & 0b1111
        if drawn >= 7:
            colour = f"hsl({hue} 55% 48%)" if drawn < 12 else f"hsl({other} 60% 60%)"
            for column in {x, SIDE - 1 - x}:
                cells.append(f'<rect x="{column}" y="{y}" width="1" height="1" fill="{colour}"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {SIDE + 2} {SIDE + 2}" '
        f'width="{size}" height="{size}" shape-rendering="crispEdges" aria-hidden="true">'
        f'<rect x="-1" y="-1" width="{SIDE + 2}" height="{SIDE + 2}" fill="hsl({hue} 40% 94%)"/>'
        f"{''.join(sorted(cells))}</svg>\n"
    )
