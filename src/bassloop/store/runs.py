"""Runs, the thunks that they run, and the statements that runners have signed about them."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from bassloop.lifecycle import RUN_FINAL, RunState, states_before
from bassloop.store.claims import LIVE, RequestKind, send_request
from bassloop.store.engine import Subject, page_size, reads, writes
from bassloop.store.errors import ClaimLost, NotStored, StoreConflict
from bassloop.store.notifications import Topic
from bassloop.store.records import Page, Run, StatementRecord, ThunkRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bassloop.store.database import Connection, ResultRow


_FIELDS = tuple(field.name for field in dataclasses.fields(Run))
_COLUMNS = ", ".join(
    "coalesce(r.thunk_digest, '') AS thunk_digest" if name == "thunk_digest" else f"r.{name}"
    for name in _FIELDS
)

_CONDITIONS = {
    "repository": "r.repository = :repository COLLATE NOCASE",
    "login": "r.login = :login COLLATE NOCASE",
    "head_sha": "r.head_sha = :head_sha",
    "head_branch": "r.head_branch = :head_branch",
    "pull_request": "r.pull_request = :pull_request",
    "check_name": "r.check_name = :check_name",
    "delivery": "r.delivery = :delivery",
    "state": "r.state = :state",
    "thunk_digest": "r.thunk_digest = :thunk_digest",
    "states": "r.state IN (SELECT value FROM json_each(:states))",
    "pushed": "(r.pull_request IS NULL) = :pushed",
}
READABLE = (
    "(r.public = 1 OR r.repository_id IN (SELECT CAST(value AS BIGINT) FROM json_each(:readable)))"
)

MAX_RUNS_SEARCHED = 5_000
"""How many of a repository's newest runs are searched for the latest run of each check."""

_STATEMENT_FIELDS = tuple(field.name for field in dataclasses.fields(StatementRecord))


