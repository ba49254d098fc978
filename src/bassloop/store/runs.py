"""Users, thunks, runs and the check runs that show them on GitHub."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from bassloop.lifecycle import RUN_FINAL, CheckState, RunState, states_before
from bassloop.store import visitors
from bassloop.store.errors import NotStored, StoreConflict
from bassloop.store.model import (
    CheckRun,
    Page,
    RepositoryRecord,
    Run,
    ThunkRecord,
    User,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping

_RUN_FIELDS = tuple(field.name for field in dataclasses.fields(Run))
_RUN = ", ".join(
    "ifnull(r.thunk_digest, '') AS thunk_digest" if name == "thunk_digest" else f"r.{name}"
    for name in _RUN_FIELDS
)
_CHECK_FIELDS = tuple(field.name for field in dataclasses.fields(CheckRun))
_CHECK = ", ".join("c.id AS row" if name == "row" else f"c.{name}" for name in _CHECK_FIELDS)

VOID, SUPERSEDED = 1, 2

FILTERS = {
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
"""What lists of runs may be narrowed by."""

_READABLE = "(r.public = 1 OR r.repository_id IN (SELECT value FROM json_each(:readable)))"


def _run(row: sqlite3.Row) -> Run:
    values = {name: row[name] for name in _RUN_FIELDS}
    values["public"] = bool(values["public"])
    values["state"] = RunState(values["state"])
    return Run(**values)


def _check(row: sqlite3.Row) -> CheckRun:
    values = {name: row[name] for name in _CHECK_FIELDS}
    return CheckRun(**{**values, "state": CheckState(row["state"])})


def put_user(connection: sqlite3.Connection, user: User) -> None:
    connection.execute(
        "INSERT INTO users (id, node_id, login) VALUES (?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET node_id = excluded.node_id, login = excluded.login",
        (user.id, user.node_id, user.login),
    )


def user(connection: sqlite3.Connection, user_id: int) -> User | None:
    row = connection.execute(
        "SELECT id, node_id, login FROM users WHERE id = ?", (user_id,)
    ).fetchone()
    return None if row is None else User(**row)


def know_user(connection: sqlite3.Connection, user_id: int, login: str) -> None:
    """Make sure that there is a row to refer to."""
    connection.execute(
        "INSERT INTO users (id, node_id, login) VALUES (?, '', ?) ON CONFLICT (id) DO NOTHING",
        (user_id, login),
    )


def put_thunk(connection: sqlite3.Connection, thunk: ThunkRecord) -> bool:
    connection.execute(
        "INSERT INTO thunks (digest, sha256, json, proto, cmdline, created_at) "
        "VALUES (:digest, :sha256, :json, :proto, :cmdline, :created_at) "
        "ON CONFLICT (digest) DO NOTHING",
        dataclasses.asdict(thunk),
    )
    (kept,) = connection.execute(
        "SELECT sha256 FROM thunks WHERE digest = ?", (thunk.digest,)
    ).fetchone()
    return bool(kept == thunk.sha256)


def thunk(connection: sqlite3.Connection, digest: str) -> ThunkRecord | None:
    row = connection.execute(
        "SELECT digest, sha256, json, proto, cmdline, created_at FROM thunks WHERE digest = ?",
        (digest,),
    ).fetchone()
    return None if row is None else ThunkRecord(**row)


def intend_check(
    connection: sqlite3.Connection,
    *,
    repository_id: int,
    repository: str,
    installation_id: int,
    head_sha: str,
    name: str,
    delivery: str,
    rerun: bool,
    run: Run,
    thunk: ThunkRecord | None,
) -> tuple[CheckRun, bool]:
    """See `Store.intend_check`."""
    known = connection.execute(
        f"SELECT {_CHECK}, c.void FROM check_runs c "  # noqa: S608 - constants
        "WHERE c.repository_id = ? AND c.head_sha = ? AND c.name = ? ORDER BY c.generation DESC",
        (repository_id, head_sha, name),
    ).fetchall()
    counted = [row for row in known if not row["void"]]
    # What was cancelled for a newer head is void for whoever comes back to it, but its own event, when
    # it is handled again after a crash, does not begin it anew.
    own = [row for row in known if row["delivery"] == delivery and row["void"] != VOID]
    mine = own[0] if own else None
    if mine is not None:
        return _check(mine), False
    if counted and not rerun:
        return _check(counted[0]), False
    know_user(connection, run.user_id, run.login)
    if thunk is not None:
        put_thunk(connection, thunk)
    record = RepositoryRecord(repository_id, repository, installation_id, run.public)
    kept = visitors.know_repository(connection, record, run.created_at)
    values = {field: getattr(run, field) for field in _RUN_FIELDS}
    values["thunk_digest"] = run.thunk_digest or None
    values["state"] = RunState(run.state)
    # The payload that says so may be older than what made the repository private.
    values["public"] = int(run.public and kept.public)
    connection.execute(
        f"INSERT INTO runs ({', '.join(_RUN_FIELDS)}) "  # noqa: S608 - constants
        f"VALUES ({', '.join(f':{field}' for field in _RUN_FIELDS)})",
        values,
    )
    row = connection.execute(
        "INSERT INTO check_runs (repository_id, repository, installation_id, head_sha, name, "
        "generation, run_id, state, delivery) VALUES (?, ?, ?, ?, ?, ?, ?, 'intended', ?) "
        "RETURNING id AS row, *",
        (
            repository_id,
            repository,
            installation_id,
            head_sha,
            name,
            known[0]["generation"] + 1 if known else 1,
            run.id,
            delivery,
        ),
    ).fetchone()
    return _check(row), True


def void_check_run(connection: sqlite3.Connection, row: int, kind: int) -> None:
    connection.execute("UPDATE check_runs SET void = ? WHERE id = ?", (kind, row))


def void_unanswered(connection: sqlite3.Connection, repository_id: int, head_sha: str) -> set[str]:
    """Void a head's check runs that nobody was allowed, or there, to run, but for those of a delivery
    that is being handled. Returns the guids of their deliveries."""
    rows = connection.execute(
        "UPDATE check_runs SET void = ? WHERE repository_id = ? AND head_sha = ? AND void != ? AND "
        "run_id IN (SELECT id FROM runs WHERE head_sha = check_runs.head_sha "
        "AND state = 'action_required') "
        "AND delivery IN (SELECT guid FROM deliveries WHERE state IN ('held', 'done')) "
        "RETURNING delivery",
        (VOID, repository_id, head_sha, VOID),
    ).fetchall()
    return {str(row["delivery"]) for row in rows}


def postpone_conclusion(connection: sqlite3.Connection, row: int, until: float) -> None:
    connection.execute(
        "UPDATE check_runs SET tries = tries + 1, try_after = ? WHERE id = ?", (until, row)
    )


def bind_check_run(connection: sqlite3.Connection, row: int, github_id: int) -> None:
    changed = connection.execute(
        "UPDATE check_runs SET github_id = :github_id, "
        "state = CASE state WHEN 'intended' THEN 'open' ELSE state END "
        "WHERE id = :row AND (github_id IS NULL OR github_id = :github_id)",
        {"row": row, "github_id": github_id},
    ).rowcount
    if not changed:
        raise StoreConflict(f"check run {row} is not stored, or is bound to another id of GitHub's")


def conclude_check_run(connection: sqlite3.Connection, row: int, conclusion: str) -> bool:
    """False: it was concluded before, and keeps that conclusion."""
    return bool(
        connection.execute(
            "UPDATE check_runs SET state = 'concluded', conclusion = ? "
            "WHERE id = ? AND state != 'concluded'",
            (conclusion, row),
        ).rowcount
    )


def unfinished_check_runs(connection: sqlite3.Connection) -> list[tuple[CheckRun, Run]]:
    checks = connection.execute(
        f"SELECT {_CHECK} FROM check_runs c WHERE c.state != 'concluded' "  # noqa: S608
        "ORDER BY c.id"
    ).fetchall()
    found = []
    for row in checks:
        check = _check(row)
        owner = run(connection, check.run_id)
        assert owner is not None, "a foreign key ties a check run to its run"
        found.append((check, owner))
    return found


def check_run_of(connection: sqlite3.Connection, run_id: str) -> CheckRun | None:
    row = connection.execute(
        f"SELECT {_CHECK} FROM check_runs c WHERE c.run_id = ?",  # noqa: S608 - constants
        (run_id,),
    ).fetchone()
    return None if row is None else _check(row)


def check_run_by_github_id(connection: sqlite3.Connection, github_id: int) -> CheckRun | None:
    row = connection.execute(
        f"SELECT {_CHECK} FROM check_runs c WHERE c.github_id = ?",  # noqa: S608 - constants
        (github_id,),
    ).fetchone()
    return None if row is None else _check(row)


def start_run(
    connection: sqlite3.Connection,
    run_id: str,
    runtime_id: str,
    runner_login: str,
    platform: str,
    at: float,
    runner_kind: str | None,
) -> bool:
    return _change_run(
        connection,
        run_id,
        RunState.RUNNING,
        "runtime_id = :runtime_id, runner_login = :runner_login, "
        "platform = :platform, runner_kind = :runner_kind, started_at = ifnull(started_at, :at)",
        {
            "runtime_id": runtime_id,
            "runner_login": runner_login,
            "platform": platform,
            "at": at,
            "runner_kind": runner_kind,
        },
    )


def end_run(
    connection: sqlite3.Connection, run_id: str, state: RunState, message: str | None, at: float
) -> bool:
    state = RunState(state)
    if state not in RUN_FINAL:
        raise ValueError(f"a run ends as one of {', '.join(sorted(RUN_FINAL))}, not as {state}")
    return _change_run(
        connection,
        run_id,
        state,
        "message = :message, ended_at = :at",
        {"message": message, "at": at},
    )


def _change_run(
    connection: sqlite3.Connection,
    run_id: str,
    state: RunState,
    changes: str,
    values: Mapping[str, object],
) -> bool:
    """Make a transition; return False if the run had ended before.

    Raise NotStored, and StoreConflict for a transition that there is none of.
    """
    before = json.dumps(sorted(states_before(state)))
    changed = connection.execute(
        f"UPDATE runs SET state = :state, {changes}, version = version + 1 "  # noqa: S608 - constants
        "WHERE id = :id AND state IN (SELECT value FROM json_each(:before))",
        {**values, "id": run_id, "state": state, "before": before},
    ).rowcount
    if changed:
        return True
    found = run(connection, run_id)
    if found is None:
        raise NotStored(f"no run {run_id} is stored")
    if not found.ended:
        raise StoreConflict(f"the run {run_id} is {found.state} and can't become {state}")
    return False


def run(connection: sqlite3.Connection, run_id: str) -> Run | None:
    row = connection.execute(
        f"SELECT {_RUN} FROM runs r WHERE r.id = ?",  # noqa: S608 - constants
        (run_id,),
    ).fetchone()
    return None if row is None else _run(row)


def runs(
    connection: sqlite3.Connection,
    limit: int,
    before: str | None,
    readable: Collection[int] | None,
    narrowed: Mapping[str, object],
) -> Page[Run]:
    where = ["TRUE"] + [FILTERS[name] for name in narrowed]
    if readable is not None:
        where.append(_READABLE)
    if before is not None:
        # Also the place in the list is known only of what may be seen.
        seen = _READABLE if readable is not None else "TRUE"
        where.append(
            f"r.seq < (SELECT r.seq FROM runs r WHERE r.id = :before AND {seen})"  # noqa: S608
        )
    rows = connection.execute(
        f"SELECT {_RUN} FROM runs r WHERE {' AND '.join(where)} "  # noqa: S608 - constants
        "ORDER BY r.seq DESC LIMIT :limit + 1",
        {**narrowed, "before": before, "limit": limit, "readable": _listed(readable)},
    ).fetchall()
    items = tuple(_run(row) for row in rows[:limit])
    return Page(items, items[-1].id if len(rows) > limit else None)


def checks(
    connection: sqlite3.Connection,
    limit: int,
    readable: Collection[int] | None,
    narrowed: Mapping[str, object],
) -> list[Run]:
    """See `Store.checks`."""
    where = ["TRUE"] + [FILTERS[name] for name in narrowed]
    if readable is not None:
        where.append(_READABLE)
    rows = connection.execute(
        f"SELECT {_RUN} FROM runs r JOIN (SELECT max(seq) AS newest FROM "  # noqa: S608
        f"(SELECT r.seq, r.check_name FROM runs r WHERE {' AND '.join(where)} "
        "ORDER BY r.seq DESC LIMIT :limit) GROUP BY check_name) "
        "ON r.seq = newest ORDER BY r.check_name",
        {**narrowed, "limit": limit, "readable": _listed(readable)},
    ).fetchall()
    return [_run(row) for row in rows]


def _listed(readable: Collection[int] | None) -> str:
    return json.dumps(sorted(readable or ()))


def unfinished_runs(connection: sqlite3.Connection) -> list[Run]:
    rows = connection.execute(
        f"SELECT {_RUN} FROM runs r WHERE r.state IN ('queued', 'running') "  # noqa: S608
        "ORDER BY r.seq"
    )
    return [_run(row) for row in rows]
