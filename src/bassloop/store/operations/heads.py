"""What is known of a commit as somebody's head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.store import heads
from bassloop.store.operations.operations import Operations

if TYPE_CHECKING:
    from bassloop.store.model import Superseded


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
