"""Look up on GitHub what a policy says: the repository's file, and the users whose runners it names. Both are cached.

Being able to write to a repository counts as agreeing to run its code. Users and teams whom the owners name must have
that permission. The operator may name anybody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.access.policy import OperatorRules, Policy, Rules, read_rules, resolve_policy
from bassloop.concurrency import SharedCalls, TTLCache
from bassloop.github import GitHubError, User, retry_after
from bassloop.repository_files import CONFIG_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.access.policy import NamedUser
    from bassloop.github import Event, GitHub, Repository, RepositoryClient


CACHE_SECONDS = 300.0
CACHE_SIZE = 10_000


@dataclass(eq=False)
class PolicyCache:
    """The policy of each repository.

    Args:
        base: the policy that the settings give to all repositories.
        operator: the operator's file.
    """

    base: Policy = field(default_factory=Policy)
    operator: OperatorRules = field(default_factory=OperatorRules)
    _owners: TTLCache[int, Rules] = field(
        default_factory=lambda: TTLCache(CACHE_SIZE, CACHE_SECONDS), init=False
    )
    _reading: SharedCalls[tuple[int, int], Rules] = field(default_factory=SharedCalls, init=False)
    _thread: trio.CapacityLimiter = field(
        default_factory=partial(trio.CapacityLimiter, 1), init=False
    )
    """A stranger's file may take some 0.1 s. Several at once would leave less of the processor to the loop."""

    async def policy_for(self, repository: Repository, repo: RepositoryClient) -> Policy:
        """Return a repository's policy, at most some minutes old.

        Concurrent callers share one request. Raises PolicyError if the owners' file can't be used, and
        GitHubError if it can't be read.
        """
        return await self.policy_of(repository.id, repository.full_name, repo)

    async def policy_of(self, repository_id: int, full_name: str, repo: RepositoryClient) -> Policy:
        """Return the policy of the repository with this id and name; see :meth:`policy_for`."""
        rules = self._owners.get(repository_id)
        if rules is None:
            generation = self._owners.generation
            rules = await self._reading.share(
                (repository_id, generation), partial(self._read, repository_id, repo, generation)
            )
        return resolve_policy(self.base, self.operator, full_name, rules)

    async def _read(self, repository_id: int, repo: RepositoryClient, generation: int) -> Rules:
        content = await repo.file(CONFIG_FILE, None)
        rules = Rules()
        if content is not None:
            rules = await trio.to_thread.run_sync(read_rules, content, limiter=self._thread)
        self._owners.store(repository_id, rules, generation=generation)
        return rules

    def apply_event(self, event: Event) -> bool:
        """Forget a policy that an event may have changed because the default branch has a new head.

        Return whether it may have. Then the caller has to notify all other nodes (`apply_notification`).
        """
        repository, head = event.repository, event.head
        if repository is None or not (head is None or head.branch == repository.default_branch):
            return False
        self._owners.forget(repository.id)
        return True

    def apply_notification(self, key: str | None) -> None:
        """Forget the policy in the repository with this id, or all of them."""
        self._owners.forget_where(lambda known: key in (None, str(known)))


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
