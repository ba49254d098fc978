"""Who is connected, since when, and what runs there: for operators."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response, abort, jsonify, render_template

from bassloop.web import presentation
from bassloop.web.guard import may_operate, visible_run, who_asks
from bassloop.web.responses import wants_json

if TYPE_CHECKING:
    from bassloop.web.context import Runner, WebContext

KINDS = {
    "bassloop": "bassloop runner",
    "go": "bass --runner (Go)",
    "openssh": "OpenSSH",
    "other": "another SSH client",
}


@dataclass(frozen=True, slots=True)
class RunnerView:
    """A runner as its page shows it.

    Args:
        runs: those that run on it and that who asks may see.
        others: how many more calls it has: of hooks, and of runs that who asks may not see.
    """

    runner: Runner
    kind: str
    runs: tuple[presentation.RunView, ...]
    others: int


def routes(context: WebContext) -> Blueprint:
    """The page's route."""
    blueprint = Blueprint("runners", __name__)

    @blueprint.get("/runners")
    async def runners() -> str | Response:
        """The runners that are connected now, the longest first."""
        if not may_operate(context, await who_asks(context)):
            abort(403, "runners are shown to the loop's operators only (setting OPERATORS)")
        shown = [await _view(context, runner) for runner in context.pool_snapshot()]
        if wants_json():
            return jsonify({"runners": [_json(view) for view in shown]})
        return await render_template("runners.html", runners=shown, ssh_command=context.ssh_command)

    return blueprint


async def _view(context: WebContext, runner: Runner) -> RunnerView:
    found = [await visible_run(context, run_id) for run_id in runner.runs]
    runs = tuple(presentation.view_run(run, time.time()) for run in found if run is not None)
    return RunnerView(
        runner, KINDS.get(runner.kind, runner.kind), runs, len(runner.runs) - len(runs)
    )


def _json(view: RunnerView) -> dict[str, Any]:
    runner = view.runner
    return {
        "id": runner.id,
        "login": runner.login,
        "platform": str(runner.platform),
        "priority": runner.priority,
        "kind": runner.kind,
        "connected_at": presentation.instant(runner.connected_at),
        "runs": [presentation.run_json(run.run) for run in view.runs],
        "others": view.others,
        "caveats": list(runner.caveats),
    }
