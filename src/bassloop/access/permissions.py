"""What people may do in repositories: what GitHub says, remembered for minutes.

Both are known by their numbers, for names change hands: that a repository's name still is its own, and
a login its user's, is part of the question. What GitHub can't say nobody may. An event that may change
an answer lets it be forgotten, also an answer that is on its way at that moment.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog
import trio

from bassloop.access.token_bucket import Allowance
from bassloop.github import GitHubError, NotFound, RateLimited
from bassloop.store import User

if TYPE_CHECKING:
    from bassloop.github import GitHub, GitHubRepository
    from bassloop.store import RepositoryRecord, Store

log = structlog.get_logger(__name__)

K = TypeVar("K")
V = TypeVar("V")

KEPT_SECONDS = 300.0
NOT_SECONDS = 900.0
"""How long it is remembered that somebody may not; it costs nobody anything to wait for that."""

FAILED_SECONDS = 15.0
"""How long a question that GitHub did not answer is not asked again."""

KEPT_ANSWERS = 20_000
AT_ONCE = 8
MOST_REPOSITORIES = 300
"""Private repositories that lists are made of, the latest used; the others are seen one by one."""

OF_ONE = 400, 20
OF_ALL = 2_000, 40
"""Questions at once and a minute that one person, and all together, can cost: everybody on GitHub can
sign in, and none of them may use up what checks need of the rate limit (5,000 an hour)."""

NONE, READ, WRITE, ADMIN = "none", "read", "write", "admin"
LEVELS = (NONE, READ, WRITE, ADMIN)
"""What GitHub answers, from least to most."""


class Person(Protocol):
    """Somebody whom GitHub knows."""

    @property
    def id(self) -> int:
        """Theirs for ever."""

    @property
    def login(self) -> str:
        """Theirs when it was last heard of."""


@dataclass(frozen=True, slots=True)
class _Known:
    level: str
    until: float


@dataclass(eq=False)
class Permissions:
    """The answers, at most `KEPT_ANSWERS` of them, and the asking, `AT_ONCE` at a time."""

    store: Store
    github: GitHub
    _known: OrderedDict[tuple[int, int], _Known] = field(default_factory=OrderedDict, init=False)
    _names: OrderedDict[int, float] = field(default_factory=OrderedDict, init=False)
    _logins: OrderedDict[int, tuple[str, float]] = field(default_factory=OrderedDict, init=False)
    _allowances: OrderedDict[int, Allowance] = field(default_factory=OrderedDict, init=False)
    _allowance: Allowance = field(default_factory=lambda: Allowance(*OF_ALL), init=False)
    _asking: dict[tuple[int, int], trio.Lock] = field(default_factory=dict, init=False)
    _forgotten: int = field(default=0, init=False)
    _limiter: trio.CapacityLimiter = field(
        default_factory=lambda: trio.CapacityLimiter(AT_ONCE), init=False
    )

    def __repr__(self) -> str:
        return f"<Permissions: {len(self._known)} known, {len(self._asking)} asked for>"

    async def level(self, person: Person, repository_id: int) -> str:
        """One of `LEVELS`. Asked for once, however many wait for it; never raises GitHubError."""
        key = person.id, repository_id
        if (known := self._remembered(key)) is not None:
            return known
        lock = self._asking.setdefault(key, trio.Lock())
        try:
            async with lock:
                if (known := self._remembered(key)) is not None:
                    return known
                async with self._limiter:
                    return await self._ask(person, repository_id)
        finally:
            if not lock.locked():
                self._asking.pop(key, None)

    async def now(self, person: Person, repository_id: int) -> str:
        """One of `LEVELS`, asked for anew. Raises GitHubError when GitHub can't say, or somebody asks
        too often."""
        if not self._spend(person.id):
            raise RateLimited("too many permissions are asked for: wait a minute", 429, 60.0)
        return await self._level(person, repository_id)

    async def readable(self, person: Person) -> frozenset[int]:
        """The private repositories, among the latest used, that somebody may read."""
        candidates = await self.store.private_repositories(MOST_REPOSITORIES)
        readable = set()

        async def look(repository_id: int) -> None:
            if at_least(READ, await self.level(person, repository_id)):
                readable.add(repository_id)

        async with trio.open_nursery() as nursery:
            for repository_id in candidates:
                nursery.start_soon(look, repository_id)
        return frozenset(readable)

    def forget(self, *, user_id: int | None = None, repository_id: int | None = None) -> None:
        """Forget what is known of a user, of a repository, of both together, or everything."""
        self._forgotten += 1
        for key in list(self._known):
            if user_id in (None, key[0]) and repository_id in (None, key[1]):
                del self._known[key]
        if user_id is None:
            for known in [repository_id] if repository_id is not None else list(self._names):
                self._names.pop(known, None)
        if repository_id is None:
            for known in [user_id] if user_id is not None else list(self._logins):
                self._logins.pop(known, None)

    def _remembered(self, key: tuple[int, int]) -> str | None:
        known = self._known.get(key)
        return known.level if known is not None and trio.current_time() < known.until else None

    async def _ask(self, person: Person, repository_id: int) -> str:
        if not self._spend(person.id):
            log.warning("too many permissions asked for", user=person.id, login=person.login)
            return NONE
        before = self._forgotten
        try:
            level = await self._level(person, repository_id)
            kept_for = NOT_SECONDS if level == NONE else KEPT_SECONDS
        except GitHubError as error:
            why = str(error)
            log.warning("permission unknown", user=person.id, repository=repository_id, why=why)
            level, kept_for = NONE, FAILED_SECONDS
        if self._forgotten == before:
            known = _Known(level, trio.current_time() + kept_for)
            _keep(self._known, (person.id, repository_id), known)
        return level

    def _spend(self, user_id: int) -> bool:
        allowance = self._allowances.get(user_id) or Allowance(*OF_ONE)
        _keep(self._allowances, user_id, allowance)
        return allowance.spend() and self._allowance.spend()

    async def _level(self, person: Person, repository_id: int) -> str:
        record = await self.store.repository(repository_id)
        if record is None:
            return NONE
        owner, _, name = record.full_name.partition("/")
        repo = self.github.repository(record.installation_id, owner, name)
        if not await self._is_own_name(repo, record):
            return NONE
        login = await self._login(repo, person)
        level = await repo.permission(login, user_id=person.id)
        return level if level in LEVELS else NONE

    async def _is_own_name(self, repo: GitHubRepository, record: RepositoryRecord) -> bool:
        """Whether the name that is known leads to this repository still, also when it was renamed."""
        if trio.current_time() < self._names.get(record.id, -math.inf):
            return True
        before = self._forgotten
        try:
            if (await repo.info()).id != record.id:
                return False
        except NotFound:
            return False
        if self._forgotten == before:
            _keep(self._names, record.id, trio.current_time() + KEPT_SECONDS)
        return True

    async def _login(self, repo: GitHubRepository, person: Person) -> str:
        """The login that somebody has now; the one that is known where GitHub does not tell."""
        known, until = self._logins.get(person.id, ("", -math.inf))
        if trio.current_time() < until:
            return known
        before = self._forgotten
        login = await repo.login_of(person.id) or person.login
        if login != person.login:
            kept = await self.store.user(person.id)
            await self.store.put_user(User(person.id, kept.node_id if kept else "", login))
        if self._forgotten == before:
            _keep(self._logins, person.id, (login, trio.current_time() + KEPT_SECONDS))
        return login


def _keep(kept: OrderedDict[K, V], key: K, value: V) -> None:
    """Keep a value as the latest; the oldest gives way where there are too many."""
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > KEPT_ANSWERS:
        kept.popitem(last=False)


def at_least(wanted: str, level: str) -> bool:
    """Whether a level is enough. Pure."""
    return LEVELS.index(level) >= LEVELS.index(wanted)
