"""What GitHub accepts of a check run, and what it refuses with 422. Pure.

Limits from GitHub's OpenAPI description of `POST` and `PATCH /repos/{owner}/{repo}/check-runs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

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
LEVELS = ("notice", "warning", "failure")
MAX_TEXT = 65_535
MAX_MESSAGE = 64 << 10
MAX_TITLE = 255
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
            if not isinstance(data.get(needed), str) or not data[needed].strip():
                return f"For 'properties/{needed}', {needed} is missing or no text."
    elif before["status"] == "completed" and data.get("status") not in (None, "completed"):
        return "a completed check run can't be reopened"
    for name in ("name", "head_sha", "external_id", "details_url", "started_at", "completed_at"):
        if not isinstance(data.get(name, ""), str):
            return f"For 'properties/{name}', {data[name]!r} is not a string."
    return (
        _state_refusal(data, before)
        or _url_refusal(data.get("details_url"))
        or _output_refusal(data.get("output"))
        or _actions_refusal(data.get("actions"))
    )


def _state_refusal(data: Mapping[str, Any], before: Mapping[str, Any] | None) -> str | None:
    status, conclusion = data.get("status"), data.get("conclusion")
    if status is not None and status not in STATUSES:
        return f"status {status} is none of {', '.join(STATUSES)}"
    if conclusion is not None and conclusion not in CONCLUSIONS:
        return f"conclusion {conclusion} is none of {', '.join(CONCLUSIONS)}"
    concluded = before is not None and before["conclusion"] is not None
    if status == "completed" and conclusion is None and not concluded:
        return "a completed check run needs a conclusion"
    if status not in (None, "completed") and conclusion is not None:
        return "a check run with a conclusion is completed"
    return None


def _url_refusal(url: Any) -> str | None:
    if url is None or url.startswith(("http://", "https://")):
        return None
    return "details_url must use the http or https scheme"


def _output_refusal(output: Any) -> str | None:
    if output is None:
        return None
    if not isinstance(output, dict):
        return "For 'properties/output', it is not an object."
    for part in ("title", "summary"):
        if not isinstance(output.get(part), str) or not output[part]:
            return f"output.{part} is missing"
    for part in ("summary", "text"):
        if len(str(output.get(part) or "").encode()) > MAX_TEXT:
            return f"output.{part} is longer than {MAX_TEXT}"
    annotations = output.get("annotations") or []
    if not isinstance(annotations, list) or len(annotations) > MAX_ANNOTATIONS:
        return f"Invalid request. No more than {MAX_ANNOTATIONS} annotations allowed."
    return next(filter(None, map(_annotation_refusal, annotations)), None)


def _annotation_refusal(annotation: Any) -> str | None:
    if not isinstance(annotation, dict):
        return "an annotation is no object"
    if annotation.get("annotation_level") not in LEVELS:
        return f"an annotation's annotation_level is one of {', '.join(LEVELS)}"
    if not isinstance(annotation.get("path"), str) or not annotation["path"]:
        return "an annotation needs a path"
    first, last = annotation.get("start_line"), annotation.get("end_line")
    if not isinstance(first, int) or not isinstance(last, int) or not 0 < first <= last:
        return "an annotation needs a start_line and an end_line, in this order"
    columns = {"start_column", "end_column"} & annotation.keys()
    if columns and first != last:
        return "an annotation has columns only when it is about one line"
    for part, limit in (("message", MAX_MESSAGE), ("raw_details", MAX_MESSAGE)):
        if len(str(annotation.get(part) or "").encode()) > limit:
            return f"an annotation's {part} is longer than 64 KB"
    if not annotation.get("message"):
        return "an annotation needs a message"
    if len(annotation.get("title") or "") > MAX_TITLE:
        return f"an annotation's title is longer than {MAX_TITLE}"
    return None


def _actions_refusal(actions: Any) -> str | None:
    if actions is None:
        return None
    if not isinstance(actions, list) or len(actions) > MAX_ACTIONS:
        return f"Invalid request. No more than {MAX_ACTIONS} actions allowed."
    for action in actions:
        for part, limit in (("label", 20), ("identifier", 20), ("description", 40)):
            text = action.get(part) if isinstance(action, dict) else None
            if not isinstance(text, str) or not 1 <= len(text) <= limit:
                return f"an action's {part} takes 1 to {limit} characters"
    return None


def apply(run: dict[str, Any], data: Mapping[str, Any], now: str) -> None:
    """Change a check run as GitHub does: what is given replaces, a conclusion completes.

    Args:
        now: the time, for what is completed without saying when.
    """
    for name in SETTABLE:
        if data.get(name) is not None:
            run[name] = data[name]
    if data.get("conclusion") is not None:
        run["conclusion"] = data["conclusion"]
        run["status"] = "completed"
    if run["status"] == "completed" and run["completed_at"] is None:
        run["completed_at"] = now
    output = data.get("output") or {}
    for name in ("title", "summary", "text"):
        if name in output:
            run["output"][name] = output[name]
