"""What is known of a commit as somebody's head."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bassloop.store import heads
from bassloop.store.model import Approval
from bassloop.store.operations.operations import Operations

if TYPE_CHECKING:
    from bassloop.store.model import Delivery, Superseded, User


class HeadOperations(Operations):
    async def supersede(
        self, repository_id: int, head_sha: str, place: str, by_sha: str, at: float
    ) -> None:
        """Note that a head gave way to another one at a place (a branch, a pull request)."""
        await self._writer.write(
            lambda db: heads.supersede(db, repository_id, head_sha, place, by_sha, at)
        )

    async def superseded(self, repository_id: int, head_sha: str, place: str) -> Superseded | None:
        """What a head gave way to at a place, the last time; None if to nothing."""
        return await self._readers.read(
            lambda db: heads.superseded(db, repository_id, head_sha, place)
        )

    async def approve(self, repository_id: int, head_sha: str, by: User) -> list[Delivery]:
        """Note that somebody said yes to a head, and make `received` again what had waited for that.

        In one transaction: the approval (the first one counts); the head's check runs that ended as
        `action_required` become void; deliveries that are `held`, or `done` but for such check runs,
        are `received`. Returns these, oldest first, without bodies; none when asked again.
        """
        approval = Approval(by.id, by.login, time.time())
        return await self._writer.write(
            lambda db: heads.approve(db, repository_id, head_sha, approval)
        )

    async def approval(self, repository_id: int, head_sha: str) -> Approval | None:
        """Who said yes to a head; None when nobody has."""
        return await self._readers.read(lambda db: heads.approval(db, repository_id, head_sha))
