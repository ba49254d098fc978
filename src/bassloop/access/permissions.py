"""Permissions of people in repositories: GitHub's answers, cached for minutes.

People and repositories are identified by their ids, because names change hands. So each lookup also checks whether
the repository still has its name, and which login the user has now. If GitHub gives no answer, the level is ``none``.
An event that may change a level invalidates it, even one that is being fetched at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from bassloop.concurrency import KeyedLock, TokenBucket, TTLCache, open_flat_nursery
from bassloop.github import GitHubError, NotFound, RateLimited
from bassloop.store import Topic, User

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.github import GitHub, RepositoryClient
    from bassloop.store import RepositoryRecord, Store

log = structlog.get_logger(__name__)

CACHE_SECONDS = 300.0
NONE_CACHE_SECONDS = 900.0
"""Longer for ``none``: learning late of a new permission does no harm."""

FAILURE_CACHE_SECONDS = 15.0
"""How long to wait before repeating a lookup that GitHub didn't answer."""

CACHE_SIZE = 20_000
AT_ONCE = 8
MAX_LISTED_REPOSITORIES = 300
"""How many private repositories a list covers, the most recently used ones. Others have to be opened by their
address."""

PERSON_LIMIT = 400, 20 / 60
TOTAL_LIMIT = 2_000, 40 / 60
"""The burst and the rate per second of lookups, for one person and in all. Anybody on GitHub can sign in, and must
not use up the rate limit that checks need (5,000 an hour)."""

NONE, READ, WRITE, ADMIN = "none", "read", "write", "admin"
LEVELS = (NONE, READ, WRITE, ADMIN)
"""GitHub's levels of permission, ascending."""


class Person(Protocol):
    """A GitHub user. The id is permanent; the login is the latest known."""

    @property
    def id(self) -> int: ...
    @property
    def login(self) -> str: ...


def at_least(wanted: str, level: str) -> bool:
    """Return whether a level includes the required one."""
    return LEVELS.index(level) >= LEVELS.index(wanted)


