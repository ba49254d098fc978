"""The payload that a hook gets: the event's, changed for some events that only the loop understands. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from bassloop import bass

if TYPE_CHECKING:
    from collections.abc import Callable


def read_event(name: str, payload: bytes, edit: str) -> bass.Value:
    """Return the value that a hook is called with. Raises BassError for a payload that can't be read."""
    try:
        event = json.loads(payload)
        if edit:
            name, event = EDITS[edit](event)
        return bass.from_python({"event": name, "payload": event})
    except RecursionError as error:
        raise bass.BassError("the event's payload is nested too deep") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise bass.BassError(f"the event's payload can't be read: {error}") from error


def _as_check_rerun(payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The event of GitHub's own button to run a check again, for the same button of the loop's."""
    payload = {name: part for name, part in payload.items() if name != "requested_action"}
    return "check_run", {**payload, "action": "rerequested"}


def _as_suite_rerun(payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The event that asks for all checks of a head again, for one that asks for a check that no script knows."""
    check = payload["check_run"]
    suite = {**(check.get("check_suite") or {}), "head_sha": check["head_sha"]}
    rest = {
        name: part
        for name, part in payload.items()
        if name not in ("check_run", "requested_action")
    }
    return "check_suite", {**rest, "action": "rerequested", "check_suite": suite}


EDITS: Final[dict[str, Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]]] = {
    "check rerun": _as_check_rerun,
    "suite rerun": _as_suite_rerun,
}
"""The changes that may be made to a payload before a hook is called with it."""
