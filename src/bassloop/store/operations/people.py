"""People whom GitHub knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.store import runs
from bassloop.store.operations.operations import Operations

if TYPE_CHECKING:
    from bassloop.store.model import User


class PeopleOperations(Operations):
    async def put_user(self, user: User) -> None:
        """Keep a user, or their new login."""
        await self._writer.write(lambda db: runs.put_user(db, user))

    async def user(self, user_id: int) -> User | None:
        return await self._readers.read(lambda db: runs.user(db, user_id))
