"""Check runs: the requests that create and change them, within GitHub's limits, and the writer that sends these.

Each check run is created once. If the response to a creation was lost, the check run is looked for among the head's
before creating it again. The changes of one check run are sent in order; those that are waiting are merged. Each
request appends its annotations, so before one is repeated, GitHub is asked how many there are.

https://docs.github.com/rest/checks/runs
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog
import trio

from bassloop.concurrency import retry
from bassloop.github.errors import GitHubError, Refused
from bassloop.github.models import (
    Annotation,
    CheckRunDraft,
    CheckRunRecord,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bassloop.github.app_credentials import Installation
    from bassloop.github.models import (
        Action,
        Annotation,
        CheckOutput,
        CheckRunDraft,
    )

log = structlog.get_logger(__name__)

STATUSES = frozenset({"queued", "in_progress", "completed"})
CONCLUSIONS = frozenset(
    {"action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"}
)
LEVELS = frozenset({"notice", "warning", "failure"})
MAX_NAME = 255
MAX_EXTERNAL_ID = 255
MAX_ACTIONS = 3
MAX_ANNOTATIONS = 50
"""The number of annotations that one request may have."""
MAX_TEXT = 65_535
MAX_TITLE = 255
MAX_MESSAGE = 64_000
_CUT = "\n\n… (cut here; the whole is behind the link)"
_FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})")

_SHA = re.compile(r"[0-9a-f]{40}\Z")

MAX_PAGES = 20


@dataclass(frozen=True, slots=True)
class CheckRunChange:
    """A change of a check run; a field that is None stays as it is."""

    status: str
    output: CheckOutput
    conclusion: str | None = None
    started_at: float | None = None
    completed_at: float | None = None
    details_url: str | None = None


def creation_request(draft: CheckRunDraft) -> dict[str, Any]:
    """Return the request that creates a check run. Raises Refused if GitHub would refuse it."""
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
    identity = {"name": draft.name, "head_sha": draft.head_sha, "external_id": draft.external_id}
    sent = {**identity, **change_request(change)}
    if not draft.output.actions:
        del sent["actions"]
    return sent


def change_request(change: CheckRunChange) -> dict[str, Any]:
    """Return the request that changes a check run. Raises Refused if GitHub would refuse it."""
    if change.status not in STATUSES:
        raise Refused(f"a check run's status is one of {_words(STATUSES)}, not {change.status!r}")
    if (change.conclusion is not None) != (change.status == "completed"):
        raise Refused("a check run has a conclusion when it is completed, and only then")
    if change.conclusion is not None and change.conclusion not in CONCLUSIONS:
        raise Refused(f"a conclusion is one of {_words(CONCLUSIONS)}, not {change.conclusion!r}")
    heading = title(change.output.title)
    # GitHub requires both or neither, and refuses empty ones.
    output = {"title": heading, "summary": cut(change.output.summary) or heading}
    if change.output.text is not None:
        output["text"] = cut(change.output.text)
    given = {
        "status": change.status,
        "conclusion": change.conclusion,
        "started_at": _time(change.started_at),
        "completed_at": _time(change.completed_at),
        # GitHub accepts only web addresses. It's better to drop another one than the whole check run.
        "details_url": change.details_url if _is_web(change.details_url) else None,
        # An empty list removes the buttons; without a list, they'd stay.
        "actions": _actions(change.output.actions),
    }
    return {**{name: value for name, value in given.items() if value is not None}, "output": output}


def annotation_batch(annotations: Sequence[Annotation], sent: int) -> list[dict[str, Any]]:
    """Return the annotations for the next request, given that GitHub already has the first `sent` of them."""
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


def parse_check_run(item: Any) -> CheckRunRecord:
    """Return a check run that GitHub sent. Raises GitHubError if it isn't one."""
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
        raise GitHubError("GitHub's answer is not a check run", uncertain=True) from error


def _is_web(url: str | None) -> bool:
    return url is not None and url.startswith(("https://", "http://"))


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _words(words: frozenset[str]) -> str:
    return ", ".join(sorted(words))


def cut(text: str, limit: int = MAX_TEXT, note: str = _CUT) -> str:
    """Return the text, truncated to `limit` bytes of UTF-8, at the end of a line if there is one nearby.

    A code fence that is left open is closed, so that the note about it, and what follows, isn't shown as code.
    Lone surrogates and NUL are replaced.
    """
    data = text.replace("\0", "\ufffd").encode(errors="replace")
    if len(data) <= limit:
        return data.decode()
    start = _prefix(data, limit - len(note.encode()))
    fence = _open_fence(start)
    if fence:
        # The closing fence needs room; cutting more for it may cut off the opening one.
        start = _prefix(data, limit - len(note.encode()) - len(fence) - 1)
        fence = _open_fence(start)
    ending = f"\n{fence}{note}" if fence else note
    whole = (start + ending).encode()
    return whole.decode() if len(whole) <= limit else whole[:limit].decode(errors="ignore")


def _prefix(data: bytes, length: int) -> str:
    """Return the first bytes as text, up to the end of a line if there is one nearby."""
    start = data[: max(length, 0)].decode(errors="ignore")
    newline = start.rfind("\n")
    return start[:newline] if newline > len(start) * 3 // 4 else start


def _open_fence(text: str) -> str:
    """Return the fence that closes the code block in which the text ends, or "" if it doesn't end in one."""
    fence = ""
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if not found:
            continue
        marks, rest = found[1], line[found.end() :]
        if not fence:
            if marks[0] == "~" or "`" not in rest:
                fence = marks
        elif marks[0] == fence[0] and len(marks) >= len(fence) and not rest.strip():
            fence = ""
    return fence


