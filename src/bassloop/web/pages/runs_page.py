"""Lists of runs: the front page, all runs by filter, and the same while they change."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import trio
from quart import Blueprint, Response, abort, jsonify, render_template, request, websocket

from bassloop.store import RUN_STATES, Run
from bassloop.web import presentation
from bassloop.web.guard import visible_runs
from bassloop.web.responses import wants_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from werkzeug.datastructures import MultiDict

    from bassloop.web.context import WebContext

PAGE_SIZE = 50
FRONT_SIZE = 10
QUIET_SECONDS = 1.0
BAD_FILTER = 4400

FILTERS = {
    "repository": "repository",
    "branch": "head_branch",
    "login": "login",
    "check": "check_name",
    "sha": "head_sha",
    "state": "state",
    "pull": "pull_request",
}
"""What an address may ask for, and what the store calls it."""


class BadFilter(ValueError):
    """A filter that there is not; the message says what there is."""


def filters(args: MultiDict[str, str]) -> dict[str, str]:
    """The filters that an address has, bounded. Raises BadFilter."""
    wanted = {name: args[name][:200] for name in FILTERS if args.get(name)}
    if wanted.get("state", "failed") not in RUN_STATES:
        raise BadFilter(f"state is one of {', '.join(sorted(RUN_STATES))}")
    if not wanted.get("pull", "1").isdecimal() or len(wanted.get("pull", "1")) > 12:
        raise BadFilter("pull is the number of a pull request")
    return wanted


def narrowed(wanted: Mapping[str, str]) -> dict[str, Any]:
    """The same as the store takes it."""
    given: dict[str, Any] = {FILTERS[name]: value for name, value in wanted.items()}
    if "pull_request" in given:
        given["pull_request"] = int(given["pull_request"])
    return given


def routes(context: WebContext) -> Blueprint:
    """The lists' routes."""
    blueprint = Blueprint("lists", __name__)

    @blueprint.get("/")
    async def front() -> str:
        page = await visible_runs(context, FRONT_SIZE)
        return await render_template(
            "home.html",
            runs=viewed(page.items),
            known_hosts=context.known_hosts,
            host_key=context.host_key,
            ssh_command=context.ssh_command,
        )

    @blueprint.get("/runs")
    async def runs() -> str | Response:
        """Runs, newest first: 50 a page, by filters; `before` is the `next` of an earlier page."""
        try:
            wanted = filters(request.args)
        except BadFilter as error:
            abort(400, str(error))
        before = request.args.get("before")
        page = await visible_runs(context, PAGE_SIZE, before, **narrowed(wanted))
        if wants_json():
            return jsonify(
                {"runs": [presentation.run_json(run) for run in page.items], "next": page.next}
            )
        query = urlencode(wanted)
        older = f"/runs?{urlencode({**wanted, 'before': page.next})}" if page.next else None
        return await render_template(
            "runs.html",
            runs=viewed(page.items),
            older=older,
            newest=f"/runs?{query}" if before else None,
            live=None if before else f"/runs/live?{query}",
            filters=wanted,
            states=sorted(RUN_STATES),
        )

    @blueprint.websocket("/runs/live")
    async def live() -> None:
        """The first page of the same list, again whenever it has changed: once a second at most."""
        try:
            wanted = filters(websocket.args)
        except BadFilter as error:
            await websocket.accept()
            await websocket.close(BAD_FILTER, str(error))
            return
        shown: dict[str, Run] = {}
        order: list[str] = []
        async with context.tail.follow(None) as following:
            while True:
                await following.changed()
                page = await visible_runs(context, PAGE_SIZE, **narrowed(wanted))
                changed = [run for run in page.items if shown.get(run.id) != run]
                ids = [run.id for run in page.items]
                if changed or ids != order:
                    shown, order = {run.id: run for run in page.items}, ids
                    try:
                        await _send(changed, ids, context.slow_seconds)
                    except trio.TooSlowError:
                        return  # it comes back when it reads again
                await trio.sleep(QUIET_SECONDS)

    return blueprint


async def _send(changed: Sequence[Run], order: list[str], seconds: float) -> None:
    rows = {
        view.run.id: await render_template("run_row.html", view=view) for view in viewed(changed)
    }
    runs = [presentation.run_json(run) for run in changed]
    with trio.fail_after(seconds):
        await websocket.send(json.dumps({"order": order, "rows": rows, "runs": runs}))


def viewed(runs: Sequence[Run]) -> list[presentation.RunView]:
    """Runs as lists show them now."""
    now = time.time()
    return [presentation.view_run(run, now) for run in runs]
