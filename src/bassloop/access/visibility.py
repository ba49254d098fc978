"""What events change of who may see what: they end sessions, let permissions be forgotten, and say
whether a repository is public.

A payload may be days old when it is handled. So what it says of a repository is believed at once only
where it hides something; for everything else GitHub is asked how it is now.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.github import Forbidden, GitHubError, NotFound
from bassloop.store import RepositoryRecord

if TYPE_CHECKING:
    from bassloop.access.permissions import Permissions
    from bassloop.github import Event, GitHub, Repository
    from bassloop.store import Store

log = structlog.get_logger(__name__)

ASKED_EVERY = 3600.0
MOST_ASKED = 1_000


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What may be different now: a user's permissions, a repository's, one in the other (both are
    set), or everything (neither is). `signed_out`: the user's sessions end as well."""

    user_id: int | None = None
    repository_id: int | None = None
    signed_out: bool = False


_OF_REPOSITORY = frozenset(
    {"privatized", "publicized", "deleted", "renamed", "transferred", "archived", "unarchived"}
)


def forgotten(event: Event) -> Forgotten | None:
    """What an event lets be forgotten, if anything. Pure."""
    repository_id = event.repository.id if event.repository else None
    match event.name, event.action:
        case "github_app_authorization", "revoked":
            return Forgotten(event.sender.id if event.sender else None, signed_out=True)
        case "member", _:
            return Forgotten(_number(event, "member"), repository_id)
        case "membership", _:
            return Forgotten(_number(event, "member"))
        case "organization", _:
            return Forgotten(_number(event, "membership", "user"))
        case (("team" | "team_add"), _):
            return Forgotten(None, repository_id)
        case "repository", action if action in _OF_REPOSITORY:
            return Forgotten(None, repository_id)
        case "public", _:
            return Forgotten(None, repository_id)
        case (("installation" | "installation_repositories" | "installation_target"), _):
            return Forgotten()
    return None


def _number(event: Event, *path: str) -> int | None:
    value: object = event.payload
    for name in (*path, "id"):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True, eq=False)
class Visibility:
    """Keeps what the store says of repositories and sessions in step with GitHub.

    Args:
        app_id: our own GitHub App's id; None when there is none, and then GitHub is never asked.
    """

    store: Store
    github: GitHub
    permissions: Permissions
    app_id: int | None

    async def apply_event(self, event: Event) -> None:
        """Do what an event means for who may see what. May be repeated. Raises GitHubError when GitHub
        has to be asked and can't say."""
        gone = forgotten(event)
        if gone is not None:
            self.permissions.forget(user_id=gone.user_id, repository_id=gone.repository_id)
            if gone.signed_out and gone.user_id is not None:
                ended = await self.store.end_sessions(gone.user_id)
                log.info("signed out by GitHub", user=gone.user_id, sessions=ended)
        if event.repository is None or event.installation_id is None or self.app_id is None:
            return
        told = _record(event.repository, event.installation_id)
        known = await self.store.repository(told.id)
        if event.name == "repository" and event.action == "deleted":
            if known is not None:
                await self.store.put_repository(replace(known, public=False))
        elif known != told:
            await self._refresh(told, known)

    async def _refresh(self, told: RepositoryRecord, known: RepositoryRecord | None) -> None:
        """Find out how a repository is now of which an event says something new."""
        if known is not None and not told.public:
            await self.store.put_repository(replace(known, public=False))
        owner, _, name = told.full_name.partition("/")
        try:
            now = await self.github.repository(told.installation_id, owner, name).info()
        except (NotFound, Forbidden) as error:
            # Gone, or not ours to read any more: what is known of it stays, and nobody may read it.
            log.info("repository not found", repository=told.full_name, why=str(error))
            return
        if now.id != told.id:
            log.info("repository has another's name", repository=told.full_name, id=told.id)
            return
        found = _record(now, told.installation_id)
        if found != known:
            await self.store.put_repository(found)
            self.permissions.forget(repository_id=found.id)
            log.info("repository", repository=found.full_name, public=found.public)

    async def keep_refreshing(self) -> None:
        """Ask every hour whether what is shown to everybody is public still: GitHub tells an App neither
        of a repository that was deleted, nor of one where it is not installed any more. Never returns."""
        while True:
            try:
                await self.refresh_all()
            except GitHubError as error:
                log.warning("repositories not asked for", why=str(error))
            await trio.sleep(ASKED_EVERY)

    async def refresh_all(self) -> None:
        """Hide what is not public any more. Raises GitHubError when GitHub can't say for the moment, and
        asks no further; what it never says of one repository (as of one that it blocks) keeps none of the
        others from being asked for."""
        for known in await self.store.public_repositories(MOST_ASKED):
            owner, _, name = known.full_name.partition("/")
            try:
                now = await self.github.public_repository(owner, name)
            except GitHubError as error:
                if error.passing:
                    raise
                log.warning("repository not asked for", repository=known.full_name, why=str(error))
                continue
            if now is None or now.id != known.id:
                await self.store.put_repository(replace(known, public=False))
                log.info("repository is public no more", repository=known.full_name)


def _record(repository: Repository, installation_id: int) -> RepositoryRecord:
    return RepositoryRecord(
        repository.id, repository.full_name, installation_id, not repository.private
    )
