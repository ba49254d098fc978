"""Which events do what: one table, read from top to bottom.

A hook runs for an event that names a sender, a repository, an installation and a head. The loop's own
check runs come back to it as events; they are recorded, and nothing is evaluated for them, or a check
would start its own successor.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bassloop.github import Event


class Does(Enum):
    """What a delivery leads to."""

    HOOK = "hook"
    BRANCH = "the default branch's hook, where its owners want it"
    BUTTON = "button"
    LOOP = "loop"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Decision:
    """What an event leads to, and why in words for the operator."""

    does: Does
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

_GONE = ("repository", "deleted")

_OF_A_COMMIT = frozenset({"check_suite", "check_run", "merge_group", "pull_request", "push"})
"""Events that are about a commit; one that has none is about a branch or a tag that is gone."""

_RERUNS = frozenset({("check_suite", "rerequested"), ("check_run", "rerequested")})


def decide(event: Event, *, app_id: int | None) -> Decision:
    """What to do for an event. Pure; `app_id` is our own App's, None when there is none."""
    if event.name in _LOOP_EVENTS:
        return Decision(Does.LOOP, f"{event.name} is handled by the loop itself")
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
        return Decision(
            Does.NOTHING, f"a hook needs {' and '.join(missing)}, which the event has not"
        )
    kind = (event.name, event.action or "")
    if kind in _OURS and _is_ours(event, app_id):
        return Decision(Does.NOTHING, _OURS[kind])
    if kind == _GONE:
        return Decision(Does.LOOP, "the repository is gone, and its hook with it")
    if kind == ("check_run", "requested_action"):
        if _is_ours(event, app_id):
            return Decision(Does.BUTTON, "a button on a check run of our own was pressed")
        return Decision(Does.NOTHING, "a button on another App's check run was pressed")
    if event.head is None and event.name in _OF_A_COMMIT:
        return Decision(Does.NOTHING, "the event names no commit to take the hook from")
    if event.head is None:
        return Decision(Does.BRANCH, f"{event.name} evaluates the default branch's hook")
    return Decision(Does.HOOK, f"{event.name} evaluates the hook", rerun=kind in _RERUNS)


def _is_ours(event: Event, app_id: int | None) -> bool:
    """Whether the event's check run or suite is our App's; without an App of our own, all count as ours."""
    subject = event.payload.get(event.name)
    app = subject.get("app") if isinstance(subject, dict) else None
    theirs = app.get("id") if isinstance(app, dict) else None
    return app_id is None or theirs is None or theirs == app_id
