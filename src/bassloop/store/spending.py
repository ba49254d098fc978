"""The spent points of GitHub's rate limits, so that a restart doesn't spend them again."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from bassloop.store.claims import LIVE
from bassloop.store.engine import Subject, reads
from bassloop.store.records import RecentSpending, SpendingRecord

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
        purposes: Sequence[str],
        reserved: int,
        closed_until: float,
    ) -> None:
        """Store what a credential has spent, and forget those that were not used for a day.

        Raises StoreFull or StoreLocked at once: a call to GitHub doesn't wait for the disk.

        Args:
            at: seconds since the epoch.
            spent: seconds since the epoch, and points.
            purposes: what each of those was spent on.
            reserved: the points that are being spent, and may be from now on.
            closed_until: when GitHub accepts the credential's calls again, in seconds since the epoch.
        """
        name = f"{credential}\t{self._engine.node}" if self._engine.node else credential
        row = (name, at, json.dumps(spent), json.dumps(purposes), reserved, closed_until)

        def put(db: Connection) -> None:
            db.execute(
                "INSERT INTO spending (credential, at, spent, purposes, reserved, closed_until) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (credential) DO UPDATE SET at = excluded.at, "
                "spent = excluded.spent, purposes = excluded.purposes, "
                "reserved = excluded.reserved, closed_until = excluded.closed_until",
                row,
            )
            db.execute("DELETE FROM spending WHERE at < ?", (at - KEPT_SECONDS,))

        await self._engine.write(put, wait=False)

    @reads
    def recent(self, db: Connection, since: float) -> dict[str, RecentSpending]:
        """Return the points that each credential has spent since a time."""
        found: dict[str, RecentSpending] = {}
        for row in db.execute("SELECT * FROM spending WHERE at >= ?", (since,)):
            credential = str(row["credential"]).partition("\t")[0]
            before = found.get(credential, RecentSpending(0, {}, 0.0))
            purposes = Counter(before.purposes)
            spent = json.loads(row["spent"])
            for (at, points), purpose in zip(spent, json.loads(row["purposes"]), strict=False):
                purposes[purpose] += points if at >= since else 0
            points = before.points + int(row["reserved"])
            points += sum(each for at, each in spent if at >= since)
            closed_until = max(before.closed_until, float(row["closed_until"]))
            found[credential] = RecentSpending(points, +purposes, closed_until)
        return found

    @reads
    def all(self, db: Connection) -> dict[str, SpendingRecord]:
        """Return the points that earlier processes have spent, by credential.

        What other nodes spend isn't in it: each has a share of what may be spent.
        """
        live = {row["id"] for row in db.execute(LIVE)}
        found: dict[str, SpendingRecord] = {}
        for row in db.execute("SELECT credential, spent, reserved, closed_until FROM spending"):
            credential, _, node = str(row["credential"]).partition("\t")
            before = found.get(credential, SpendingRecord((), 0, 0.0))
            spent, reserved = before.spent, before.reserved
            if node not in live:
                spent += tuple((int(at), int(points)) for at, points in json.loads(row["spent"]))
                reserved += int(row["reserved"])
            closed_until = max(before.closed_until, float(row["closed_until"]))
            found[credential] = SpendingRecord(spent, reserved, closed_until)
        return found
