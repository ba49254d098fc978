"""Who a login is, and which SSH keys are theirs: asked seldom, never from a stale memory for long.

An answer is kept for a short time; for a key that is not among those kept the login is asked for
again, so that a new key works at once. Who tries one wrong key after the other under a login makes
it be asked for more and more seldom: each time in vain doubles the seconds until the next. Logins
that nobody has are kept apart and for less long, and logins never seen before are looked up at a
bounded rate: a stranger who dials in under many names can neither push out those who are known nor
spend the rate limit. While GitHub can't say, an older answer is used for who is known.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import trio

from bassloop.github.errors import GitHubError, NotFound, RateLimited
from bassloop.github.models import User

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bassloop.github.api import API, Credential

KEPT_SECONDS = 300.0
FRESH_SECONDS = 10.0
"""Between two fresh looks at a login, unless the first was in vain."""
IN_NEED_SECONDS = 3_600.0
"""How old an answer may be that is used because GitHub can't say."""
NOBODY_SECONDS = 60.0
ANSWER_SECONDS = 8.0
"""How long GitHub is waited for when there is such an answer; who dials in does not wait for long."""
KEPT_LOGINS = 10_000
KEPT_NOBODIES = 2_000
AT_ONCE = 8
STRANGERS_AT_ONCE = 300.0
STRANGERS_A_MINUTE = 40.0
MAX_KEYS = 1_000
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class _Known:
    user: User | None
    keys: tuple[str, ...]
    asked_at: float
    fresh_seconds: float = FRESH_SECONDS
    """How old it has to be for a fresh look."""

    def is_newer_than(self, seconds: float) -> bool:
        """Whether it may be used by who takes answers of that age; nobody's is never that old."""
        allowed = seconds if self.user is not None else min(seconds, NOBODY_SECONDS)
        return trio.current_time() - self.asked_at < allowed


@dataclass(eq=False)
class Keys:
    """GitHub's list of users' public keys.

    Args:
        credential: who asks; without an installation, GitHub allows 60 requests an hour.
    """

    api: API
    credential: Callable[[], Awaitable[Credential]]
    _known: OrderedDict[str, _Known] = field(default_factory=OrderedDict, init=False)
    _nobodies: OrderedDict[str, _Known] = field(default_factory=OrderedDict, init=False)
    _asking: dict[str, trio.Lock] = field(default_factory=dict, init=False)
    _limiter: trio.CapacityLimiter = field(
        default_factory=lambda: trio.CapacityLimiter(AT_ONCE), init=False
    )
    _strangers: float = field(default=STRANGERS_AT_ONCE, init=False)
    _counted_at: float | None = field(default=None, init=False)

    def __repr__(self) -> str:
        return f"<Keys: {len(self._known)} users, {len(self._nobodies)} logins of nobody>"

    async def user(self, login: str) -> User | None:
        """Whose login this is; None for nobody's. Raises GitHubError when GitHub can't say."""
        return (await self._ask(login)).user

    async def keys(self, login: str, *, fresh: bool = False) -> list[str]:
        """The login's keys, as lines of an authorized_keys file; none for nobody's.

        `fresh` asks again unless it was asked a moment ago: for a key that is not among the known.
        Raises GitHubError when GitHub can't say.
        """
        return list((await self._ask(login, fresh=fresh)).keys)

    async def _ask(self, login: str, *, fresh: bool = False) -> _Known:
        """What is known of a login; asked for once, however many wait for it."""
        name = login.lower()
        if not _LOGIN.match(name):
            return _Known(None, (), 0.0)
        if (known := self._remembered(name, fresh)) is not None:
            return known
        lock = self._asking.setdefault(name, trio.Lock())
        try:
            async with lock:
                known = self._remembered(name, fresh)
                return await self._renewed(name, fresh) if known is None else known
        finally:
            if not lock.locked():
                self._asking.pop(name, None)

    def _remembered(self, name: str, fresh: bool) -> _Known | None:
        known = self._known.get(name) or self._nobodies.get(name)
        if known is None:
            return None
        return (
            known if known.is_newer_than(known.fresh_seconds if fresh else KEPT_SECONDS) else None
        )

    async def _renewed(self, name: str, fresh: bool) -> _Known:
        """Ask GitHub, and remember; what was known has to do when GitHub can't say."""
        before = self._known.get(name)
        usable = before if before is not None and before.is_newer_than(IN_NEED_SECONDS) else None
        self._admit(name)
        known: _Known | None = None
        with trio.move_on_after(math.inf if usable is None else ANSWER_SECONDS):
            try:
                async with self._limiter:
                    known = await self._fetch(name)
            except GitHubError as error:
                if usable is None or not error.passing:
                    raise
        if known is None:
            assert usable is not None
            return usable
        if fresh and before is not None and (known.user, known.keys) == (before.user, before.keys):
            longer = min(2 * before.fresh_seconds, KEPT_SECONDS)
            known = replace(known, fresh_seconds=longer)
        self._remember(name, known)
        return known

    def _remember(self, name: str, known: _Known) -> None:
        self._known.pop(name, None)
        self._nobodies.pop(name, None)
        kept, most = (self._known, KEPT_LOGINS) if known.user else (self._nobodies, KEPT_NOBODIES)
        kept[name] = known
        if len(kept) > most:
            kept.popitem(last=False)

    def _admit(self, name: str) -> None:
        """Spend from the strangers' allowance, unless the login is a known user's."""
        if name in self._known:
            return
        now = trio.current_time()
        earned = (now - (self._counted_at or now)) * STRANGERS_A_MINUTE / 60
        self._strangers = min(self._strangers + earned, STRANGERS_AT_ONCE)
        self._counted_at = now
        if self._strangers < 1:
            message = f"too many unknown logins were looked up; {name} has to wait a moment"
            raise RateLimited(message, 0, 60 / STRANGERS_A_MINUTE)
        self._strangers -= 1

    async def _fetch(self, login: str) -> _Known:
        credential, path = await self.credential(), f"/users/{quote(login)}"
        asked_at = trio.current_time()
        try:
            found = await self.api.call("GET", path, credential=credential)
            user = User(int(found["id"]), str(found.get("node_id", "")), str(found["login"]))
            listed = await self.api.listed(f"{path}/keys?per_page=100", credential=credential)
            keys = tuple(str(entry["key"]) for entry in listed[:MAX_KEYS])
        except NotFound:
            return _Known(None, (), asked_at)
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            raise GitHubError(f"GitHub's answer to GET {path} can't be read") from error
        return _Known(user, keys, asked_at)
