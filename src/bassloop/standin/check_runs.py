"""What GitHub accepts of a check run, and what it refuses with 422. Pure.

Limits from GitHub's OpenAPI description of `POST` and `PATCH /repos/{owner}/{repo}/check-runs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STATUSES = ("queued", "in_progress", "completed")
CONCLUSIONS = (
    "action_required",
    "cancelled",
    "failure",
    "neutral",
    "success",
    "skipped",
    "timed_out",
)
MAX_TEXT = 65_535
MAX_ANNOTATIONS = 50
MAX_ACTIONS = 3
SETTABLE = (
    "name",
    "head_sha",
    "external_id",
    "details_url",
    "status",
    "started_at",
    "completed_at",
)


def refusal(data: Mapping[str, Any], before: Mapping[str, Any] | None) -> str | None:
    """Why GitHub would refuse to create (`before` is None) or change a check run; None accepts."""
    if before is None:
        for needed in ("name", "head_sha"):
            if not isinstance(data.get(needed), str) or not data[needed]:
                return f"{needed} is missing"
    elif before["status"] == "completed" and data.get("status") not in (None, "completed"):
        return "a completed check run can't be reopened"
    status, conclusion = data.get("status"), data.get("conclusion")
    if status is not None and status not in STATUSES:
        return f"status {status} is none of {', '.join(STATUSES)}"
    if conclusion is not None and conclusion not in CONCLUSIONS:
        return f"conclusion {conclusion} is none of {', '.join(CONCLUSIONS)}"
    if status == "completed" and conclusion is None:
        return "a completed check run needs a conclusion"
    return _output_refusal(data.get("output")) or _actions_refusal(data.get("actions"))


def _output_refusal(output: Any) -> str | None:
    if output is None:
        return None
    if not isinstance(output, dict) or not output.get("title") or "summary" not in output:
        return "output needs a title and a summary"
    for part in ("summary", "text"):
        if len(str(output.get(part) or "").encode()) > MAX_TEXT:
            return f"output.{part} is longer than {MAX_TEXT}"
    if len(output.get("annotations") or ()) > MAX_ANNOTATIONS:
        return f"more than {MAX_ANNOTATIONS} annotations in one request"
    return None


def _actions_refusal(actions: Any) -> str | None:
    if actions is None:
        return None
    if len(actions) > MAX_ACTIONS:
        return f"more than {MAX_ACTIONS} actions"
    for action in actions:
        for part, limit in (("label", 20), ("identifier", 20), ("description", 40)):
            if not 1 <= len(str(action.get(part) or "")) <= limit:
                return f"an action's {part} takes 1 to {limit} characters"
    return None


def apply(run: dict[str, Any], data: Mapping[str, Any]) -> None:
    """Change a check run as GitHub does: annotations are appended, a conclusion completes."""
    for name in SETTABLE:
        if name in data:
            run[name] = data[name]
    if data.get("conclusion") is not None:
        run["conclusion"] = data["conclusion"]
        run["status"] = "completed"
    output = data.get("output")
    if output is not None:
        before = run["output"].get("annotations") or []
        run["output"] = {**run["output"], **output}
        run["output"]["annotations"] = [*before, *(output.get("annotations") or ())]
        run["output"]["annotations_count"] = len(run["output"]["annotations"])
