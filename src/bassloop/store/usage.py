"""The usage of limits that all nodes share.

`Usage` has concurrent runs per user and repository, and bytes of logs. A daemon with an SQLite file counts both in
memory instead (`checks.quotas`).

`Spending` has how much of GitHub's rate limits is used up, so that neither a restart nor another node exceeds them. If
nodes share the database, its times are stored by the database's clock, the only one that all of them share. The methods
take and return times by the clock of the caller's machine.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from bassloop.store.engine import Subject, reads, writes
from bassloop.store.notifications import Topic
from bassloop.store.records import RecentSpending, SpendingRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bassloop.store.database import Connection


FORGET_SECONDS = 2 * 86_400.0
"""How long an unused counter is kept."""


class QuotaScope(StrEnum):
    """What a limit applies to."""

    USER = "user"
    REPOSITORY = "repository"


class LogUse(NamedTuple):
    """An amount of log bytes to count.

    Args:
        size: in bytes.
        rate: the bytes per second by which the counter decreases, as in a leaky bucket.
    """

    size: int
    rate: float


class Usage(Subject):
    """The runs that have a slot, and the bytes of logs that were written lately."""

    @writes
    def take_slot(
        self, db: Connection, run_id: str, *, repository_runs: int, user_runs: int
    ) -> QuotaScope | None:
        """Give a run a slot, until it ends or `free_slot` is called; or return which limit is reached.

        Args:
            repository_runs: how many runs of its repository may have a slot.
            user_runs: how many runs of its user may have a slot.
        """
        used = db.execute(
            "SELECT coalesce(sum(CASE WHEN o.repository_id = r.repository_id THEN 1 ELSE 0 END), 0) AS repository, "
            "coalesce(sum(CASE WHEN o.user_id = r.user_id THEN 1 ELSE 0 END), 0) AS of_user "
            "FROM runs r JOIN runs o ON o.id != r.id "
            "WHERE r.id = ? AND o.state IN ('queued', 'running') AND o.has_place = 1",
            (run_id,),
        ).fetchone()
        if used["repository"] >= repository_runs:
            return QuotaScope.REPOSITORY
        if used["of_user"] >= user_runs:
            return QuotaScope.USER
        db.execute("UPDATE runs SET has_place = 1 WHERE id = ?", (run_id,))
        return None

    @writes
    def free_slot(self, db: Connection, run_id: str) -> None:
        """Free the slot of a run of this node, and notify runs that are waiting for one."""
        freed = db.execute(
            "UPDATE runs SET has_place = 0 WHERE id = ? AND node = ? AND has_place = 1",
            (run_id, self._engine.node),
        ).rowcount
        if freed:
            self._engine.database.notify(db, Topic.SLOTS, "")

    @writes
    def count_logs(
        self, db: Connection, used: Mapping[tuple[QuotaScope, int], LogUse]
    ) -> dict[tuple[QuotaScope, int], float]:
        """Add bytes of logs to the counters, and return the counters' current values."""
        now = self._engine.database.now(db)
        counted = {}
        for (kind, id_), (size, rate) in used.items():
            row = db.execute(
                "INSERT INTO log_usage (kind, id, bytes, at) VALUES (:kind, :id, :size, :now) "
                "ON CONFLICT (kind, id) DO UPDATE SET at = excluded.at, bytes = excluded.bytes + "
                "CASE WHEN log_usage.bytes > :rate * (:now - log_usage.at) "
                "THEN log_usage.bytes - :rate * (:now - log_usage.at) ELSE 0 END RETURNING bytes",
                {"kind": kind, "id": id_, "size": float(size), "rate": rate, "now": now},
            ).fetchone()
            counted[kind, id_] = float(row["bytes"])
        db.execute("DELETE FROM log_usage WHERE at < ?", (now - FORGET_SECONDS,))
        return counted


KEPT_SECONDS = 24 * 3600.0
OTHERS_SECONDS = 300.0
"""How long a node counts what another one has stored.

GitHub's limits cover a minute, and points that were reserved then could be spent for half a minute more.
"""


