"""The users of logins and their SSH keys: looked up seldom, and never taken from an old cache for long.

A result is cached for a short time; for a key that isn't in it the login is looked up again, so that a
new key works at once. Somebody who tries one wrong key after the other under a login makes it be looked up
less and less often: each time in vain doubles the seconds until the next. Logins that nobody has are
cached apart and for less long, and logins never seen before are looked up at a bounded rate: a stranger
who dials in under many names can neither push out known users nor spend the rate limit. While GitHub
can't say, an older result is used for a known user.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import trio

from bassloop.concurrency import KeyedLock, TokenBucket, TTLCache
from bassloop.github.errors import GitHubError, NotFound, RateLimited
from bassloop.github.models import User

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bassloop.github.api import API
    from bassloop.github.request import Credential

CACHE_SECONDS = 300.0
FRESH_SECONDS = 10.0
"""The least time between two fresh lookups of a login, unless the first was in vain."""
STALE_SECONDS = 3_600.0
"""How old a result may be that is used because GitHub can't say."""
NOBODY_SECONDS = 60.0
ANSWER_SECONDS = 8.0
"""How long to wait for GitHub when there is such a result: a runner that dials in doesn't wait for long."""
MAX_LOGINS = 10_000
MAX_NOBODIES = 2_000
AT_ONCE = 8
STRANGERS_AT_ONCE = 300.0
STRANGERS_A_MINUTE = 40.0
MAX_KEYS = 1_000
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class _Lookup:
    """GitHub's answer about a login: `user` is None if nobody has it."""

    user: User | None
    keys: tuple[str, ...]
    asked_at: float
    fresh_seconds: float = FRESH_SECONDS
    """How old it has to be before a fresh lookup."""

    def is_newer_than(self, seconds: float) -> bool:
        """Return whether it is at most that old, and, for a login of nobody, `NOBODY_SECONDS`."""
        allowed = seconds if self.user is not None else min(seconds, NOBODY_SECONDS)
        return trio.current_time() - self.asked_at < allowed


@dataclass(eq=False)
class LoginKeys:
    """Users' public keys, as GitHub lists them.

    Args:
        credential: who asks; without an installation, GitHub allows 60 requests an hour.
    """

    api: API
    credential: Callable[[], Awaitable[Credential]]
    _known: TTLCache[str, _Lookup] = field(default_factory=lambda: TTLCache(MAX_LOGINS), init=False)
    _nobodies: TTLCache[str, _Lookup] = field(
        default_factory=lambda: TTLCache(MAX_NOBODIES, NOBODY_SECONDS), init=False
    )
    _looking_up: KeyedLock[str] = field(default_factory=KeyedLock, init=False)
    _limiter: trio.CapacityLimiter = field(
        default_factory=lambda: trio.CapacityLimiter(AT_ONCE), init=False
    )
    _strangers: TokenBucket = field(
        default_factory=lambda: TokenBucket(STRANGERS_AT_ONCE, STRANGERS_A_MINUTE / 60), init=False
    )

    def __repr__(self) -> str:
        return f"<LoginKeys: {len(self._known)} users, {len(self._nobodies)} logins of nobody>"

    async def user(self, login: str) -> User | None:
        """Return the user of a login, or None if nobody has it. Raises GitHubError when GitHub can't say."""
        return (await self._look_up(login)).user

    async def keys(self, login: str, *, fresh: bool = False) -> list[str]:
        """Return the keys of a login as lines of an authorized_keys file; none if nobody has it.

        Args:
            fresh: look it up unless that was done a moment ago, for a key that isn't in the cached list.

        Raises GitHubError when GitHub can't say.
        """
        return list((await self._look_up(login, fresh=fresh)).keys)

    async def _look_up(self, login: str, *, fresh: bool = False) -> _Lookup:
        """Return what GitHub says of a login; it is asked once, however many wait for it."""
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
        return (
            found if found.is_newer_than(found.fresh_seconds if fresh else CACHE_SECONDS) else None
        )

    async def _renew(self, name: str, fresh: bool) -> _Lookup:
        """Ask GitHub and cache the result; an older one has to do when GitHub can't say."""
        before = self._known.get(name)
        if before is None and not self._strangers.take():
            message = f"too many unknown logins were looked up; {name} has to wait a moment"
            raise RateLimited(message, 0, 60 / STRANGERS_A_MINUTE)
        usable = before if before is not None and before.is_newer_than(STALE_SECONDS) else None
        found: _Lookup | None = None
        with trio.move_on_after(math.inf if usable is None else ANSWER_SECONDS):
            try:
                async with self._limiter:
                    found = await self._fetch(name)
            except GitHubError as error:
                if usable is None or not error.passing:
                    raise
        if found is None:
            assert usable is not None
            return usable
        if fresh and before is not None and (found.user, found.keys) == (before.user, before.keys):
            longer = min(2 * before.fresh_seconds, CACHE_SECONDS)
            found = replace(found, fresh_seconds=longer)
        self._known.forget(name)
        self._nobodies.forget(name)
        (self._known if found.user else self._nobodies).store(name, found)
        return found

    async def _fetch(self, login: str) -> _Lookup:
        credential, path = await self.credential(), f"/users/{quote(login)}"
        asked_at = trio.current_time()
        try:
            found = await self.api.call("GET", path, credential=credential)
            user = User(int(found["id"]), str(found.get("node_id", "")), str(found["login"]))
            listed = await self.api.listed(f"{path}/keys?per_page=100", credential=credential)
            keys = tuple(str(entry["key"]) for entry in listed[:MAX_KEYS])
        except NotFound:
            return _Lookup(None, (), asked_at)
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            raise GitHubError(f"GitHub's answer to GET {path} can't be read") from error
        return _Lookup(user, keys, asked_at)
