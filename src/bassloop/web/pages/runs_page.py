"""Lists of runs: the front page, all runs with filters, and live updates of both."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import trio
from quart import Blueprint, Response, abort, jsonify, render_template, request, websocket

from bassloop.concurrency import open_flat_nursery
from bassloop.lifecycle import RunState
from bassloop.web.guard import visible_runs
from bassloop.web.logs.live_feed import (
    HEARTBEAT_SECONDS,
    LEFT,
    cancel_if_silent,
    counted,
    heartbeat,
)
from bassloop.web.pages.failure_card import failure_summaries
from bassloop.web.presentation import PAGE_SIZE, run_json, view_runs, wants_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from werkzeug.datastructures import MultiDict

    from bassloop.store import Run
    from bassloop.web.web_context import WebContext

FRONT_PAGE_SIZE = 10
MAX_FILTER = 200

QUIET_SECONDS = 1.0
"""The minimum time between two updates of a list."""

BAD_FILTER = 4400
"""Close code for a websocket with an invalid filter."""

FILTERS = {
    "repository": "repository",
    "branch": "head_branch",
    "login": "login",
    "check": "check_name",
    "sha": "head_sha",
    "state": "state",
    "pull": "pull_request",
}
"""The query parameters for filters, with the names of the store's arguments."""


class BadFilter(ValueError):
    """A filter has an invalid value. The message lists the valid ones."""


def parse_filters(args: MultiDict[str, str]) -> dict[str, str]:
    """Return the filters in query parameters. Raises BadFilter."""
    filters = {name: args[name][:MAX_FILTER] for name in FILTERS if args.get(name)}
    if filters.get("state", RunState.FAILED) not in set(RunState):
        raise BadFilter(f"state is one of {', '.join(sorted(RunState))}")
    if not filters.get("pull", "1").isdecimal() or len(filters.get("pull", "1")) > 12:
        raise BadFilter("pull is the number of a pull request")
    return filters


def store_filters(filters: Mapping[str, str]) -> dict[str, Any]:
    """Return filters as arguments for the store."""
    found: dict[str, Any] = {FILTERS[name]: value for name, value in filters.items()}
    if "pull_request" in found:
        found["pull_request"] = int(found["pull_request"])
    return found


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("runs_page", __name__)

    @blueprint.get("/")
    async def home() -> str:
        """Show a description of the loop, its latest runs, and how to connect a runner."""
        page = await visible_runs(context, FRONT_PAGE_SIZE)
        return await render_template(
            "home.html",
            runs=view_runs(page.items),
            reasons=await failure_summaries(context, page.items),
            known_hosts=context.known_hosts,
            host_key=context.host_key,
            ssh_command=context.ssh_command,
        )

    @blueprint.get("/runs")
    async def runs() -> str | Response:
        """List runs that match the filters, newest first; `before` is the `next` of the previous page."""
        try:
            filters = parse_filters(request.args)
        except BadFilter as error:
            abort(400, str(error))
        before = request.args.get("before")
        page = await visible_runs(context, PAGE_SIZE, before, **store_filters(filters))
        if wants_json():
            return jsonify({"runs": [run_json(run) for run in page.items], "next": page.next})
        query = urlencode(filters)
        older = f"/runs?{urlencode({**filters, 'before': page.next})}" if page.next else None
        return await render_template(
            "runs.html",
            runs=view_runs(page.items),
            reasons=await failure_summaries(context, page.items),
            older=older,
            newest=f"/runs?{query}" if before else None,
            live=None if before else f"/runs/live?{query}",
            filters=filters,
            states=sorted(RunState),
        )

    @blueprint.websocket("/runs/live")
    @counted(context)
    async def live() -> None:
        """Send updates of the first page of the same list."""
        try:
            filters = parse_filters(websocket.args)
        except BadFilter as error:
            await websocket.accept()
            await websocket.close(BAD_FILTER, str(error))
            return
        with suppress(trio.TooSlowError, *LEFT):  # The page reconnects when it reads again.
            async with open_flat_nursery() as nursery:
                nursery.start_soon(cancel_if_silent, nursery.cancel_scope)
                await _send_updates(context, filters)

    return blueprint


async def _send_updates(context: WebContext, filters: Mapping[str, str]) -> None:
    """Send the changes of a list, and heartbeats while nothing changes. Raises trio.TooSlowError."""
    shown: dict[str, Run] = {}
    order: list[str] = []
    async with context.live_runs.follow(None) as following:
        while True:
            with trio.move_on_after(HEARTBEAT_SECONDS) as idle:
                await following.changed()
            if idle.cancelled_caught:
                with trio.fail_after(context.slow_seconds):
                    await websocket.send(heartbeat())
                continue
            page = await visible_runs(context, PAGE_SIZE, **store_filters(filters))
            changed = [run for run in page.items if shown.get(run.id) != run]
            ids = [run.id for run in page.items]
            if changed or ids != order:
                shown, order = {run.id: run for run in page.items}, ids
                await _send(context, changed, ids)
            await trio.sleep(QUIET_SECONDS)


async def _send(context: WebContext, changed: Sequence[Run], order: list[str]) -> None:
    reasons = await failure_summaries(context, changed)
    rows = {
        view.run.id: await render_template("run_row.html", view=view, reasons=reasons)
        for view in view_runs(changed)
    }
    runs = [run_json(run) for run in changed]
    with trio.fail_after(context.slow_seconds):
        await websocket.send(json.dumps({"order": order, "rows": rows, "runs": runs}))
