"""Usage of the limits that all nodes share: concurrent runs per user and repository, and bytes of logs.

A daemon with an SQLite file counts both in memory instead (`checks.quotas`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from bassloop.store.engine import Subject, writes
from bassloop.store.notifications import Topic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.store.database import Connection

FORGET_SECONDS = 2 * 86_400.0
"""How long an unused counter is kept."""


class UserKind(StrEnum):
    """Whose usage is limited."""

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
    """The usage of limits that all nodes share."""

    @writes
    def take_slot(
        self, db: Connection, run_id: str, *, repository_runs: int, user_runs: int
    ) -> UserKind | None:
        """Give a run a slot, until it ends or `free_slot` is called; or return whose limit is reached.

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
            return UserKind.REPOSITORY
        if used["of_user"] >= user_runs:
            return UserKind.USER
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
            self._engine.database.notify(db, Topic.PLACES, "")

    @writes
    def count_logs(
        self, db: Connection, used: Mapping[tuple[UserKind, int], LogUse]
    ) -> dict[tuple[UserKind, int], float]:
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
