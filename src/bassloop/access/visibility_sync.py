"""Keep what people may see in step with GitHub: events hide repositories, end sessions and invalidate permissions.

An event may be days old when it is handled. So it can hide a repository at once, but for anything else GitHub is
asked for the repository's current state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.concurrency import Backoff, retry
from bassloop.github import Forbidden, GitHubError, NotFound, Purpose, retry_after, spending
from bassloop.store import Duty, RepositoryRecord

if TYPE_CHECKING:
    from bassloop.access.permissions import Permissions
    from bassloop.github import Event, GitHub, Repository
    from bassloop.store import Store

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 3600.0
BACKOFF = Backoff(first=60.0, longest=REFRESH_SECONDS)
MAX_REFRESHED = 1_000


@dataclass(frozen=True, slots=True)
class Invalidation:
    """The permissions that an event may have changed.

    They are those of a user, of a repository, of a user in a repository if both are set, or all if neither is.

    Args:
        sign_out: whether the user's sessions end too.
    """

    user_id: int | None = None
    repository_id: int | None = None
    sign_out: bool = False


_REPOSITORY_ACTIONS = frozenset(
    {"privatized", "publicized", "deleted", "renamed", "transferred", "archived", "unarchived"}
)


def invalidation(event: Event) -> Invalidation | None:
    """Return the permissions that an event invalidates, or None."""
    repository_id = event.repository.id if event.repository else None
    match event.name, event.action:
        case "github_app_authorization", "revoked":
            return Invalidation(event.sender.id if event.sender else None, sign_out=True)
        case "member", _:
            return Invalidation(event.member_id, repository_id)
        case "membership", _:
            return Invalidation(event.member_id)
        case "organization", _:
            return Invalidation(event.member_id)
        case (("team" | "team_add"), _):
            return Invalidation(None, repository_id)
        case "repository", action if action in _REPOSITORY_ACTIONS:
            return Invalidation(None, repository_id)
        case "public", _:
            return Invalidation(None, repository_id)
        case (("installation" | "installation_repositories" | "installation_target"), _):
            return Invalidation()
    return None


@dataclass(frozen=True, eq=False)
class Visibility:
    """Keeps the stored repositories and sessions in step with GitHub.

    Args:
        app_id: the id of the loop's GitHub App. If it's None, GitHub is never asked.
    """

    store: Store
    github: GitHub
    permissions: Permissions
    app_id: int | None

    async def apply_event(self, event: Event) -> None:
        """Apply what an event says about who may see what. Idempotent.

        Raises GitHubError if GitHub has to be asked and gives no answer.
        """
        invalid = invalidation(event)
        if invalid is not None:
            await self.permissions.forget_everywhere(
                user_id=invalid.user_id, repository_id=invalid.repository_id
            )
            if invalid.sign_out and invalid.user_id is not None:
                ended = await self.store.sessions.end_all(invalid.user_id)
                log.info("signed out by GitHub", user=invalid.user_id, sessions=ended)
        if event.repository is None or event.installation_id is None or self.app_id is None:
            return
        claimed = _record(event.repository, event.installation_id)
        known = await self.store.repositories.get(claimed.id)
        if event.name == "repository" and event.action == "deleted":
            if known is not None:
                await self.store.repositories.put(replace(known, public=False))
        elif known != claimed:
            await self._refresh(claimed, known)

    async def _refresh(self, claimed: RepositoryRecord, known: RepositoryRecord | None) -> None:
        """Ask GitHub for the current state of a repository that an event may have changed, and store it."""
        if known is not None and not claimed.public:
            await self.store.repositories.put(replace(known, public=False))
        owner, _, name = claimed.full_name.partition("/")
        try:
            info = await self.github.repository(claimed.installation_id, owner, name).info()
        except (NotFound, Forbidden) as error:
            # It's deleted, or the App may no longer read it. Its runs stay stored, but nobody may read them.
            log.info("repository not found", repository=claimed.full_name, why=str(error))
            return
        if info.id != claimed.id:
            log.info(
                "repository's name has gone to another", repository=claimed.full_name, id=claimed.id
            )
            return
        found = _record(info, claimed.installation_id)
        if found != known:
            await self.store.repositories.put(found)
            await self.permissions.forget_everywhere(repository_id=found.id)
            log.info("repository", repository=found.full_name, public=found.public)

    async def keep_refreshing(self) -> None:
        """Refresh public repositories every hour, until cancelled.

        GitHub doesn't notify an App when a repository is deleted, or when it's no longer installed there. While
        GitHub doesn't answer, it is asked again sooner.
        """

        def log_failure(error: Exception, seconds: float) -> None:
            log.warning("repositories not refreshed", why=str(error), seconds=round(seconds))

        while True:
            with spending(Purpose.BACKGROUND):
                await retry(
                    self.refresh_all, BACKOFF, retry_after=retry_after, on_retry=log_failure
                )
            await trio.sleep(REFRESH_SECONDS)

    async def refresh_all(self) -> None:
        """Hide the repositories that are no longer public, unless another node does.

        A repository for which GitHub always answers with an error, such as a blocked one, is skipped. Raises
        GitHubError at the first temporary error, without asking for the rest.
        """
        if not await self.store.nodes.take_duty(Duty.VISIBILITY):
            return
        for known in await self.store.repositories.public(MAX_REFRESHED):
            owner, _, name = known.full_name.partition("/")
            try:
                info = await self.github.public_repository(owner, name)
            except GitHubError as error:
                if retry_after(error) is not None:
                    raise
                log.warning("repository not refreshed", repository=known.full_name, why=str(error))
                continue
            if info is None or info.id != known.id:
                await self.store.repositories.put(replace(known, public=False))
                log.info("repository is no longer public", repository=known.full_name)


def _record(repository: Repository, installation_id: int) -> RepositoryRecord:
    return RepositoryRecord(
        repository.id, repository.full_name, installation_id, not repository.private
    )