@dataclass(eq=False)
class Permissions:
    """A cache of permission levels, with at most `AT_ONCE` lookups at a time."""

    store: Store
    github: GitHub
    clock: Callable[[], float] = trio.current_time
    _levels: TTLCache[tuple[int, int], str] = field(init=False)
    _verified_names: TTLCache[int, bool] = field(init=False)
    _logins: TTLCache[int, str] = field(init=False)
    _buckets: TTLCache[int, TokenBucket] = field(init=False)
    _total: TokenBucket = field(init=False)
    _asking: KeyedLock[tuple[int, int]] = field(default_factory=KeyedLock, init=False)
    _limiter: trio.CapacityLimiter = field(
        default_factory=lambda: trio.CapacityLimiter(AT_ONCE), init=False
    )

    def __post_init__(self) -> None:
        self._levels = TTLCache(CACHE_SIZE, CACHE_SECONDS, clock=self.clock)
        self._verified_names = TTLCache(CACHE_SIZE, CACHE_SECONDS, clock=self.clock)
        self._logins = TTLCache(CACHE_SIZE, CACHE_SECONDS, clock=self.clock)
        self._buckets = TTLCache(CACHE_SIZE, clock=self.clock)
        self._total = TokenBucket(*TOTAL_LIMIT, clock=self.clock)

    def __repr__(self) -> str:
        return f"<Permissions: {len(self._levels)} cached, {len(self._asking)} being asked for>"

    async def level(self, person: Person, repository_id: int) -> str:
        """Return one of `LEVELS`, cached. Never raises GitHubError.

        Concurrent callers share one lookup.
        """
        key = person.id, repository_id
        if (cached := self._levels.get(key)) is not None:
            return cached
        async with self._asking.hold(key):
            if (cached := self._levels.get(key)) is not None:
                return cached
            async with self._limiter:
                return await self._fetch_and_cache(person, repository_id)

    async def fetch_level(self, person: Person, repository_id: int) -> str:
        """Return one of `LEVELS`, without the cache.

        Raises GitHubError if GitHub gives no answer, or the person asks too often.
        """
        if not self._take_token(person.id):
            raise RateLimited("too many permissions are asked for: wait a minute", 429, 60.0)
        return await self._fetch(person, repository_id)

    async def readable(self, person: Person) -> frozenset[int]:
        """Return which of the most recently used private repositories somebody may read."""
        candidates = await self.store.repositories.private(MAX_LISTED_REPOSITORIES)
        readable = set()

        async def check(repository_id: int) -> None:
            if at_least(READ, await self.level(person, repository_id)):
                readable.add(repository_id)

        async with open_flat_nursery() as nursery:
            for repository_id in candidates:
                nursery.start_soon(check, repository_id)
        return frozenset(readable)

    def forget(self, *, user_id: int | None = None, repository_id: int | None = None) -> None:
        """Forget the levels of a user, of a repository, of one user in one repository, or all."""
        self._levels.forget_where(
            lambda key: user_id in (None, key[0]) and repository_id in (None, key[1])
        )
        if user_id is None:
            self._verified_names.forget_where(lambda key: repository_id in (None, key))
        if repository_id is None:
            self._logins.forget_where(lambda key: user_id in (None, key))

    async def forget_everywhere(
        self, *, user_id: int | None = None, repository_id: int | None = None
    ) -> None:
        """Forget levels on this node at once, and then on all others; see `forget`. May raise StoreError."""
        self.forget(user_id=user_id, repository_id=repository_id)
        user = "" if user_id is None else user_id
        repository = "" if repository_id is None else repository_id
        await self.store.notifications.publish(Topic.PERMISSIONS, f"{user}:{repository}")

    def apply_notification(self, key: str | None) -> None:
        """Forget the levels that a notification names; None names all of them."""
        user, _, repository = (key or "").partition(":")
        self.forget(
            user_id=int(user) if user else None,
            repository_id=int(repository) if repository else None,
        )

    def _take_token(self, user_id: int) -> bool:
        bucket = self._buckets.get(user_id)
        if bucket is None:
            bucket = TokenBucket(*PERSON_LIMIT, clock=self.clock)
            self._buckets.store(user_id, bucket)
        return bucket.take() and self._total.take()

    async def _fetch_and_cache(self, person: Person, repository_id: int) -> str:
        if not self._take_token(person.id):
            log.warning("too many permissions asked for", user=person.id, login=person.login)
            return NONE
        generation = self._levels.generation
        try:
            level = await self._fetch(person, repository_id)
            seconds = NONE_CACHE_SECONDS if level == NONE else CACHE_SECONDS
        except GitHubError as error:
            why = str(error)
            log.warning("permission unknown", user=person.id, repository=repository_id, why=why)
            level, seconds = NONE, FAILURE_CACHE_SECONDS
        key = person.id, repository_id
        self._levels.store(key, level, seconds=seconds, generation=generation)
        return level

    async def _fetch(self, person: Person, repository_id: int) -> str:
        record = await self.store.repositories.get(repository_id)
        if record is None:
            return NONE
        owner, _, name = record.full_name.partition("/")
        repo = self.github.repository(record.installation_id, owner, name)
        if not await self._has_its_name(repo, record):
            return NONE
        login = await self._current_login(repo, person)
        level = await repo.permission(login, user_id=person.id)
        return level if level in LEVELS else NONE

    async def _has_its_name(self, repo: RepositoryClient, record: RepositoryRecord) -> bool:
        """Return whether the stored name still leads to this repository, directly or by a redirect."""
        if self._verified_names.get(record.id):
            return True
        generation = self._verified_names.generation
        try:
            if (await repo.info()).id != record.id:
                return False
        except NotFound:
            return False
        self._verified_names.store(record.id, True, generation=generation)
        return True

    async def _current_login(self, repo: RepositoryClient, person: Person) -> str:
        """Return somebody's current login, or the latest known if GitHub doesn't say."""
        if (cached := self._logins.get(person.id)) is not None:
            return cached
        generation = self._logins.generation
        login = await repo.login_of(person.id) or person.login
        if login != person.login:
            stored = await self.store.users.get(person.id)
            await self.store.users.put(User(person.id, stored.node_id if stored else "", login))
        self._logins.store(person.id, login, generation=generation)
        return login
