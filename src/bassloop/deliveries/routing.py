"""Routing: deciding what the loop does for an event.

A hook runs for an event that has a sender, a repository, an installation and a commit. The loop's own check runs
cause events, too. These are stored, but no hook runs for them, or each check would start the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bassloop.github import Event


class Route(Enum):
    """The routes of deliveries."""

    HOOK = "hook"
    DEFAULT_BRANCH_HOOK = "the default branch's hook, if the repository's owners want that"
    BUTTON = "button"
    LOOP = "loop"
    IGNORE = "nothing"


@dataclass(frozen=True, slots=True)
class Routing:
    """An event's route, with the reason for the operator."""

    route: Route
    why: str
    rerun: bool = False


_LOOP_EVENTS = frozenset(
    {
        "ping",
        "installation",
        "installation_repositories",
        "installation_target",
        "github_app_authorization",
        "meta",
    }
)

_OURS = {
    ("check_run", "created"): "a check run of our own was created",
    ("check_run", "completed"): "a check run of our own was completed",
    ("check_suite", "completed"): "a check suite was completed",
}

_COMMIT_EVENTS = frozenset({"check_suite", "check_run", "merge_group", "pull_request", "push"})
"""Events about a commit. One without a commit is about a deleted branch or tag."""

_RERUNS = frozenset({("check_suite", "rerequested"), ("check_run", "rerequested")})


def route_event(event: Event, *, app_id: int | None) -> Routing:
    """Return the route for an event. `app_id` is the id of the loop's App, or None."""
    if event.name in _LOOP_EVENTS:
        return Routing(Route.LOOP, f"{event.name} is handled by the loop itself")
    missing = [
        part
        for part, value in (
            ("sender", event.sender),
            ("repository", event.repository),
            ("installation", event.installation_id),
        )
        if value is None
    ]
    if missing:
        return Routing(Route.IGNORE, f"the event has no {' or '.join(missing)}, so no hook runs")
    kind = (event.name, event.action or "")
    if kind in _OURS and _is_ours(event, app_id):
        return Routing(Route.IGNORE, _OURS[kind])
    if kind == ("repository", "deleted"):
        return Routing(Route.LOOP, "the repository is gone, and its hook with it")
    if kind == ("check_run", "requested_action"):
        if _is_ours(event, app_id):
            return Routing(Route.BUTTON, "a button on a check run of our own was pressed")
        return Routing(Route.IGNORE, "a button on another App's check run was pressed")
    if event.head is None and event.name in _COMMIT_EVENTS:
        return Routing(Route.IGNORE, "the event names no commit to take the hook from")
    if event.head is None:
        return Routing(Route.DEFAULT_BRANCH_HOOK, f"{event.name} runs the default branch's hook")
    return Routing(Route.HOOK, f"{event.name} runs the hook", rerun=kind in _RERUNS)


def _is_ours(event: Event, app_id: int | None) -> bool:
    """Return whether the event's check run or suite belongs to the loop's App; without an App, all do."""
    theirs = event.check.app_id if event.check else None
    return app_id is None or theirs is None or theirs == app_id
