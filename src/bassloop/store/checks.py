"""Check runs: what GitHub shows for runs, or is about to show."""

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
"""The reasons in the column `void` for which a check run doesn't count."""


class Checks(Subject):
    """The check runs in the store, each with its run."""

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
        """Return the check run of a name on a head, and whether it was created just now.

        In one transaction: the one that this delivery created before is returned again; otherwise
        the latest generation, unless there is none or this is a `rerun`; otherwise the next
        generation is created, `intended`, together with its `run`, which isn't stored in the other
        cases. Void check runs don't count. The run's `thunk` is stored like in `Thunks.put`.

        Raises StoreConflict if no thunk is given and the run's thunk isn't stored.
        """
        generations = db.execute(
            f"SELECT {_COLUMNS}, c.void FROM check_runs c "
            "WHERE c.repository_id = ? AND c.head_sha = ? AND c.name = ? "
            "ORDER BY c.generation DESC",
            (repository_id, head_sha, name),
        ).fetchall()
        # A check run that was cancelled for a newer head is void for other events that come back to
        # its head. Its own event, when handled again after a crash, doesn't begin it anew.
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
        """Return the names of all checks of a head."""
        rows = db.execute(
            "SELECT DISTINCT name FROM check_runs WHERE repository_id = ? AND head_sha = ?",
            (repository_id, head_sha),
        )
        return {row["name"] for row in rows}

    @writes
    def bind(self, db: Connection, row: int, github_id: int) -> None:
        """Store GitHub's id of a check run, which is `open` now.

        Raises StoreConflict if it isn't stored or is bound to another id.
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
        """Note that GitHub took a check run's conclusion; return False if it was noted before."""
        changed = db.execute(
            "UPDATE check_runs SET state = 'concluded', conclusion = ? "
            "WHERE id = ? AND state != 'concluded'",
            (conclusion, row),
        )
        return bool(changed.rowcount)

    @writes
    def postpone(self, db: Connection, row: int, until: float) -> None:
        """Note that GitHub didn't take a check run's conclusion, and when to try again."""
        db.execute(
            "UPDATE check_runs SET tries = tries + 1, try_after = ? WHERE id = ?", (until, row)
        )

    @writes
    def void(self, db: Connection, row: int) -> None:
        """Make a check run void: when its event is handled again, the next generation is created."""
        db.execute("UPDATE check_runs SET void = ? WHERE id = ?", (_VOID, row))

    @writes
    def supersede(self, db: Connection, row: int) -> None:
        """Make a check run void for other events than its own, because a newer head cancelled it."""
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
        """Return the check run that shows a run, or None."""
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
    """Make void a head's check runs that ended as `action_required`.

    Those of a delivery that is still being handled stay. Returns the guids of their deliveries.
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
