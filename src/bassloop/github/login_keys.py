"""The users of logins and their SSH keys, cached for a short time, and for longer only while GitHub is away.

A key that isn't in the cached result causes a new lookup, so that a new key works at once. Each lookup that doesn't
find it doubles the delay until the next one for this login, so that trying one wrong key after the other doesn't cost
many lookups. Logins that nobody has are cached separately and more briefly, and logins that were never seen before
are looked up at a bounded rate. So a stranger who connects under many names can neither evict known users nor use up
the rate limit.

While GitHub gives no answer, or takes too long, an older result is used for a known user, up to an age that is a
setting. The results of users who have proven a key are stored with their time, for the next start and for other
nodes; the newest one counts, whichever node asked for it. A caller that lets somebody in because of an old result has
to await `confirmed`, and to act on it.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import structlog
import trio

from bassloop.concurrency import Backoff, KeyedLock, TokenBucket, TTLCache, retry
from bassloop.github.errors import GitHubError, NotFound, RateLimited, retry_after
from bassloop.github.models import User

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from bassloop.github.request import Credential
    from bassloop.github.rest_client import RestClient

log = structlog.get_logger(__name__)

CACHE_SECONDS = 300.0
FRESH_SECONDS = 10.0
"""The minimum time between two fresh lookups of a login, if the first one got an answer."""
KNOWN_SECONDS = 6 * 3600.0
"""The default for the maximum age of a result that is used while GitHub gives no answer."""
NOBODY_SECONDS = 60.0
ANSWER_SECONDS = 2.0
"""How long to wait for GitHub if there is an old result, since a runner that connects doesn't wait for long."""
UNANSWERED_SECONDS = 10.0
"""How long an old result is used without asking GitHub again, after it didn't answer in time."""
CONFIRMING = Backoff(first=2.0, longest=60.0)
MAX_LOGINS = 10_000
MAX_NOBODIES = 2_000
AT_ONCE = 8
STRANGERS_AT_ONCE = 300.0
STRANGERS_A_MINUTE = 40.0
MAX_KEYS = 1_000
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?\Z")


class StoredKeys(Protocol):
    """A stored answer of GitHub about a login.

    `asked_at` is in seconds since the epoch. `user_id` is 0 if nobody has the login.
    """

    @property
    def user_id(self) -> int: ...
    @property
    def node_id(self) -> str: ...
    @property
    def login(self) -> str: ...
    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def asked_at(self) -> float: ...


class KeyStore(Protocol):
    """A store for GitHub's answers about logins, by lower-case login. It may fail."""

    async def get(self, name: str) -> StoredKeys | None:
        """Return the answer about a login, or None."""

    async def put(
        self,
        name: str,
        *,
        user_id: int,
        node_id: str,
        login: str,
        keys: tuple[str, ...],
        asked_at: float,
    ) -> None:
        """Store the answer about a login, unless a newer one is stored."""

    async def remove(self, name: str, *, asked_at: float) -> None:
        """Store that nobody has a login any more, unless a newer answer is stored."""


@dataclass(frozen=True, slots=True)
class _Lookup:
    """GitHub's answer about a login: `user` is None if nobody has it.

    Args:
        asked_at: by Trio's clock. It's before the process's start for a stored answer.
        fresh_seconds: its minimum age before a fresh lookup.
        unanswered_at: when GitHub was last asked since then, without an answer.
        stored: whether it is kept across restarts.
        since: when keys were added, in seconds since the epoch, for those where GitHub says so. It isn't stored.
    """

    user: User | None
    keys: tuple[str, ...]
    asked_at: float
    fresh_seconds: float = FRESH_SECONDS
    unanswered_at: float = -math.inf
    stored: bool = False
    since: Mapping[str, float] = field(default_factory=dict, compare=False)

    def is_newer_than(self, seconds: float) -> bool:
        """Return whether it is at most that old. For a login that nobody has, the age is at most `NOBODY_SECONDS`."""
        allowed = seconds if self.user is not None else min(seconds, NOBODY_SECONDS)
        return trio.current_time() - self.asked_at < allowed

    def has_same_answer(self, other: _Lookup) -> bool:
        """Return whether both have the same user and keys."""
        return (self.user, self.keys) == (other.user, other.keys)


