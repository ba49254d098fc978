"""Authentication: a GitHub login, proven by a key that GitHub lists for it."""

from __future__ import annotations

import base64
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from bassloop.concurrency import open_flat_nursery

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncssh

log = structlog.get_logger(__name__)

LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class KnownUser(Protocol):
    """A user of GitHub."""

    @property
    def id(self) -> int: ...

    @property
    def login(self) -> str: ...


class KeySource(Protocol):
    """Looks up logins and their keys, on GitHub. May be slow and may fail."""

    async def user(self, login: str) -> KnownUser | None:
        """Return the user of this login, or None."""

    async def keys(self, login: str, *, fresh: bool = False) -> Sequence[str]:
        """Return the public keys of a login in OpenSSH's format; none if the login doesn't exist.

        Args:
            fresh: look them up again, because a key wasn't among those returned before.
        """

    async def confirmed(self, login: str) -> bool:
        """Wait until GitHub has confirmed the user and keys, even if it's down for a long time.

        Return whether they had to be looked up again for that.
        """


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated user."""

    id: int
    login: str
    key: str
    """The public key's data, in base64."""


@dataclass(frozen=True, slots=True)
class _UserKeys:
    user: KnownUser | None
    keys: frozenset[str]

    def identity(self, key: str) -> Identity | None:
        if self.user is None or key not in self.keys:
            return None
        return Identity(self.user.id, self.user.login, key)


class Authentication:
    """One connection's attempts to authenticate.

    The user and keys are looked up once for all keys that the connection tries. If a key is unknown, they are looked up
    once more, bypassing caches, so a key that has just been added works. A login that doesn't exist gets the same
    answer as a wrong key. The first refusal takes `refusal_seconds`, or a multiple of that if the lookup took longer,
    so the time doesn't reveal which of the two it was.
    """

    def __init__(self, source: KeySource, *, refusal_seconds: float) -> None:
        self._source = source
        self._refusal_seconds = refusal_seconds
        self._known: dict[str, _UserKeys] = {}
        self._refused = False
        self.tried = 0

    async def check(self, login: str, key: asyncssh.SSHKey) -> Identity | None:
        """Return the login's user if this is one of their keys, otherwise None."""
        began = trio.current_time()
        self.tried += 1
        data = base64.b64encode(key.public_data).decode()
        if login not in self._known:
            self._known = {login: await look_up(self._source, login)}
        found = self._known[login].identity(data)
        if found is None and not self._refused:
            self._refused = True
            self._known = {login: await look_up(self._source, login, fresh=True)}
            found = self._known[login].identity(data)
            if found is None:
                await _until_whole(self._refusal_seconds, began)
        return found


async def _until_whole(seconds: float, began: float) -> None:
    """Sleep until a positive multiple of `seconds` has passed since `began`."""
    passed = (trio.current_time() - began) / seconds if seconds else 0
    await trio.sleep_until(began + max(math.ceil(passed), 1) * seconds)


async def look_up(source: KeySource, login: str, *, fresh: bool = False) -> _UserKeys:
    """Return a user and their keys. If they can't be looked up, log that and return no user."""
    found = _UserKeys(None, frozenset())
    if not LOGIN.fullmatch(login):
        return found
    try:
        found = await _fetch(source, login, fresh)
    except Exception as error:  # noqa: BLE001  (GitHub may be down, which only affects this login)
        log.warning("keys not looked up", login=login, error=str(error))
    return found


async def is_still_valid(source: KeySource, identity: Identity) -> bool:
    """Return whether the login still belongs to this user and has this key. Raises what the source does."""
    known = await _fetch(source, identity.login, fresh=False)
    return known.user is not None and known.user.id == identity.id and identity.key in known.keys


async def _fetch(source: KeySource, login: str, fresh: bool) -> _UserKeys:
    """Look up both concurrently, so a login that doesn't exist takes as long as one that does."""
    users: list[KnownUser | None] = []
    keys: list[Sequence[str]] = []

    async def fetch_user() -> None:
        users.append(await source.user(login))

    async def fetch_keys() -> None:
        keys.append(await source.keys(login, fresh=fresh))

    async with open_flat_nursery() as nursery:
        nursery.start_soon(fetch_user)
        nursery.start_soon(fetch_keys)
    return _UserKeys(users[0], frozenset(key.split()[1] for key in keys[0] if len(key.split()) > 1))
