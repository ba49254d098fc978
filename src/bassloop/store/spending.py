"""What is spent of GitHub's rate limits, so that a restart doesn't spend it again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bassloop.store.engine import Subject, reads
from bassloop.store.records import SpendingRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store.database import Connection

KEPT_SECONDS = 24 * 3600.0


class Spending(Subject):
    """The points that each credential has spent lately."""

    async def put(
        self,
        credential: str,
        *,
        at: float,
        spent: Sequence[tuple[int, int]],
        reserved: int,
        closed_until: float,
    ) -> None:
        """Store what a credential has spent, and forget those that were not used for a day.

        Raises StoreFull or StoreLocked at once: a call to GitHub doesn't wait for the disk.

        Args:
            at: seconds since the epoch.
            spent: seconds since the epoch, and points.
            reserved: the points that are being spent, and may be from now on.
            closed_until: when GitHub accepts the credential's calls again, in seconds since the epoch.
        """
        row = (credential, at, json.dumps(spent), reserved, closed_until)

        def put(db: Connection) -> None:
            db.execute(
                "INSERT INTO spending (credential, at, spent, reserved, closed_until) "
                "VALUES (?, ?, ?, ?, ?) ON CONFLICT (credential) DO UPDATE SET at = excluded.at, "
                "spent = excluded.spent, reserved = excluded.reserved, "
                "closed_until = excluded.closed_until",
                row,
            )
            db.execute("DELETE FROM spending WHERE at < ?", (at - KEPT_SECONDS,))

        await self._engine.write(put, wait=False)

    @reads
    def all(self, db: Connection) -> dict[str, SpendingRecord]:
        """Return what is stored, by credential."""
        rows = db.execute("SELECT credential, spent, reserved, closed_until FROM spending")
        return {
            row["credential"]: SpendingRecord(
                tuple((int(at), int(points)) for at, points in json.loads(row["spent"])),
                row["reserved"],
                row["closed_until"],
            )
            for row in rows
        }
