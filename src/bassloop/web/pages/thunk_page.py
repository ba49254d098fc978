"""A thunk's page: its contents, its avatar, and its runs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from urllib.parse import quote

import trio
from quart import Blueprint, Response, render_template, request

from bassloop.web.guard import visible_thunk
from bassloop.web.pages.downloads import run_with_outputs
from bassloop.web.pages.duration_chart import duration_chart, run_results
from bassloop.web.pages.thunk_tree import json_html, thunk_tree
from bassloop.web.presentation import (
    IMMUTABLE,
    PAGE_SIZE,
    abort_not_found,
    render_document,
    view_runs,
    wants_json,
)

if TYPE_CHECKING:
    from bassloop.web.web_context import WebContext

AVATAR_CELLS = 7
AVATAR_SIZE = 96
"""The side of an avatar in cells, and in pixels. The right half mirrors the left one."""


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("thunk_page", __name__)

    @blueprint.get("/thunks/<digest>")
    async def thunk(digest: str) -> str | Response:
        """Show a thunk, or return its JSON."""
        found = await visible_thunk(context, digest, PAGE_SIZE, request.args.get("before"))
        if found is None:
            abort_not_found("thunk")
        record, page = found
        if wants_json():
            return Response(record.json, content_type="application/json")
        older = f"/thunks/{quote(digest)}?before={quote(page.next)}" if page.next else None
        return await render_template(
            "thunk.html",
            thunk=record,
            avatar=avatar_svg(record.digest),
            parts=await trio.to_thread.run_sync(thunk_tree, record.json),
            json=json_html(record.json),
            runs=view_runs(page.items),
            outputs=run_with_outputs(context, page.items),
            bars=duration_chart(run_results(page.items)),
            older=older,
        )

    @blueprint.get("/thunks/<digest>/proto")
    async def proto(digest: str) -> Response:
        """Return a thunk as a Protobuf message, to run it elsewhere."""
        found = await visible_thunk(context, digest, 1)
        if found is None:
            abort_not_found("thunk")
        return Response(found[0].proto, content_type="application/x-protobuf")

    @blueprint.get("/thunks/<digest>/avatar.svg")
    async def avatar(digest: str) -> Response:
        """Draw the avatar for a digest, whether or not there is such a thunk."""
        return Response(
            avatar_svg(digest[:200]),
            content_type="image/svg+xml",
            headers={"Cache-Control": IMMUTABLE},
        )

    return blueprint


def avatar_svg(digest: str) -> str:
    """Draw a thunk's avatar from its digest: a mirrored pattern in two colours."""
    bits = hashlib.sha256(digest.encode(errors="replace")).digest()
    hue = bits[0] * 360 // 256
    second_hue = (hue + 90 + bits[1] * 180 // 256) % 360
    half = AVATAR_CELLS // 2 + 1
    cells = set()
    for index in range(AVATAR_CELLS * half):
        x, y = index % half, index // half
        value = bits[2 + index // 2] >> (index % 2 * 4) & 0b1111
        if value >= 7:
            colour = f"hsl({hue} 55% 48%)" if value < 12 else f"hsl({second_hue} 60% 60%)"
            cells |= {(x, y, colour), (AVATAR_CELLS - 1 - x, y, colour)}
    return render_document(
        "avatar.svg", cells=sorted(cells), side=AVATAR_CELLS, size=AVATAR_SIZE, hue=hue
    )
