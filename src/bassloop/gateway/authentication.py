"""Authentication: a GitHub login, proven with a key that GitHub lists for it."""

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
        """Return the public keys of a login in OpenSSH's form; none when there is no such login.

        Args:
            fresh: look them up again, for a key that wasn't among those returned before.
        """

    async def confirmed(self, login: str) -> bool:
        """Wait until these are what GitHub says now, however long it doesn't answer.

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
class _Known:
    user: KnownUser | None
    keys: frozenset[str]

    def identity(self, key: str) -> Identity | None:
        if self.user is None or key not in self.keys:
            return None
        return Identity(self.user.id, self.user.login, key)


class Authentication:
    """One connection's attempts to authenticate.

    Users and keys are looked up once for all keys that it tries, and once more, past any cache,
    when one of these is unknown: a key that was added a moment ago works. A login that does not
    exist is answered like a wrong key, and the first refusal takes `refusal_seconds`, or twice or
    three times as long when looking up did, so that not even its time tells one from the other.
    """

    def __init__(self, source: KeySource, *, refusal_seconds: float) -> None:
        self._source = source
        self._refusal_seconds = refusal_seconds
        self._known: dict[str, _Known] = {}
        self._refused = False
        self.tried = 0

    async def check(self, login: str, key: asyncssh.SSHKey) -> Identity | None:
        """Return the user of this login if this is a key of theirs, else None."""
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
    """Sleep until a whole number of times `seconds` has passed since then, at least once."""
    passed = (trio.current_time() - began) / seconds if seconds else 0
    await trio.sleep_until(began + max(math.ceil(passed), 1) * seconds)


async def look_up(source: KeySource, login: str, *, fresh: bool = False) -> _Known:
    """Return a user and its keys; nobody, with a log line, when they can't be looked up."""
    found = _Known(None, frozenset())
    if not LOGIN.fullmatch(login):
        return found
    try:
        found = await _ask(source, login, fresh)
    except Exception as error:  # noqa: BLE001  (GitHub may be down; one login less can connect)
        log.warning("keys not looked up", login=login, error=str(error))
    return found


async def still_is(source: KeySource, identity: Identity) -> bool:
    """Return whether the login is still this user's and has this key. Raises what the source raises."""
    known = await _ask(source, identity.login, fresh=False)
    return known.user is not None and known.user.id == identity.id and identity.key in known.keys


async def _ask(source: KeySource, login: str, fresh: bool) -> _Known:
    """Look up both at once: a login that doesn't exist takes as long as one that does."""
    users: list[KnownUser | None] = []
    keys: list[Sequence[str]] = []

    async def ask_user() -> None:
        users.append(await source.user(login))

    async def ask_keys() -> None:
        keys.append(await source.keys(login, fresh=fresh))

    async with open_flat_nursery() as nursery:
        nursery.start_soon(ask_user)
        nursery.start_soon(ask_keys)
    return _Known(users[0], frozenset(key.split()[1] for key in keys[0] if len(key.split()) > 1))
