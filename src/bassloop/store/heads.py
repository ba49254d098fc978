"""Heads: approvals of commits, spot checks, and which commits newer ones have superseded."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.store.checks import void_unanswered
from bassloop.store.deliveries import release_held
from bassloop.store.engine import Subject, reads, writes
from bassloop.store.notifications import Topic
from bassloop.store.records import Approval, Superseded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.store.database import Connection
    from bassloop.store.records import Delivery, User


@dataclass(frozen=True, slots=True)
class SpotCheckRecord:
    """The spot checks of a repository.

    Args:
        passed: how many checks have passed on other than trusted runners, so that a spot check was possible.
        drawn: how many of them were drawn for a spot check.
        states: how many of the trusted runners' runs are in each state.
        newest: the ids of the newest of these runs.
    """

    passed: int
    drawn: int
    states: Mapping[str, int]
    newest: tuple[str, ...]


class Heads(Subject):
    """The heads of branches and pull requests, with their approvals, spot checks and successors."""

    @reads
    def superseded(
        self, db: Connection, repository_id: int, head_sha: str, branch_or_pull: str
    ) -> Superseded | None:
        """Return what superseded a head most recently on a branch or pull request, or None."""
        row = db.execute(
            "SELECT by_sha, at FROM superseded "
            "WHERE repository_id = ? AND head_sha = ? AND place = ?",
            (repository_id, head_sha, branch_or_pull),
        ).fetchone()
        return None if row is None else Superseded(**row)

    async def approve(self, repository_id: int, head_sha: str, by: User) -> list[Delivery]:
        """Store the approval of a head, and release the deliveries that were waiting for it.

        In one transaction: stores the approval, unless there is one; voids the head's check runs that ended
        as `action_required`; and makes deliveries `received` that are `held`, or `done` with such check runs.
        Returns those that this node handles, oldest first; a second call returns none.
        """
        return await self._approve(repository_id, head_sha, Approval(by.id, by.login, time.time()))

    @writes
    def _approve(
        self, db: Connection, repository_id: int, head_sha: str, approval: Approval
    ) -> list[Delivery]:
        db.execute(
            "INSERT INTO approvals (repository_id, head_sha, user_id, login, at) "
            "VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (repository_id, head_sha, approval.user_id, approval.login, approval.at),
        )
        self._engine.database.notify(db, Topic.APPROVALS, f"{repository_id}:{head_sha}")
        waited = void_unanswered(db, repository_id, head_sha)
        return release_held(self._engine, db, f"{repository_id}:{head_sha}", waited)

    @writes
    def draw_spot_check(
        self, db: Connection, repository_id: int, head_sha: str, check: str, drawn: bool
    ) -> bool:
        """Store whether a check of a head is drawn for a spot check, unless that is known; return what is stored."""
        db.execute(
            "INSERT INTO spot_checks (repository_id, head_sha, check_name, drawn) "
            "VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (repository_id, head_sha, check, int(drawn)),
        )
        (stored,) = db.execute(
            "SELECT drawn FROM spot_checks "
            "WHERE repository_id = ? AND head_sha = ? AND check_name = ?",
            (repository_id, head_sha, check),
        ).fetchone()
        return bool(stored)

    @reads
    def is_drawn(self, db: Connection, repository_id: int, head_sha: str, check: str) -> bool:
        """Return whether a check of a head was drawn for a spot check."""
        row = db.execute(
            "SELECT drawn FROM spot_checks "
            "WHERE repository_id = ? AND head_sha = ? AND check_name = ?",
            (repository_id, head_sha, check),
        ).fetchone()
        return row is not None and bool(row["drawn"])

    @reads
    def was_found_out(
        self, db: Connection, repository_id: int, user_id: int, suffix: str, since: float
    ) -> bool:
        """Return whether a spot check of a user has failed since a time.

        Args:
            suffix: the suffix of the names of checks that trusted runners run.
            since: in seconds since the epoch.
        """
        row = db.execute(
            "SELECT 1 FROM spot_checks s JOIN runs r ON r.head_sha = s.head_sha "
            "AND r.repository_id = s.repository_id AND r.check_name = s.check_name || ? "
            "WHERE s.repository_id = ? AND s.drawn = 1 AND r.user_id = ? AND r.state = 'failed' "
            "AND r.ended_at > ? LIMIT 1",
            (suffix, repository_id, user_id, since),
        ).fetchone()
        return row is not None

    @reads
    def spot_checks(
        self, db: Connection, repository_id: int, suffix: str, limit: int
    ) -> SpotCheckRecord:
        """Return the record of a repository's spot checks.

        Args:
            suffix: the suffix of the names of checks that trusted runners run.
            limit: the maximum number of their runs to list.
        """
        drawn = db.execute(
            "SELECT count(*) AS passed, coalesce(sum(drawn), 0) AS drawn FROM spot_checks "
            "WHERE repository_id = ?",
            (repository_id,),
        ).fetchone()
        runs = db.execute(
            "SELECT r.id, r.state FROM spot_checks s JOIN runs r ON r.head_sha = s.head_sha "
            "AND r.repository_id = s.repository_id AND r.check_name = s.check_name || ? "
            "WHERE s.repository_id = ? AND s.drawn = 1 ORDER BY r.seq DESC",
            (suffix, repository_id),
        ).fetchall()
        return SpotCheckRecord(
            passed=int(drawn["passed"]),
            drawn=int(drawn["drawn"]),
            states=Counter(row["state"] for row in runs),
            newest=tuple(row["id"] for row in runs[:limit]),
        )

    @reads
    def approval(self, db: Connection, repository_id: int, head_sha: str) -> Approval | None:
        """Return the approval of a head, or None."""
        row = db.execute(
            "SELECT user_id, login, at FROM approvals WHERE repository_id = ? AND head_sha = ?",
            (repository_id, head_sha),
        ).fetchone()
        return None if row is None else Approval(**row)
