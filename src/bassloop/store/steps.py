"""Steps of a run: merged from what the runner repeats, with a version for those who follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.lifecycle import LogState
from bassloop.store.errors import NotStored
from bassloop.store.model import Step, StepUpdate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

_FIELDS = (
    "id AS row, run_id, digest, name, started_at, completed_at, cached, error, cancelled, "
    "internal, position, raw_bytes, lines, version, log_state = 'cut' AS log_cut"
)
_FLAGS = ("cached", "cancelled", "internal", "log_cut")


def put(
    connection: sqlite3.Connection, run_id: str, updates: Sequence[StepUpdate]
) -> dict[str, Step]:
    """Merge the updates in order; steps that change share the run's next version."""
    row = connection.execute("SELECT version FROM runs WHERE id = ?", (run_id,)).fetchone()
    if row is None:
        raise NotStored(f"no run {run_id} is stored")
    version = int(row["version"]) + 1
    changed = [_merge(connection, run_id, update, version) for update in updates]
    if any(changed):
        connection.execute("UPDATE runs SET version = ? WHERE id = ?", (version, run_id))
    digests = {update.digest for update in updates}
    found: dict[str, Step] = {}
    for digest in digests:
        rows = connection.execute(
            f"SELECT {_FIELDS} FROM vertexes WHERE run_id = ? AND digest = ?",  # noqa: S608
            (run_id, digest),
        ).fetchall()
        found.update((step.digest, step) for step in _steps(connection, rows))
    return found


def _merge(connection: sqlite3.Connection, run_id: str, update: StepUpdate, version: int) -> bool:
    values = {
        "run_id": run_id,
        "digest": update.digest,
        "name": update.name,
        "started_at": update.started_at,
        "completed_at": update.completed_at,
        "cached": int(update.cached),
        "error": update.error,
        "cancelled": int(update.cancelled),
        "internal": int(update.internal),
        "version": version,
    }
    known = connection.execute(
        "SELECT id FROM vertexes WHERE run_id = ? AND digest = ?", (run_id, update.digest)
    ).fetchone()
    if known is None:
        known = connection.execute(
            "INSERT INTO vertexes (run_id, digest, name, started_at, completed_at, cached, error, "
            "cancelled, internal, position, version) VALUES (:run_id, :digest, :name, :started_at, "
            ":completed_at, :cached, :error, :cancelled, :internal, "
            "(SELECT count(*) FROM vertexes WHERE run_id = :run_id), :version) RETURNING id",
            values,
        ).fetchone()
        changed = True
    else:
        changed = bool(
            connection.execute(
                "UPDATE vertexes SET name = :name, "
                "started_at = ifnull(:started_at, started_at), "
                "completed_at = ifnull(:completed_at, completed_at), cached = :cached, "
                "error = :error, cancelled = :cancelled, internal = :internal, version = :version "
                "WHERE run_id = :run_id AND digest = :digest AND (name IS NOT :name "
                "OR started_at IS NOT ifnull(:started_at, started_at) "
                "OR completed_at IS NOT ifnull(:completed_at, completed_at) "
                "OR cached != :cached OR error IS NOT :error OR cancelled != :cancelled "
                "OR internal != :internal)",
                values,
            ).rowcount
        )
    if update.inputs:
        before = [
            edge["input_digest"]
            for edge in connection.execute(
                "SELECT input_digest FROM vertex_edges WHERE vertex = ? ORDER BY position",
                (known["id"],),
            )
        ]
        if before != list(update.inputs):
            connection.execute("DELETE FROM vertex_edges WHERE vertex = ?", (known["id"],))
            connection.executemany(
                "INSERT INTO vertex_edges (vertex, position, input_digest) VALUES (?, ?, ?)",
                [(known["id"], position, digest) for position, digest in enumerate(update.inputs)],
            )
            connection.execute(
                "UPDATE vertexes SET version = ? WHERE id = ?", (version, known["id"])
            )
            changed = True
    return changed


def since(connection: sqlite3.Connection, run_id: str, version: int) -> list[Step]:
    connection.execute("BEGIN")
    try:
        rows = connection.execute(
            f"SELECT {_FIELDS} FROM vertexes "  # noqa: S608 - constants
            "WHERE run_id = ? AND version > ? ORDER BY position",
            (run_id, version),
        ).fetchall()
        return _steps(connection, rows)
    finally:
        connection.execute("ROLLBACK")


def one(connection: sqlite3.Connection, run_id: str, row: int) -> Step | None:
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM vertexes WHERE run_id = ? AND id = ?",  # noqa: S608 - constants
        (run_id, row),
    ).fetchall()
    return next(iter(_steps(connection, rows)), None)


def _steps(connection: sqlite3.Connection, rows: Iterable[sqlite3.Row]) -> list[Step]:
    steps = []
    for row in rows:
        inputs = tuple(
            edge["input_digest"]
            for edge in connection.execute(
                "SELECT input_digest FROM vertex_edges WHERE vertex = ? ORDER BY position",
                (row["row"],),
            )
        )
        values = dict(row)
        values.update((flag, bool(values[flag])) for flag in _FLAGS)
        steps.append(Step(**values, inputs=inputs))
    return steps


def open_log(connection: sqlite3.Connection, run_id: str, row: int) -> bool:
    """False: the step has had a log before (it is closed, and stays as it is)."""
    known = connection.execute(
        "SELECT log_state FROM vertexes WHERE run_id = ? AND id = ?", (run_id, row)
    ).fetchone()
    if known is None:
        raise NotStored(f"run {run_id} has no step {row}")
    if known["log_state"] != LogState.NONE:
        return False
    connection.execute("UPDATE vertexes SET log_state = 'open' WHERE id = ?", (row,))
    return True


def close_log(
    connection: sqlite3.Connection, row: int, raw_bytes: int, lines: int, cut: bool
) -> None:
    connection.execute(
        "UPDATE runs SET version = version + 1 "
        "WHERE id = (SELECT run_id FROM vertexes WHERE id = ?)",
        (row,),
    )
    connection.execute(
        "UPDATE vertexes SET log_state = ?, raw_bytes = ?, lines = ?, "
        "version = (SELECT version FROM runs WHERE id = vertexes.run_id) WHERE id = ?",
        (LogState.CUT if cut else LogState.CLOSED, raw_bytes, lines, row),
    )


def open_logs(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    rows = connection.execute("SELECT run_id, id FROM vertexes WHERE log_state = 'open'")
    return [(row["run_id"], row["id"]) for row in rows]