class Runs(Subject):
    """The runs in the store. Each is created with its check run, by `Checks.get_or_create`."""

    @reads
    def get(self, db: Connection, run_id: str) -> Run | None:
        """Return a run, or None."""
        return find_run(db, run_id)

    @reads
    def unfinished(self, db: Connection) -> list[Run]:
        """Return the runs that are queued or running, oldest first."""
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM runs r WHERE r.state IN ('queued', 'running') ORDER BY r.seq"
        )
        return [_run(row) for row in rows]

    @reads
    def delivery_has_any(self, db: Connection, guid: str) -> bool:
        """Return whether a delivery has any run."""
        row = db.execute("SELECT 1 FROM runs WHERE delivery = ? LIMIT 1", (guid,)).fetchone()
        return row is not None

    @reads
    def newest(
        self,
        db: Connection,
        limit: int = 50,
        before: str | None = None,
        *,
        public_only: bool = True,
        readable: Collection[int] = (),
        repository: str | None = None,
        login: str | None = None,
        head_sha: str | None = None,
        head_branch: str | None = None,
        pull_request: int | None = None,
        check_name: str | None = None,
        delivery: str | None = None,
        state: str | None = None,
        states: Collection[str] | None = None,
        pushed: bool | None = None,
        thunk_digest: str | None = None,
    ) -> Page[Run]:
        """Return a page of runs, newest first, that match each argument that isn't None.

        Args:
            before: the `next` of the previous page.
            public_only: leave out runs of private repositories, except for those in `readable`.
            readable: the ids of private repositories to include.
            repository: its full name, in any case.
            login: a user's login, in any case.
            pushed: True for runs of branches, False for runs of pull requests.
        """
        where, values = _narrowed(
            public_only,
            readable,
            repository=repository,
            login=login,
            head_sha=head_sha,
            head_branch=head_branch,
            pull_request=pull_request,
            check_name=check_name,
            delivery=delivery,
            state=state,
            states=None if states is None else json.dumps(sorted(states)),
            pushed=pushed,
            thunk_digest=thunk_digest,
        )
        if before is not None:
            # Not even the position of a hidden run may leak.
            visible = READABLE if public_only else "TRUE"
            where += f" AND r.seq < (SELECT r.seq FROM runs r WHERE r.id = :before AND {visible})"
        size = page_size(limit)
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM runs r WHERE {where} ORDER BY r.seq DESC LIMIT :limit + 1",
            {**values, "before": before, "limit": size},
        ).fetchall()
        items = tuple(_run(row) for row in rows[:size])
        return Page(items, items[-1].id if len(rows) > size else None)

    @reads
    def failed_on(self, db: Connection, run: Run, logins: Collection[str]) -> list[Run]:
        """Return the failed runs of the same check and head on runners of these users, newest first.

        Args:
            logins: in any case.
        """
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM runs r WHERE r.repository_id = :repository_id "
            "AND r.head_sha = :head_sha AND r.check_name = :check_name AND r.state = 'failed' "
            "AND lower(r.runner_login) IN (SELECT value FROM json_each(:logins)) ORDER BY r.seq DESC",
            {
                "repository_id": run.repository_id,
                "head_sha": run.head_sha,
                "check_name": run.check_name,
                "logins": json.dumps(sorted({login.lower() for login in logins})),
            },
        )
        return [_run(row) for row in rows]

    @reads
    def latest_per_check(
        self,
        db: Connection,
        repository: str,
        *,
        public_only: bool = True,
        readable: Collection[int] = (),
        head_sha: str | None = None,
        head_branch: str | None = None,
        pull_request: int | None = None,
        pushed: bool | None = None,
        check_name: str | None = None,
    ) -> list[Run]:
        """Return the newest run of each check of a repository, sorted by the checks' names.

        The arguments are those of `newest`. Searches only the newest MAX_RUNS_SEARCHED runs, so that the cost
        doesn't grow with the history.
        """
        where, values = _narrowed(
            public_only,
            readable,
            repository=repository,
            head_sha=head_sha,
            head_branch=head_branch,
            pull_request=pull_request,
            pushed=pushed,
            check_name=check_name,
        )
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM runs r JOIN (SELECT max(seq) AS newest FROM "
            f"(SELECT r.seq, r.check_name FROM runs r WHERE {where} "
            "ORDER BY r.seq DESC LIMIT :limit) AS searched GROUP BY check_name) AS latest "
            "ON r.seq = newest ORDER BY r.check_name",
            {**values, "limit": MAX_RUNS_SEARCHED},
        ).fetchall()
        return [_run(row) for row in rows]

    @writes
    def start(
        self,
        db: Connection,
        run_id: str,
        runtime_id: str,
        runner_login: str,
        platform: str,
        at: float,
        runner_kind: str | None = None,
    ) -> bool:
        """Make a run `running` on a runtime since `at`.

        Returns False, and changes nothing, if it has ended. Raises NotStored for an unknown run, and ClaimLost
        if it belongs to another node.
        """
        return self._change(
            db,
            run_id,
            RunState.RUNNING,
            "runtime_id = :runtime_id, runner_login = :runner_login, platform = :platform, "
            "runner_kind = :runner_kind, started_at = coalesce(started_at, :at)",
            {
                "runtime_id": runtime_id,
                "runner_login": runner_login,
                "platform": platform,
                "at": at,
                "runner_kind": runner_kind,
            },
        )

    @writes
    def requeue(self, db: Connection, run_id: str) -> bool:
        """Make a run `queued` again whose runner was lost before it was asked, so that any node's runner may take it.

        Returns False, and changes nothing, if it is queued still or has ended. Raises NotStored for an unknown run,
        and ClaimLost if it belongs to another node.
        """
        found = find_run(db, run_id)
        if found is not None and found.state == RunState.QUEUED:
            return False
        changes = "runtime_id = NULL, runner_login = NULL, platform = NULL, runner_kind = NULL, started_at = NULL"
        return self._change(db, run_id, RunState.QUEUED, changes, {})

    @writes
    def end(
        self, db: Connection, run_id: str, state: RunState, message: str | None, at: float
    ) -> bool:
        """End a run in a final state, and with it the steps that are still running.

        Returns False, and changes nothing, if it has already ended. Raises NotStored for an unknown run,
        ClaimLost if it belongs to another node, StoreConflict for a transition that `lifecycle` doesn't
        allow, and ValueError for a state that isn't final.
        """
        state = RunState(state)
        if state not in RUN_FINAL:
            raise ValueError(f"a run ends as one of {', '.join(sorted(RUN_FINAL))}, not as {state}")
        ended = self._change(
            db,
            run_id,
            state,
            "message = :message, ended_at = :at",
            {"message": message, "at": at},
        )
        if ended:
            # The runner won't report the end of the steps that were stopped with the run.
            db.execute(
                "UPDATE vertexes SET cancelled = :cancelled, "
                "completed_at = CASE WHEN started_at > :at THEN started_at ELSE :at END, "
                "version = (SELECT version FROM runs WHERE id = :id) "
                "WHERE run_id = :id AND started_at IS NOT NULL AND completed_at IS NULL",
                {"id": run_id, "at": at, "cancelled": int(state != RunState.SUCCEEDED)},
            )
        return ended

    @writes
    def hand_over(self, db: Connection, run_id: str, node: str, request: Mapping[str, str]) -> bool:
        """Give a queued run of this node to another node, which has a runtime for it.

        Returns False, and changes nothing, if that node is gone or draining, or the run isn't queued on this one.

        Args:
            request: what that node has to know about the run; see `RequestKind.HAND_OVER`.
        """
        changed = db.execute(
            f"UPDATE runs SET node = :to WHERE id = :id AND node = :own AND state = 'queued' "
            f"AND :to IN ({LIVE} AND draining = 0)",
            {"to": node, "id": run_id, "own": self._engine.node},
        ).rowcount
        if changed:
            self._engine.database.notify(db, Topic.RUNS, run_id)
            body = {**request, "run": run_id}
            send_request(self._engine, db, node, RequestKind.HAND_OVER, body)
        return bool(changed)

    @writes
    def hand_back(self, db: Connection, run_id: str) -> bool:
        """Give a queued run back to the node that handles its delivery.

        Returns False, and changes nothing, if that is this node, or the run isn't queued on this node.
        """
        changed = db.execute(
            "UPDATE runs SET node = (SELECT d.node FROM deliveries d WHERE d.guid = runs.delivery) "
            "WHERE id = :id AND node = :own AND state = 'queued' AND EXISTS "
            f"(SELECT 1 FROM deliveries d WHERE d.guid = runs.delivery AND d.node != :own "
            f"AND d.node IN ({LIVE}))",
            {"id": run_id, "own": self._engine.node},
        ).rowcount
        if changed:
            self._engine.database.notify(db, Topic.RUNS, run_id)
        return bool(changed)

    def _change(
        self,
        db: Connection,
        run_id: str,
        state: RunState,
        changes: str,
        values: Mapping[str, object],
    ) -> bool:
        changed = db.execute(
            f"UPDATE runs SET state = :state, {changes}, version = version + 1 "
            "WHERE id = :id AND node = :node AND state IN (SELECT value FROM json_each(:before))",
            {
                **values,
                "id": run_id,
                "node": self._engine.node,
                "state": state,
                "before": json.dumps(sorted(states_before(state))),
            },
        ).rowcount
        if changed:
            self._engine.database.notify(db, Topic.RUNS, run_id)
            return True
        found = find_run(db, run_id)
        if found is None:
            raise NotStored(f"no run {run_id} is stored")
        if found.ended:
            return False
        if found.node != self._engine.node:
            raise ClaimLost(f"the run {run_id} is another node's")
        raise StoreConflict(f"the run {run_id} is {found.state} and can't become {state}")


