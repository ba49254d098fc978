"""The users whose runners a policy names, looked up on GitHub.

Being able to write to a repository counts as agreeing to run its code. Users and teams whom the owners name must have
that permission. The operator may name anybody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from bassloop.concurrency import TTLCache
from bassloop.github import GitHubError, User, retry_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.access.policy import NamedUser
    from bassloop.github import GitHub, RepositoryClient

log = structlog.get_logger(__name__)

WRITERS = frozenset({"admin", "maintain", "write"})
TEAM_SECONDS = 300.0
TEAM_CACHE_SIZE = 1_000
MAX_TEAM = 200
"""The maximum number of members of a team whose runners are trusted."""


@dataclass(frozen=True, slots=True)
class FoundUsers:
    """The users that were found.

    Args:
        problems: for each name that isn't used, a sentence that says why.
    """

    users: tuple[User, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Team:
    members: tuple[User, ...] = ()
    can_write: bool = False
    problem: str | None = None


@dataclass(eq=False)
class NamedUsers:
    """Finds named users. Teams are cached for minutes."""

    github: GitHub
    _teams: TTLCache[tuple[str, str, str], _Team] = field(
        default_factory=lambda: TTLCache(TEAM_CACHE_SIZE, TEAM_SECONDS), init=False
    )

    async def find(self, named: Sequence[NamedUser], repo: RepositoryClient) -> FoundUsers:
        """Return the named users who may be used for a repository, each once.

        Raises GitHubError if GitHub gives no answer at the moment.
        """
        found: dict[int, User] = {}
        problems = []
        for each in named:
            if each.login.startswith("@"):
                users, problem = await self._team(each, repo)
            else:
                users, problem = await self._user(each, repo)
            found.update({user.id: user for user in users if user.id not in found})
            if problem is not None:
                log.warning("runner named of somebody who is not used", why=problem)
                problems.append(problem)
        return FoundUsers(tuple(found.values()), tuple(problems))

    async def _user(
        self, named: NamedUser, repo: RepositoryClient
    ) -> tuple[tuple[User, ...], str | None]:
        user = await self.github.user(named.login)
        if user is None:
            return (), f"GitHub has no user {named.login}"
        if not named.trusted and await repo.permission(user.login, user_id=user.id) not in WRITERS:
            return (), f"{named.login} can't write to {repo.owner}/{repo.name}"
        return (user,), None

    async def _team(
        self, named: NamedUser, repo: RepositoryClient
    ) -> tuple[tuple[User, ...], str | None]:
        organization, _, slug = named.login.removeprefix("@").partition("/")
        if organization.lower() != repo.owner.lower():
            return (), f"{named.login} isn't a team of {repo.owner}, which owns the repository"
        key = repo.owner.lower(), repo.name.lower(), slug.lower()
        team = self._teams.get(key)
        if team is None:
            generation = self._teams.generation
            team = await _fetch_team(named.login, slug, repo)
            self._teams.store(key, team, generation=generation)
        if team.problem is None and not (named.trusted or team.can_write):
            return (), f"{named.login} can't write to {repo.owner}/{repo.name}"
        return team.members, team.problem


async def _fetch_team(name: str, slug: str, repo: RepositoryClient) -> _Team:
    """Return a team's members and permission, or the problem with it."""
    try:
        members = await repo.team_members(slug, MAX_TEAM + 1)
        can_write = await repo.team_permission(slug) in WRITERS
    except GitHubError as error:
        if retry_after(error) is not None:
            raise
        return _Team(
            problem=f"the members of {name} can't be read, which needs the App's permission to read an "
            f"organization's members: {error}"
        )
    if len(members) > MAX_TEAM:
        return _Team(problem=f"{name} has more than {MAX_TEAM} members")
    return _Team(tuple(members), can_write)