@dataclass(eq=False)
class LoginKeys:
    """Users' public keys, as GitHub lists them.

    Args:
        credential: returns the credential to use. Without an installation, GitHub allows 60 requests an hour.
        store: keeps the answers about known users across restarts.
        known_seconds: the maximum age of a result that is used while GitHub gives no answer.
        on_lookup: called after each lookup with whether runners can get in, because GitHub answered or an older
        result could be used.
        clock: returns the seconds since the epoch.
    """

    api: RestClient
    credential: Callable[[], Awaitable[Credential]]
    store: KeyStore | None = None
    known_seconds: float = KNOWN_SECONDS
    on_lookup: Callable[[bool], object] = lambda _: None
    clock: Callable[[], float] = time.time
    _known: TTLCache[str, _Lookup] = field(default_factory=lambda: TTLCache(MAX_LOGINS), init=False)
    _nobodies: TTLCache[str, _Lookup] = field(
        default_factory=lambda: TTLCache(MAX_NOBODIES, NOBODY_SECONDS), init=False
    )
    _looking_up: KeyedLock[str] = field(default_factory=KeyedLock, init=False)
    _confirming: KeyedLock[str] = field(default_factory=KeyedLock, init=False)
    _limiter: trio.CapacityLimiter = field(
        default_factory=lambda: trio.CapacityLimiter(AT_ONCE), init=False
    )
    _strangers: TokenBucket = field(
        default_factory=lambda: TokenBucket(STRANGERS_AT_ONCE, STRANGERS_A_MINUTE / 60), init=False
    )

    def __repr__(self) -> str:
        return f"<LoginKeys: {len(self._known)} users, {len(self._nobodies)} unknown logins>"

    async def user(self, login: str) -> User | None:
        """Return the user of a login, or None if nobody has it. Raises GitHubError if GitHub gives no answer."""
        return (await self._look_up(login)).user

    async def keys(self, login: str, *, fresh: bool = False) -> list[str]:
        """Return the keys of a login as lines of an authorized_keys file; none if nobody has it.

        Args:
            fresh: whether to look it up again unless that was just done, for a key that isn't in the cached list.

        Raises GitHubError if GitHub gives no answer.
        """
        return list((await self._look_up(login, fresh=fresh)).keys)

    def listed_since(self, login: str, key: str) -> float | None:
        """Return when a key was added to a login, in seconds since the epoch, or None if that isn't known.

        GitHub doesn't list a time for every key, and the times aren't kept across restarts. Makes no request.
        """
        found = self._known.get(login.lower())
        return None if found is None else found.since.get(key)

    async def confirmed(self, login: str) -> bool:
        """Wait for an answer that is minutes old at most, store it, and return whether GitHub was asked.

        This is for somebody who has proven a key that GitHub may have listed long ago. GitHub is asked until it
        answers. If cancelled, nothing is stored.
        """
        name = login.lower()
        if not _LOGIN.match(name):
            return False
        async with self._confirming.hold(name):
            found = self._known.get(name)
            current = found is not None and found.is_newer_than(CACHE_SECONDS)
            if found is not None and current and found.stored:
                return False
            if found is None or not current:
                # The lookups' lock isn't held, or everybody else who asks for this login would wait for GitHub, too.
                ask = partial(self._fetch, name)
                found = await retry(ask, CONFIRMING, retry_after=_retry_after)
            self._remember(name, replace(found, stored=True))
            await self._save(name, found)
            return not current

    async def _look_up(self, login: str, *, fresh: bool = False) -> _Lookup:
        """Return the answer about a login. Concurrent callers share one lookup."""
        name = login.lower()
        if not _LOGIN.match(name):
            return _Lookup(None, (), 0.0)
        if (cached := self._cached(name, fresh)) is not None:
            return cached
        async with self._looking_up.hold(name):
            return self._cached(name, fresh) or await self._renew(name, fresh)

    def _cached(self, name: str, fresh: bool) -> _Lookup | None:
        found = self._known.get(name) or self._nobodies.get(name)
        if found is None:
            return None
        if found.is_newer_than(found.fresh_seconds if fresh else CACHE_SECONDS):
            return found
        unanswered = trio.current_time() - found.unanswered_at < UNANSWERED_SECONDS
        return found if unanswered and found.is_newer_than(self.known_seconds) else None

    async def _renew(self, name: str, fresh: bool) -> _Lookup:
        """Ask GitHub and cache the result, or fall back to an older one if GitHub gives no answer."""
        before, stored = self._known.get(name), await self._load(name)
        if stored is not None and (before is None or stored.asked_at > before.asked_at):
            if before is not None and stored.has_same_answer(before):
                stored = replace(stored, fresh_seconds=before.fresh_seconds)
            self._remember(name, before := stored)
            if (cached := self._cached(name, fresh)) is not None:
                return cached
        if before is None and not self._strangers.take():
            message = f"too many unknown logins were looked up; {name} has to wait a moment"
            raise RateLimited(message, 0, 60 / STRANGERS_A_MINUTE)
        usable = before if before is not None and before.is_newer_than(self.known_seconds) else None
        found: _Lookup | None = None
        with trio.move_on_after(math.inf if usable is None else ANSWER_SECONDS):
            try:
                async with self._limiter:
                    found = await self._fetch(name)
            except GitHubError as error:
                if usable is None or not error.passing:
                    self.on_lookup(not error.passing)
                    raise
        self.on_lookup(True)
        if found is None:
            assert usable is not None
            self._remember(name, replace(usable, unanswered_at=trio.current_time()))
            return usable
        if before is not None:
            if fresh and found.has_same_answer(before):
                longer = min(2 * before.fresh_seconds, CACHE_SECONDS)
                found = replace(found, fresh_seconds=longer)
            found = replace(found, stored=before.stored)
            if before.stored:
                await self._save(name, found)
        self._remember(name, found)
        return found

    def _remember(self, name: str, found: _Lookup) -> None:
        self._known.forget(name)
        self._nobodies.forget(name)
        (self._known if found.user else self._nobodies).store(name, found)

    async def _load(self, name: str) -> _Lookup | None:
        """Return the stored result, unless it's too old or from the future."""
        if self.store is None:
            return None
        try:
            stored = await self.store.get(name)
        except Exception as error:  # noqa: BLE001  (GitHub knows as well)
            log.warning("keys not read from the store", login=name, error=str(error))
            return None
        if stored is None:
            return None
        age = self.clock() - stored.asked_at
        if not 0 <= age < self.known_seconds:
            return None
        user = User(stored.user_id, stored.node_id, stored.login) if stored.user_id else None
        return _Lookup(user, stored.keys, trio.current_time() - age, stored=True)

    async def _save(self, name: str, found: _Lookup) -> None:
        """Store a result. If that fails, the next start just doesn't have it."""
        if self.store is None:
            return
        asked_at = self.clock() - (trio.current_time() - found.asked_at)
        try:
            if found.user is None:
                await self.store.remove(name, asked_at=asked_at)
                return
            await self.store.put(
                name,
                user_id=found.user.id,
                node_id=found.user.node_id,
                login=found.user.login,
                keys=found.keys,
                asked_at=asked_at,
            )
        except Exception as error:  # noqa: BLE001  (as the docstring says)
            log.warning("keys not stored", login=name, error=str(error))

    async def _fetch(self, login: str) -> _Lookup:
        credential, path = await self.credential(), f"/users/{quote(login)}"
        asked_at = trio.current_time()
        try:
            found = await self.api.call("GET", path, credential=credential)
            user = User(int(found["id"]), str(found.get("node_id", "")), str(found["login"]))
            listed = await self.api.listed(f"{path}/keys?per_page=100", credential=credential)
            keys = tuple(str(entry["key"]) for entry in listed[:MAX_KEYS])
            since = {
                str(entry["key"]): datetime.fromisoformat(entry["created_at"]).timestamp()
                for entry in listed[:MAX_KEYS]
                if entry.get("created_at")
            }
        except NotFound:
            return _Lookup(None, (), asked_at)
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            raise GitHubError(f"GitHub's answer to GET {path} can't be read") from error
        return _Lookup(user, keys, asked_at, since=since)


def _retry_after(error: Exception) -> float | None:
    """Return the minimum delay before GitHub is asked again, whatever the error was."""
    return (retry_after(error) or 0.0) if isinstance(error, GitHubError) else None
