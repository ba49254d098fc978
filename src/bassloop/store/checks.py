"""Check runs, and the heads that they are on.

A check run is how a run appears on GitHub, or will appear once GitHub has created it. Heads have approvals, spot
checks, and newer heads that superseded them.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.lifecycle import CheckState
from bassloop.store.deliveries import release_held
from bassloop.store.engine import Subject, reads, writes
from bassloop.store.errors import StoreConflict
from bassloop.store.notifications import Topic
from bassloop.store.records import Approval, CheckRun, RepositoryRecord, Superseded
from bassloop.store.runs import find_run, insert_run, insert_thunk
from bassloop.store.visitors import ensure_repository, ensure_user

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.store.database import Connection, ResultRow
    from bassloop.store.records import Delivery, Run, ThunkRecord, User


_FIELDS = tuple(field.name for field in dataclasses.fields(CheckRun))
_COLUMNS = ", ".join("c.id AS row" if name == "row" else f"c.{name}" for name in _FIELDS)

_INVALID, _SUPERSEDED = 1, 2
"""The reasons, in the column `void`, why a check run doesn't count."""


class Checks(Subject):
    """The check runs in the store. Each belongs to one run."""

    @writes
    def get_or_create(
        self,
        db: Connection,
        repository_id: int,
        repository: str,
        installation_id: int,
        head_sha: str,
        name: str,
        delivery: str,
        rerun: bool,
        run: Run,
        thunk: ThunkRecord | None = None,
    ) -> tuple[CheckRun, bool]:
        """Return the check run with a name on a head, and whether this call has created it.

        If this delivery has created one before, returns that. Otherwise, unless this is a `rerun`, returns
        the latest generation. If there is none, or this is a rerun, creates the next generation in the state
        `intended`, and stores its `run` and the run's `thunk`, all in one transaction. Check runs that
        were invalidated don't count.

        Raises StoreConflict if no thunk is given and the run's thunk isn't stored.
        """
        generations = db.execute(
            f"SELECT {_COLUMNS}, c.void FROM check_runs c "
            "WHERE c.repository_id = ? AND c.head_sha = ? AND c.name = ? "
            "ORDER BY c.generation DESC",
            (repository_id, head_sha, name),
        ).fetchall()
        # A check run that a newer head has superseded is invalid for other events on its head. Its
        # own event, handled again after a crash, must not start it again.
        for row in generations:
            if row["delivery"] == delivery and row["void"] != _INVALID:
                return _check_run(row), False
        counted = [row for row in generations if not row["void"]]
        if counted and not rerun:
            return _check_run(counted[0]), False
        ensure_user(db, run.user_id, run.login)
        if thunk is not None:
            insert_thunk(db, thunk)
        stored = ensure_repository(
            db,
            RepositoryRecord(repository_id, repository, installation_id, run.public),
            run.created_at,
        )
        # The delivery's payload may be older than the event that made the repository private.
        own = dataclasses.replace(run, node=self._engine.node)
        insert_run(db, own, public=run.public and stored.public)
        self._engine.database.notify(db, Topic.RUNS, run.id)
        row = db.execute(
            "INSERT INTO check_runs (repository_id, repository, installation_id, head_sha, name, "
            "generation, run_id, state, delivery) VALUES (?, ?, ?, ?, ?, ?, ?, 'intended', ?) "
            "RETURNING id AS row, *",
            (
                repository_id,
                repository,
                installation_id,
                head_sha,
                name,
                generations[0]["generation"] + 1 if generations else 1,
                run.id,
                delivery,
            ),
        ).fetchone()
        return _check_run(row), True

    @reads
    def names(self, db: Connection, repository_id: int, head_sha: str) -> set[str]:
        """Return the names of all checks on a head."""
        rows = db.execute(
            "SELECT DISTINCT name FROM check_runs WHERE repository_id = ? AND head_sha = ?",
            (repository_id, head_sha),
        )
        return {row["name"] for row in rows}

    @writes
    def bind(self, db: Connection, row: int, github_id: int) -> None:
        """Store GitHub's id of a check run, and make it `open` if it was `intended`.

        Raises StoreConflict if the check run isn't stored, or has another id.
        """
        changed = db.execute(
            "UPDATE check_runs SET github_id = :github_id, "
            "state = CASE state WHEN 'intended' THEN 'open' ELSE state END "
            "WHERE id = :row AND (github_id IS NULL OR github_id = :github_id)",
            {"row": row, "github_id": github_id},
        ).rowcount
        if not changed:
            raise StoreConflict(
                f"check run {row} is not stored, or is bound to another id of GitHub's"
            )

    @writes
    def conclude(self, db: Connection, row: int, conclusion: str) -> bool:
        """Record that GitHub accepted a check run's conclusion. Return False if that was recorded before."""
        changed = db.execute(
            "UPDATE check_runs SET state = 'concluded', conclusion = ? "
            "WHERE id = ? AND state != 'concluded'",
            (conclusion, row),
        )
        return bool(changed.rowcount)

    @writes
    def postpone(self, db: Connection, row: int, until: float) -> None:
        """Record that GitHub didn't accept a check run's conclusion, and when to retry."""
        db.execute(
            "UPDATE check_runs SET tries = tries + 1, try_after = ? WHERE id = ?", (until, row)
        )

    @writes
    def invalidate(self, db: Connection, row: int) -> None:
        """Make a check run invalid: when its event is handled again, the next generation is created."""
        db.execute("UPDATE check_runs SET void = ? WHERE id = ?", (_INVALID, row))

    @writes
    def supersede(self, db: Connection, row: int) -> None:
        """Make a check run invalid for all events but its own, because a newer head superseded it."""
        db.execute("UPDATE check_runs SET void = ? WHERE id = ?", (_SUPERSEDED, row))

    @reads
    def unfinished(self, db: Connection) -> list[tuple[CheckRun, Run]]:
        """Return the check runs that aren't concluded, oldest first, each with its run."""
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM check_runs c WHERE c.state != 'concluded' ORDER BY c.id"
        ).fetchall()
        found = []
        for row in rows:
            check_run = _check_run(row)
            run = find_run(db, check_run.run_id)
            assert run is not None, "a foreign key ties a check run to its run"
            found.append((check_run, run))
        return found

    @reads
    def of_run(self, db: Connection, run_id: str) -> CheckRun | None:
        """Return the check run of a run, or None."""
        row = db.execute(
            f"SELECT {_COLUMNS} FROM check_runs c WHERE c.run_id = ?", (run_id,)
        ).fetchone()
        return None if row is None else _check_run(row)

    @reads
    def by_github_id(self, db: Connection, github_id: int) -> CheckRun | None:
        """Return the check run with GitHub's id, or None."""
        row = db.execute(
            f"SELECT {_COLUMNS} FROM check_runs c WHERE c.github_id = ?", (github_id,)
        ).fetchone()
        return None if row is None else _check_run(row)


def invalidate_unanswered(db: Connection, repository_id: int, head_sha: str) -> set[str]:
    """Invalidate the check runs of a head that ended as `action_required`, and return the guids of their deliveries.

    Leaves those of a delivery that is still being handled alone.
    """
    rows = db.execute(
        "UPDATE check_runs SET void = ? WHERE repository_id = ? AND head_sha = ? AND void != ? AND "
        "run_id IN (SELECT id FROM runs WHERE head_sha = check_runs.head_sha "
        "AND state = 'action_required') "
        "AND delivery IN (SELECT guid FROM deliveries WHERE state IN ('held', 'done')) "
        "RETURNING delivery",
        (_INVALID, repository_id, head_sha, _INVALID),
    ).fetchall()
    return {str(row["delivery"]) for row in rows}


def _check_run(row: ResultRow) -> CheckRun:
    values = {name: row[name] for name in _FIELDS}
    return CheckRun(**{**values, "state": CheckState(values["state"])})


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

        In one transaction: stores the approval, unless there is one; invalidates the head's check runs that ended
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
        waited = invalidate_unanswered(db, repository_id, head_sha)
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
