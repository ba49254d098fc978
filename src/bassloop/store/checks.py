"""Check runs: how runs appear on GitHub, or will appear once GitHub has created the check run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bassloop.lifecycle import CheckState
from bassloop.store.engine import Subject, reads, writes
from bassloop.store.errors import StoreConflict
from bassloop.store.notifications import Topic
from bassloop.store.records import CheckRun, RepositoryRecord
from bassloop.store.runs import find_run, insert_run, insert_thunk
from bassloop.store.visitors import ensure_repository, ensure_user

if TYPE_CHECKING:
    from bassloop.store.database import Connection, ResultRow
    from bassloop.store.records import Run, ThunkRecord

_FIELDS = tuple(field.name for field in dataclasses.fields(CheckRun))
_COLUMNS = ", ".join("c.id AS row" if name == "row" else f"c.{name}" for name in _FIELDS)

_VOID, _SUPERSEDED = 1, 2
"""The reasons, in the column `void`, why a check run doesn't count."""


class Checks(Subject):
    """The check runs in the store. Each belongs to one run."""

    @writes
    def intend(
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
        `intended`, and stores its `run` and the run's `thunk`, all in one transaction. Void check runs don't
        count.

        Raises StoreConflict if no thunk is given and the run's thunk isn't stored.
        """
        generations = db.execute(
            f"SELECT {_COLUMNS}, c.void FROM check_runs c "
            "WHERE c.repository_id = ? AND c.head_sha = ? AND c.name = ? "
            "ORDER BY c.generation DESC",
            (repository_id, head_sha, name),
        ).fetchall()
        # A check run that a newer head has superseded is void for other events on its head. Its own
        # event, handled again after a crash, must not start it again.
        for row in generations:
            if row["delivery"] == delivery and row["void"] != _VOID:
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
    def void(self, db: Connection, row: int) -> None:
        """Void a check run: when its event is handled again, the next generation is created."""
        db.execute("UPDATE check_runs SET void = ? WHERE id = ?", (_VOID, row))

    @writes
    def supersede(self, db: Connection, row: int) -> None:
        """Void a check run for all events but its own, because a newer head superseded it."""
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


def void_unanswered(db: Connection, repository_id: int, head_sha: str) -> set[str]:
    """Void the check runs of a head that ended as `action_required`, and return the guids of their deliveries.

    Leaves those of a delivery that is still being handled alone.
    """
    rows = db.execute(
        "UPDATE check_runs SET void = ? WHERE repository_id = ? AND head_sha = ? AND void != ? AND "
        "run_id IN (SELECT id FROM runs WHERE head_sha = check_runs.head_sha "
        "AND state = 'action_required') "
        "AND delivery IN (SELECT guid FROM deliveries WHERE state IN ('held', 'done')) "
        "RETURNING delivery",
        (_VOID, repository_id, head_sha, _VOID),
    ).fetchall()
    return {str(row["delivery"]) for row in rows}


def _check_run(row: ResultRow) -> CheckRun:
    values = {name: row[name] for name in _FIELDS}
    return CheckRun(**{**values, "state": CheckState(values["state"])})
