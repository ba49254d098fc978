"""Who a login is, and which SSH keys are theirs: asked seldom, never from a stale memory for long.

An answer is kept for a short time; a key that is not among those kept is asked for again, at most
every few seconds a login, so that a new key works at once and nobody can spend the rate limit.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import trio

from bassloop.github.api import API
from bassloop.github.errors import GitHubError, NotFound
from bassloop.github.models import User

KEPT_SECONDS = 300.0
FRESH_SECONDS = 10.0
KEPT_LOGINS = 10_000
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class _Known:
    user: User | None
    keys: tuple[str, ...]
    asked_at: float


class Keys:
    """GitHub's list of users' public keys.

    Args:
        token: an installation's token if there is one; without, GitHub allows 60 requests an hour.
    """

    def __init__(self, api: API, token: Callable[[], str | None]) -> None:
        self._api = api
        self._token = token
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._lock = trio.Lock()

    async def user(self, login: str) -> User | None:
        """Whose login this is; None for nobody's. Raises GitHubError when GitHub can't say."""
        return (await self._ask(login, KEPT_SECONDS)).user

    async def keys(self, login: str, *, fresh: bool = False) -> list[str]:
        """The login's keys, as lines of an authorized_keys file.

        `fresh` asks again unless it was asked a moment ago: for a key that is not among those known.
        """
        return list((await self._ask(login, FRESH_SECONDS if fresh else KEPT_SECONDS)).keys)

    async def _ask(self, login: str, newer_than: float) -> _Known:
        name = login.lower()
        if not _LOGIN.match(name):
            return _Known(None, (), 0.0)
        async with self._lock:
            known = self._known.get(name)
            if known is None or time.monotonic() - known.asked_at > newer_than:
                known = self._known[name] = await self._fetch(name)
                while len(self._known) > KEPT_LOGINS:
                    self._known.popitem(last=False)
            self._known.move_to_end(name)
            return known

    async def _fetch(self, login: str) -> _Known:
        token, path = self._token(), f"/users/{quote(login)}"
        try:
            found = await self._api.call("GET", path, token=token)
            user = User(int(found["id"]), str(found.get("node_id", "")), str(found["login"]))
            keys = [
                str(entry["key"])
                async for page in self._api.pages(f"{path}/keys?per_page=100", token=token)
                for entry in page
            ]
        except NotFound:
            return _Known(None, (), time.monotonic())
        except (TypeError, KeyError, ValueError) as error:
            raise GitHubError(f"GitHub's answer to GET {path} can't be read") from error
        return _Known(user, tuple(keys), time.monotonic())