@dataclass(frozen=True, slots=True)
class OthersSpending:
    """The points that other nodes have spent lately with a credential. All times are in seconds since the epoch.

    Args:
        spent: times, points and purposes.
        reserved: for each node, when it stored its spending, and how many points it may have spent since then.
        closed_until: when GitHub accepts the credential's calls again.
    """

    spent: tuple[tuple[float, int, str], ...]
    reserved: tuple[tuple[float, int], ...]
    closed_until: float


class Spending(Subject):
    """The points that were recently spent with each credential."""

    async def put(
        self,
        credential: str,
        *,
        at: float,
        spent: Sequence[tuple[float, int]],
        purposes: Sequence[str],
        reserved: int,
        closed_until: float,
    ) -> None:
        """Store what was spent with a credential, and delete credentials that weren't used for a day.

        Raises StoreFull, StoreLocked or StoreUnreachable at once, since a call to GitHub doesn't wait for the
        database.

        Args:
            at: the current time, in seconds since the epoch.
            spent: pairs of a time, in seconds since the epoch, and points.
            purposes: the purpose of each entry of `spent`.
            reserved: the points that may be spent before the next call of this method.
            closed_until: when GitHub accepts the credential's calls again, in seconds since the epoch.
        """
        name = f"{credential}\t{self._engine.node}" if self._engine.node else credential

        def put(db: Connection) -> None:
            ahead = self._clock_ahead(db)
            times = [(when - ahead, points) for when, points in spent] if ahead else spent
            row = (
                name,
                at - ahead,
                json.dumps(times),
                json.dumps(purposes),
                reserved,
                closed_until - ahead,
            )
            db.execute(
                "INSERT INTO spending (credential, at, spent, purposes, reserved, closed_until) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (credential) DO UPDATE SET at = excluded.at, "
                "spent = excluded.spent, purposes = excluded.purposes, "
                "reserved = excluded.reserved, closed_until = excluded.closed_until",
                row,
            )
            db.execute("DELETE FROM spending WHERE at < ?", (at - ahead - KEPT_SECONDS,))

        await self._engine.write(put, wait=False)

    @reads
    def recent(self, db: Connection, since: float) -> dict[str, RecentSpending]:
        """Return the points that were spent with each credential since a time."""
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

        If nodes share the database, only `closed_until` is complete: see `of_others` for the points of other nodes.
        """
        ahead, own = self._clock_ahead(db), self._engine.node
        found: dict[str, SpendingRecord] = {}
        for row in db.execute("SELECT credential, spent, reserved, closed_until FROM spending"):
            credential, _, node = str(row["credential"]).partition("\t")
            before = found.get(credential, SpendingRecord((), 0, 0.0))
            spent, reserved = before.spent, before.reserved
            if node == own:
                spent += tuple((int(at), int(points)) for at, points in json.loads(row["spent"]))
                reserved += int(row["reserved"])
            closed_until = max(before.closed_until, float(row["closed_until"]) + ahead)
            found[credential] = SpendingRecord(spent, reserved, closed_until)
        return found

    @reads
    def of_others(self, db: Connection, credential: str) -> OthersSpending:
        """Return what other nodes, including lost ones, have recently spent with a credential."""
        own, prefix = self._engine.node, f"{credential}\t"
        if not own:
            return OthersSpending((), (), 0.0)
        ahead, closed_until = self._clock_ahead(db), 0.0
        spent: list[tuple[float, int, str]] = []
        reserved: list[tuple[float, int]] = []
        for row in db.execute(
            "SELECT * FROM spending WHERE at >= ? AND substr(credential, 1, ?) = ? AND credential != ?",
            (self._engine.database.now(db) - OTHERS_SECONDS, len(prefix), prefix, prefix + own),
        ):
            purposes = json.loads(row["purposes"])
            spent += (
                (float(at) + ahead, int(points), str(purpose))
                for (at, points), purpose in zip(json.loads(row["spent"]), purposes, strict=False)
            )
            reserved.append((float(row["at"]) + ahead, int(row["reserved"])))
            closed_until = max(closed_until, float(row["closed_until"]) + ahead)
        return OthersSpending(tuple(spent), tuple(reserved), closed_until)

    def _clock_ahead(self, db: Connection) -> float:
        """Return by how many seconds this machine's clock is ahead of the database's; 0 if only one daemon uses it."""
        return time.time() - self._engine.database.now(db) if self._engine.node else 0.0