def title(text: str) -> str:
    """Return a title as one line, no longer than GitHub shows. An empty one is replaced."""
    flat = " ".join(text.encode(errors="replace").decode().split()) or "Bass Loop"
    return flat if len(flat) <= MAX_TITLE else flat[: MAX_TITLE - 1] + "…"


@dataclass(eq=False)
class _Changes:
    """The changes of one check run, merged, and how many of its annotations were sent."""

    lock: trio.Lock = field(default_factory=trio.Lock)
    change: dict[str, Any] = field(default_factory=dict)
    requested: int = 0
    sent: int = 0
    users: int = 0


@dataclass(eq=False)
class CheckWriter:
    """Creates, changes and finds the check runs of all repositories."""

    _changes: dict[str, _Changes] = field(default_factory=dict, init=False)

    @property
    def waiting(self) -> int:
        """The number of check runs with changes that haven't been sent yet."""
        return len(self._changes)

    async def create(
        self, installation: Installation, repository: str, draft: CheckRunDraft
    ) -> CheckRunRecord:
        """Create a check run, once.

        Raises GitHubError. If that is `uncertain`, look for the check run before creating it again.
        """
        data = creation_request(draft)
        doubt: GitHubError | None = None

        async def find() -> CheckRunRecord | None:
            return await self.find(
                installation, repository, draft.head_sha, draft.name, draft.external_id
            )

        async def attempt() -> CheckRunRecord:
            nonlocal doubt
            if doubt is not None:
                if (created := await find()) is not None:
                    return created
                doubt = None
            path = f"{repository}/check-runs"
            try:
                return parse_check_run(await installation.call("POST", path, data=data))
            except GitHubError as error:
                doubt = error if error.uncertain else None
                raise

        def retry_after(error: Exception) -> float | None:
            if doubt is None:
                return None
            log.warning("check run may have been created", name=draft.name, error=str(error))
            return 0.0

        policy = installation.api.retries
        try:
            return await retry(
                attempt, policy.backoff, retry_after=retry_after, attempts=policy.attempts
            )
        except GitHubError as error:
            if doubt is None:
                raise
            try:
                created = await find()
            except GitHubError:
                raise doubt from error
            if created is not None:
                return created
            raise

    async def find(
        self,
        installation: Installation,
        repository: str,
        head_sha: str,
        name: str,
        external_id: str,
    ) -> CheckRunRecord | None:
        """Return this App's check run of a head with this `external_id`, or None."""
        for found in await self.listed(installation, repository, head_sha, name):
            if found.external_id == external_id:
                return found
        return None

    async def listed(
        self, installation: Installation, repository: str, ref: str, name: str | None
    ) -> list[CheckRunRecord]:
        """Return this App's check runs of a commit in GitHub's order, newest first, including hidden ones."""
        query = "filter=all&per_page=100"
        if name is not None:
            query += f"&check_name={quote(name, safe='')}"
        if installation.app is not None:
            query += f"&app_id={installation.app.app_id}"
        url: str | None = f"{repository}/commits/{quote(ref, safe='')}/check-runs?{query}"
        found: list[CheckRunRecord] = []
        for _ in range(MAX_PAGES):
            if url is None:
                break
            page, url = await installation.page(url)
            items = page.get("check_runs") if isinstance(page, dict) else None
            found += [parse_check_run(item) for item in items or ()]
        return found

    async def update(
        self,
        installation: Installation,
        url: str,
        change: CheckRunChange,
    ) -> None:
        """Change a check run, merged with other changes that are waiting. Raises GitHubError.

        An annotation without a file is left out.

        Args:
            url: the check run's path in the API.
        """
        data = change_request(change)
        placed = [note for note in change.output.annotations if note.path]
        changes = self._changes.setdefault(url, _Changes())
        changes.users += 1
        try:
            changes.change = {**changes.change, **data}
            changes.requested += 1
            mine = changes.requested
            async with changes.lock:
                if placed:
                    await self._annotate(installation, url, changes, placed)
                elif changes.sent < mine:
                    await self._send(installation, url, changes)
        finally:
            changes.users -= 1
            if not changes.users:
                del self._changes[url]

    async def _send(self, installation: Installation, url: str, changes: _Changes) -> None:
        taken = changes.requested

        def newest() -> Mapping[str, Any]:
            nonlocal taken
            taken = changes.requested
            return changes.change

        await installation.call("PATCH", url, data=newest)
        changes.sent = taken

    async def _annotate(
        self,
        installation: Installation,
        url: str,
        changes: _Changes,
        annotations: Sequence[Annotation],
    ) -> None:
        """Send the change, in as many requests as the new annotations take."""

        async def send_batch() -> bool:
            has = parse_check_run(await installation.call("GET", url)).annotations
            batch = annotation_batch(annotations, has)
            if not batch:
                return False
            taken, change = changes.requested, changes.change
            output = {**change["output"], "annotations": batch}
            await installation.call(
                "PATCH", url, data={**change, "output": output}, repeatable=False
            )
            changes.sent = taken
            return True

        def retry_after(error: Exception) -> float | None:
            return 0.0 if isinstance(error, GitHubError) and error.uncertain else None

        policy = installation.api.retries
        while await retry(
            send_batch, policy.backoff, retry_after=retry_after, attempts=policy.attempts
        ):
            pass
        if changes.sent < changes.requested:
            await self._send(installation, url, changes)