def find_run(db: Connection, run_id: str) -> Run | None:
    """Return a run, or None."""
    row = db.execute(f"SELECT {_COLUMNS} FROM runs r WHERE r.id = ?", (run_id,)).fetchone()
    return None if row is None else _run(row)


def take_over_runs(db: Connection, heir: str) -> list[Run]:
    """Give a node the runs of lost nodes that haven't ended, aren't concluded on GitHub, or have an open log.

    Queued runs go to the node that handles their delivery instead, if it is alive. Returns all of these runs,
    oldest first.
    """
    rows = db.execute(
        f"UPDATE runs SET node = CASE WHEN state = 'queued' THEN coalesce((SELECT d.node FROM deliveries d "
        f"WHERE d.guid = runs.delivery AND d.node IN ({LIVE})), :heir) ELSE :heir END, has_place = 0 "
        f"WHERE node != :heir AND node NOT IN ({LIVE}) AND seq IN ("
        "SELECT seq FROM runs WHERE state IN ('queued', 'running') UNION "
        "SELECT r.seq FROM check_runs c JOIN runs r ON r.id = c.run_id WHERE c.state != 'concluded' UNION "
        "SELECT r.seq FROM vertexes v JOIN runs r ON r.id = v.run_id WHERE v.log_state = 'open') "
        "RETURNING id",
        {"heir": heir},
    ).fetchall()
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM runs r WHERE r.id IN (SELECT value FROM json_each(?)) ORDER BY r.seq",
        (json.dumps([row["id"] for row in rows]),),
    ).fetchall()
    return [_run(row) for row in rows]


