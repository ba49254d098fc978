"""The connected runners, and what they run. Only for operators."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response, abort, jsonify, render_template

from bassloop.runtimes import Platform, RuntimeStatus, caveats
from bassloop.web.guard import current_visitor, may_operate, run_ids_by_runtime, visible_run
from bassloop.web.presentation import RunView, instant, run_json, view_run, wants_json

if TYPE_CHECKING:
    from bassloop.web.web_context import WebContext

KINDS = {
    "bassloop": "bassloop runner",
    "go": "bass --runner (Go)",
    "openssh": "OpenSSH",
    "other": "another SSH client",
}


@dataclass(frozen=True, slots=True)
class RunnerView:
    """A runner on the page.

    Args:
        runs: the visible runs on it.
        others: the number of its other calls: hooks and hidden runs.
    """

    runner: RuntimeStatus
    kind: str
    runs: tuple[RunView, ...]
    others: int


def routes(context: WebContext) -> Blueprint:
    """Return the route."""
    blueprint = Blueprint("runners_page", __name__)

    @blueprint.get("/runners")
    async def runners() -> str | Response:
        """List the connected runners, sorted by the time of connection."""
        if not may_operate(context, await current_visitor(context)):
            abort(403, "the list of runners is for the loop's operators only (setting OPERATORS)")
        connected = [*context.pool_snapshot(), *await _on_other_nodes(context)]
        connected.sort(key=lambda runner: (runner.connected_at, runner.id))
        shown = [await _view(context, runner) for runner in connected]
        if wants_json():
            return jsonify({"runners": [_json(view) for view in shown]})
        return await render_template("runners.html", runners=shown, ssh_command=context.ssh_command)

    return blueprint


async def _on_other_nodes(context: WebContext) -> list[RuntimeStatus]:
    """Return the runtimes that are connected to other nodes, with the runs on them."""
    found = await context.store.runtimes.elsewhere()
    runs = await run_ids_by_runtime(context) if found else {}
    return [
        RuntimeStatus(
            id=each.id,
            user_id=each.user_id,
            login=each.login,
            platform=Platform(each.os, each.arch),
            priority=each.priority,
            connected_at=each.connected_at,
            kind=each.kind,
            runs=runs.get(each.id, ()),
            caveats=caveats(each.kind),
        )
        for each in found
    ]


async def _view(context: WebContext, runner: RuntimeStatus) -> RunnerView:
    now = time.time()
    visible = [await visible_run(context, run_id) for run_id in runner.runs]
    runs = tuple(view_run(run, now) for run in visible if run is not None)
    kind = KINDS.get(runner.kind, runner.kind)
    return RunnerView(runner, kind, runs, len(runner.runs) - len(runs))


def _json(view: RunnerView) -> dict[str, Any]:
    runner = view.runner
    return {
        "id": runner.id,
        "login": runner.login,
        "platform": str(runner.platform),
        "priority": runner.priority,
        "kind": runner.kind,
        "connected_at": instant(runner.connected_at),
        "runs": [run_json(each.run) for each in view.runs],
        "others": view.others,
        "caveats": list(runner.caveats),
    }
