"""Repositories and whether they are public, and the sessions of those who signed in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bassloop.store import visitors
from bassloop.store.operations.operations import Operations

if TYPE_CHECKING:
    from bassloop.store.model import RepositoryRecord, Session


class VisitorOperations(Operations):
    async def put_repository(self, now: RepositoryRecord) -> None:
        """Keep what a repository is now. All its runs, also those of before, are public or private
        as it is: so it is on GitHub, where old logs are shown and hidden with their repository."""
        await self._writer.write(lambda db: visitors.put_repository(db, now))

    async def repository(self, repository_id: int) -> RepositoryRecord | None:
        return await self._readers.read(lambda db: visitors.repository(db, repository_id))

    async def private_repositories(self, limit: int) -> list[int]:
        """The ids of repositories that are not public and have runs, the latest used first."""
        return await self._readers.read(lambda db: visitors.private_repositories(db, limit))

    async def public_repositories(self, limit: int) -> list[RepositoryRecord]:
        """Those that are public and have runs, the latest used first."""
        return await self._readers.read(lambda db: visitors.public_repositories(db, limit))

    async def begin_session(self, secret: str, user_id: int, seconds: float) -> float:
        """Keep a session of a known user under a secret that the store does not keep. Returns when
        it ends by itself, in seconds since the epoch. StoreConflict for an unknown user."""
        now = time.time()
        await self._writer.write(
            lambda db: visitors.begin_session(db, secret, user_id, now, now + seconds)
        )
        return now + seconds

    async def session(self, secret: str) -> Session | None:
        """The session that has this secret, if it has not ended."""
        now = time.time()
        return await self._readers.read(lambda db: visitors.session(db, secret, now))

    async def end_session(self, secret: str) -> bool:
        """End a session; whether there was one."""
        return await self._writer.write(lambda db: visitors.end_session(db, secret))

    async def end_sessions(self, user_id: int) -> int:
        """End all sessions of a user. Returns how many there were."""
        return await self._writer.write(lambda db: visitors.end_sessions(db, user_id))
