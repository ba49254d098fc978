"""Writing check runs: each is created once, and changes that wait are merged into one request.

If the response to a creation was lost, the check run is looked for among the head's before creating it again. The
changes of one check run are sent in order; those that are waiting are merged. Each request appends its annotations,
so before one is repeated, GitHub is asked how many there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog
import trio

from bassloop.concurrency import retry
from bassloop.github.check_run_requests import (
    CheckRunChange,
    annotation_batch,
    change_request,
    creation_request,
    parse_check_run,
)
from bassloop.github.errors import GitHubError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bassloop.github.app_credentials import Installation
    from bassloop.github.models import Annotation, CheckRunDraft, CheckRunRecord

log = structlog.get_logger(__name__)

MAX_PAGES = 20


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