def insert_run(db: Connection, run: Run, *, public: bool) -> None:
    """Store a new run. Raises StoreConflict if its thunk or its user isn't stored."""
    values = {field: getattr(run, field) for field in _FIELDS}
    values["thunk_digest"] = run.thunk_digest or None
    values["state"] = RunState(run.state)
    values["public"] = int(public)
    db.execute(
        f"INSERT INTO runs ({', '.join(_FIELDS)}) "
        f"VALUES ({', '.join(f':{field}' for field in _FIELDS)})",
        values,
    )


def _narrowed(
    public_only: bool, readable: Collection[int], **given: object
) -> tuple[str, dict[str, object]]:
    """Return a condition for WHERE and its parameters. Ignores arguments that are None."""
    values = {name: value for name, value in given.items() if value is not None}
    where = ["TRUE", *(_CONDITIONS[name] for name in values)]
    if public_only:
        where.append(READABLE)
        values["readable"] = json.dumps(sorted(readable))
    return " AND ".join(where), values


def _run(row: ResultRow) -> Run:
    values = {name: row[name] for name in _FIELDS}
    values["public"] = bool(values["public"])
    values["state"] = RunState(values["state"])
    return Run(**values)


class Thunks(Subject):
    """The thunks of runs, by digest."""

    @writes
    def put(self, db: Connection, thunk: ThunkRecord) -> bool:
        """Store a thunk, unless one with its digest is stored.

        Returns False if the stored one is a different thunk by SHA-256: a digest is a name, not a proof.
        """
        return insert_thunk(db, thunk)

    @reads
    def get(self, db: Connection, digest: str) -> ThunkRecord | None:
        """Return a thunk, or None."""
        row = db.execute(
            "SELECT digest, sha256, json, proto, cmdline, created_at FROM thunks WHERE digest = ?",
            (digest,),
        ).fetchone()
        return None if row is None else ThunkRecord(**row)


def insert_thunk(db: Connection, thunk: ThunkRecord) -> bool:
    """Store a thunk like `Thunks.put`."""
    db.execute(
        "INSERT INTO thunks (digest, sha256, json, proto, cmdline, created_at) "
        "VALUES (:digest, :sha256, :json, :proto, :cmdline, :created_at) "
        "ON CONFLICT (digest) DO NOTHING",
        dataclasses.asdict(thunk),
    )
    (sha256,) = db.execute("SELECT sha256 FROM thunks WHERE digest = ?", (thunk.digest,)).fetchone()
    return bool(sha256 == thunk.sha256)


class Statements(Subject):
    """The signed statements in the store, at most one per run."""

    @writes
    def put(self, db: Connection, record: StatementRecord) -> None:
        """Store the statement of a run, replacing an earlier one. Raises StoreConflict for an unknown run."""
        db.execute(
            f"INSERT INTO statements ({', '.join(_STATEMENT_FIELDS)}) "
            f"VALUES ({', '.join(f':{field}' for field in _STATEMENT_FIELDS)}) ON CONFLICT (run_id) DO UPDATE "
            f"SET {', '.join(f'{field} = excluded.{field}' for field in _STATEMENT_FIELDS)}",
            {**dataclasses.asdict(record), "listed": int(record.listed)},
        )

    @reads
    def get(self, db: Connection, run_id: str) -> StatementRecord | None:
        """Return the statement of a run, or None."""
        row = db.execute(
            f"SELECT {', '.join(_STATEMENT_FIELDS)} FROM statements WHERE run_id = ?", (run_id,)
        ).fetchone()
        if row is None:
            return None
        return StatementRecord(**{**dict(row), "listed": bool(row["listed"])})
