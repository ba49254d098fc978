"""Writing check runs so that nothing is made twice, and a backlog is as short as it can be.

A creation whose answer was lost is looked for among the head's check runs before it is tried again.
Changes of one check run go out in order; those that wait for their turn become one. Annotations are
appended by each request, so that before one is repeated GitHub is asked how many it has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog
import trio

from bassloop.github.check_runs import (
    CheckRunChange,
    alteration,
    annotation_batch,
    creation,
    merged,
    record,
)
from bassloop.github.errors import GitHubError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bassloop.github.installation import Installation
    from bassloop.github.models import Annotation, CheckRunDraft, CheckRunRecord

log = structlog.get_logger(__name__)

MAX_PAGES = 20


@dataclass(eq=False)
class _Changes:
    """What one check run is to become: the changes so far, as one, and how many are sent."""

    lock: trio.Lock = field(default_factory=trio.Lock)
    change: dict[str, Any] = field(default_factory=dict)
    asked: int = 0
    sent: int = 0
    users: int = 0


@dataclass(eq=False)
class CheckWriter:
    """Creates, changes and finds check runs; one for all repositories."""

    _changes: dict[str, _Changes] = field(default_factory=dict, init=False)

    @property
    def waiting(self) -> int:
        """How many check runs have changes that are not sent yet: the backlog."""
        return len(self._changes)

    async def create(
        self, installation: Installation, repository: str, draft: CheckRunDraft
    ) -> CheckRunRecord:
        """Make a check run, once. Raises GitHubError."""
        data = creation(draft)
        patience = installation.api.patience
        for attempt in range(1, patience.attempts + 1):
            try:
                return record(
                    await installation.call("POST", f"{repository}/check-runs", data=data)
                )
            except GitHubError as error:
                if not error.uncertain:
                    raise
                log.warning("check run may have been made", name=draft.name, error=str(error))
                if attempt > 1 or error.status:
                    await trio.sleep(patience.pause(attempt))
                made = await self.find(
                    installation, repository, draft.head_sha, draft.name, draft.external_id
                )
                if made is not None:
                    return made
                if attempt == patience.attempts:
                    raise
        raise AssertionError("unreachable")

    async def find(
        self,
        installation: Installation,
        repository: str,
        head_sha: str,
        name: str,
        external_id: str,
    ) -> CheckRunRecord | None:
        """Our check run of a head with this `external_id`; None when there is none."""
        for found in await self.listed(installation, repository, head_sha, name):
            if found.external_id == external_id:
                return found
        return None

    async def listed(
        self, installation: Installation, repository: str, ref: str, name: str | None
    ) -> list[CheckRunRecord]:
        """Our check runs of a commit, newest first as GitHub lists them, hidden ones too."""
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
            found += [record(item) for item in items or ()]
        return found

    async def update(
        self,
        installation: Installation,
        url: str,
        change: CheckRunChange,
    ) -> None:
        """Change a check run, together with what others ask of it meanwhile. Raises GitHubError.

        An annotation without a file is left out.

        Args:
            url: the check run's path in the API.
        """
        data = alteration(change)
        placed = [note for note in change.output.annotations if note.path]
        changes = self._changes.setdefault(url, _Changes())
        changes.users += 1
        try:
            changes.change = merged(changes.change, data)
            changes.asked += 1
            mine = changes.asked
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
        taken = changes.asked

        def newest() -> Mapping[str, Any]:
            nonlocal taken
            taken = changes.asked
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
        """Send the change with the annotations that GitHub has not, in several requests."""
        failures, patience = 0, installation.api.patience
        while True:
            has = record(await installation.call("GET", url)).annotations
            batch = annotation_batch(annotations, has)
            if not batch:
                break
            taken, change = changes.asked, changes.change
            output = {**change["output"], "annotations": batch}
            try:
                await installation.call(
                    "PATCH", url, data={**change, "output": output}, repeatable=False
                )
            except GitHubError as error:
                failures += 1
                if not error.uncertain or failures == patience.attempts:
                    raise
                await trio.sleep(patience.pause(failures))
            else:
                changes.sent = taken
        if changes.sent < changes.asked:
            await self._send(installation, url, changes)
