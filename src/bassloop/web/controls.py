"""What is asked for of a run on its page: to cancel it, and to approve its head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart import Blueprint, abort, jsonify, redirect

from bassloop.checks.actions import CantSay, NotAllowed
from bassloop.web.guard import may_cancel, may_write, visible_run, who_asks
from bassloop.web.json import wants_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart import Response
    from werkzeug.wrappers import Response as AnyResponse

    from bassloop.store import Run
    from bassloop.web.context import WebContext
    from bassloop.web.visitors import Visitor


def routes(context: WebContext) -> Blueprint:
    """The routes. Who sends the form, and that it is theirs, was seen to before (`protection`)."""
    blueprint = Blueprint("controls", __name__)

    @blueprint.post("/runs/<run_id>/cancel")
    async def cancel(run_id: str) -> Response | AnyResponse:
        """Cancel a run: one's own, or of a repository that one can write to."""
        return await _asked(context, run_id, context.control.cancel)

    @blueprint.post("/runs/<run_id>/approve")
    async def approve(run_id: str) -> Response | AnyResponse:
        """Approve a run's head, of a repository that one can write to."""
        return await _asked(context, run_id, context.control.approve)

    return blueprint


@dataclass(frozen=True, slots=True)
class Action:
    """A form on a run's page: where it goes, and the word on its button.

    Args:
        passing: whether it goes from the page when the run is over.
    """

    url: str
    word: str
    main: bool = False
    passing: bool = False


async def actions_on(context: WebContext, run: Run) -> list[Action]:
    """What whoever asks may do to a run that they see."""
    visitor, found = await who_asks(context), []
    if not run.ended and await may_cancel(context, visitor, run):
        found.append(Action(f"/runs/{run.id}/cancel", "Cancel", passing=True))
    from_fork = run.head_branch is None
    waits = not run.started_at and run.state in ("queued", "action_required")
    if from_fork and waits and await may_write(context, visitor, run):
        found.append(Action(f"/runs/{run.id}/approve", "Approve", main=True))
    return found


async def _asked(
    context: WebContext, run_id: str, do: Callable[[str, Visitor], Awaitable[bool | None]]
) -> Response | AnyResponse:
    visitor = await who_asks(context)
    if visitor is None:
        abort(401, "sign in first")
    if await visible_run(context, run_id) is None:
        abort(404, "there is no such run, or it is not for everyone to see")
    try:
        done = await do(run_id, visitor)
    except NotAllowed as error:
        abort(403, str(error))
    except CantSay as error:
        abort(502, f"GitHub can't say whether you may do that; try again in a while ({error})")
    if wants_json():
        return jsonify({"done": done is not False})
    return redirect(f"/runs/{run_id}", 303)
