"""Check runs as GitHub takes them: what is sent, within its limits, and what comes back. Pure.

https://docs.github.com/rest/checks/runs
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bassloop.github.errors import GitHubError, Refused
from bassloop.github.limits import MAX_MESSAGE, cut, title
from bassloop.github.models import (
    Action,
    Annotation,
    CheckOutput,
    CheckRunDraft,
    CheckRunRecord,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STATUSES = frozenset({"queued", "in_progress", "completed"})
CONCLUSIONS = frozenset(
    {"action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"}
)
LEVELS = frozenset({"notice", "warning", "failure"})
MAX_NAME = 255
MAX_EXTERNAL_ID = 255
MAX_ACTIONS = 3
MAX_ANNOTATIONS = 50
"""Annotations in one request; more are sent in further ones."""

_SHA = re.compile(r"[0-9a-f]{40}\Z")


@dataclass(frozen=True, slots=True)
class CheckRunChange:
    """A check run from now on; a field that is None stays as it is."""

    status: str
    output: CheckOutput
    conclusion: str | None = None
    started_at: float | None = None
    completed_at: float | None = None
    details_url: str | None = None


def creation(draft: CheckRunDraft) -> dict[str, Any]:
    """The request that makes a check run. Raises Refused for what GitHub would not take."""
    if not draft.name.strip() or len(draft.name) > MAX_NAME:
        raise Refused(f"a check run's name has 1 to {MAX_NAME} characters, not {draft.name[:50]!r}")
    if not _SHA.match(draft.head_sha):
        raise Refused(f"check run {draft.name}: {draft.head_sha[:60]!r} is no commit's sha")
    if len(draft.external_id) > MAX_EXTERNAL_ID:
        raise Refused(f"check run {draft.name}: its external id is longer than {MAX_EXTERNAL_ID}")
    change = CheckRunChange(
        status=draft.status,
        output=draft.output,
        conclusion=draft.conclusion,
        started_at=draft.started_at,
        completed_at=draft.completed_at,
        details_url=draft.details_url,
    )
    named = {"name": draft.name, "head_sha": draft.head_sha, "external_id": draft.external_id}
    sent = {**named, **alteration(change)}
    if not draft.output.actions:
        del sent["actions"]
    return sent


def alteration(change: CheckRunChange) -> dict[str, Any]:
    """The request that changes a check run. Raises Refused for what GitHub would not take."""
    if change.status not in STATUSES:
        raise Refused(f"a check run's status is one of {_words(STATUSES)}, not {change.status!r}")
    if (change.conclusion is not None) != (change.status == "completed"):
        raise Refused("a check run has a conclusion when it is completed, and only then")
    if change.conclusion is not None and change.conclusion not in CONCLUSIONS:
        raise Refused(f"a conclusion is one of {_words(CONCLUSIONS)}, not {change.conclusion!r}")
    heading = title(change.output.title)
    # GitHub takes neither without the other, and neither empty.
    output = {"title": heading, "summary": cut(change.output.summary) or heading}
    if change.output.text is not None:
        output["text"] = cut(change.output.text)
    given = {
        "status": change.status,
        "conclusion": change.conclusion,
        "started_at": _time(change.started_at),
        "completed_at": _time(change.completed_at),
        # GitHub takes web addresses only; another one is left out rather than the check run.
        "details_url": change.details_url if _is_web(change.details_url) else None,
        # An empty list takes the buttons away; none at all would leave them.
        "actions": _actions(change.output.actions),
    }
    return {**{name: value for name, value in given.items() if value is not None}, "output": output}


def annotation_batch(annotations: Sequence[Annotation], sent: int) -> list[dict[str, Any]]:
    """The annotations of the next request, when GitHub has the first `sent` of them already."""
    return [_annotation(each) for each in annotations[sent : sent + MAX_ANNOTATIONS]]


def _annotation(annotation: Annotation) -> dict[str, Any]:
    if annotation.level not in LEVELS:
        raise Refused(f"an annotation's level is one of {_words(LEVELS)}, not {annotation.level!r}")
    first = max(annotation.line, 1)
    sent: dict[str, Any] = {
        "path": annotation.path,
        "start_line": first,
        "end_line": max(annotation.end_line or first, first),
        "annotation_level": annotation.level,
        "message": cut(annotation.message, MAX_MESSAGE, note="…") or "(no message)",
    }
    if annotation.column is not None and sent["end_line"] == first:
        sent["start_column"] = sent["end_column"] = max(annotation.column, 1)
    if annotation.title is not None:
        sent["title"] = title(annotation.title)
    return sent


def _actions(actions: Sequence[Action]) -> list[dict[str, str]]:
    if len(actions) > MAX_ACTIONS:
        raise Refused(f"a check run has at most {MAX_ACTIONS} actions, not {len(actions)}")
    sent = []
    for action in actions:
        parts = {"label": 20, "description": 40, "identifier": 20}
        for part, limit in parts.items():
            if not 1 <= len(getattr(action, part)) <= limit:
                raise Refused(f"action {action.identifier!r}: {part} has 1 to {limit} characters")
        sent.append({part: getattr(action, part) for part in parts})
    return sent


def record(item: Any) -> CheckRunRecord:
    """A check run that GitHub sent. Raises GitHubError for what is none."""
    try:
        app, output = item.get("app") or {}, item.get("output") or {}
        return CheckRunRecord(
            id=int(item["id"]),
            name=str(item["name"]),
            head_sha=str(item["head_sha"]),
            external_id=str(item.get("external_id") or ""),
            status=str(item["status"]),
            conclusion=item.get("conclusion"),
            details_url=str(item.get("details_url") or ""),
            html_url=str(item.get("html_url") or ""),
            app_id=app.get("id"),
            annotations=int(output.get("annotations_count") or 0),
        )
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise GitHubError("GitHub's answer is no check run", uncertain=True) from error


def merged(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """One change that does what two do, one after the other."""
    return {**before, **after}


def _is_web(url: str | None) -> bool:
    return url is not None and url.startswith(("https://", "http://"))


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _words(words: frozenset[str]) -> str:
    return ", ".join(sorted(words))
