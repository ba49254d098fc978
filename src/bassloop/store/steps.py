"""Steps: the parts of a run, as its runner reports them, with versions for incremental reads.

A step is called a vertex in wire messages and tables.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bassloop.lifecycle import LogState, states_before
from bassloop.store.engine import Subject, reads, writes
from bassloop.store.errors import NotStored
from bassloop.store.records import Step, StepUpdate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bassloop.store.database import Connection, ResultRow
    from bassloop.store.engine import Engine

_COLUMNS = (
    "id AS row, run_id, digest, name, started_at, completed_at, cached, error, cancelled, "
    "internal, position, raw_bytes, lines, version, log_state = 'cut' AS log_cut"
)
_REPORTED = (
    "name", "started_at", "completed_at", "cached", "error", "cancelled", "internal"
)  # fmt: skip
"""The columns that an update sets."""

_FLAGS = ("cached", "cancelled", "internal", "log_cut")


MAX_RUNS_NEAR = 2_000
"""How many earlier runs of the repository are searched for runs of the same check."""


class LiveLog(Protocol):
    """A log that is being written or shipped to a bucket. Its step's row doesn't have its size yet."""

    @property
    def raw_bytes(self) -> int: ...
    @property
    def lines(self) -> int: ...
    @property
    def complete(self) -> bool:
        """True if nothing will be appended any more."""

    @property
    def cut(self) -> bool:
        """True if its end is missing."""

    async def flush(self) -> None:
        """Wait until what was appended can be read."""


class Steps(Subject):
    """The steps in the store, with the current sizes of their logs."""

    def __init__(self, engine: Engine, live: Mapping[int, LiveLog]) -> None:
        super().__init__(engine)
        self._live = live

    async def put(self, run_id: str, updates: Sequence[StepUpdate]) -> dict[str, Step]:
        """Merge updates from a runner, in order, and return the updated steps by digest.

        Steps that change get the run's next version. Raises NotStored for an unknown run.
        """
        live = dict(self._live)
        steps = await self._merge(run_id, updates)
        return {digest: _with_live_size(step, live) for digest, step in steps.items()}

    @writes
    def _merge(self, db: Connection, run_id: str, updates: Sequence[StepUpdate]) -> dict[str, Step]:
        row = db.execute("SELECT version FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise NotStored(f"no run {run_id} is stored")
        version = int(row["version"]) + 1
        # Counted once: to count again for each new step would take all writers' time for a run of many steps.
        known = db.execute(
            "SELECT count(*) AS steps FROM vertexes WHERE run_id = ?", (run_id,)
        ).fetchone()
        positions = itertools.count(int(known["steps"]))
        changed = [_merge_update(db, run_id, update, version, positions) for update in updates]
        if any(changed):
            db.execute("UPDATE runs SET version = ? WHERE id = ?", (version, run_id))
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM vertexes "
            "WHERE run_id = ? AND digest IN (SELECT value FROM json_each(?))",
            (run_id, json.dumps([update.digest for update in updates])),
        ).fetchall()
        return {step.digest: step for step in _steps(db, rows)}

    @reads
    def earlier_durations(self, db: Connection, run_id: str) -> list[tuple[str, float]]:
        """Return the names of steps, and their durations in seconds, in the last 20 runs of the same check.

        Considers runs before this one that succeeded, in the same repository and with the same visibility.
        """
        rows = db.execute(
            "SELECT v.name, v.completed_at - v.started_at AS seconds FROM vertexes v WHERE v.run_id IN ("
            "SELECT near.id FROM (SELECT r.id, r.seq, r.state, r.check_name FROM runs r "
            "JOIN runs own ON own.id = :run AND r.repository_id = own.repository_id "
            "AND r.public = own.public AND r.seq < own.seq ORDER BY r.seq DESC LIMIT :near) AS near "
            "WHERE near.state = 'succeeded' "
            "AND near.check_name = (SELECT check_name FROM runs WHERE id = :run) "
            "ORDER BY near.seq DESC LIMIT 20) "
            "AND v.cached = 0 AND v.internal = 0 "
            "AND v.started_at IS NOT NULL AND v.completed_at IS NOT NULL",
            {"run": run_id, "near": MAX_RUNS_NEAR},
        )
        return [(row["name"], row["seconds"]) for row in rows]

    async def of_run(self, run_id: str, since_version: int = 0) -> list[Step]:
        """Return the steps of a run that changed after a version, by position.

        A growing log changes the version of its step only when it's closed.
        """
        live = dict(self._live)
        return [_with_live_size(step, live) for step in await self._since(run_id, since_version)]

    @reads
    def _since(self, db: Connection, run_id: str, version: int) -> list[Step]:
        db.execute("BEGIN")
        try:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM vertexes "
                "WHERE run_id = ? AND version > ? ORDER BY position",
                (run_id, version),
            ).fetchall()
            return _steps(db, rows)
        finally:
            db.execute("ROLLBACK")

    async def get(self, run_id: str, row: int) -> Step | None:
        """Return a step, or None."""
        live = dict(self._live)
        step = await self._get(run_id, row)
        return None if step is None else _with_live_size(step, live)

    @reads
    def _get(self, db: Connection, run_id: str, row: int) -> Step | None:
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM vertexes WHERE run_id = ? AND id = ?", (run_id, row)
        ).fetchall()
        return next(iter(_steps(db, rows)), None)


def _with_live_size(step: Step, live: Mapping[int, LiveLog]) -> Step:
    """Return a step with the current size of its log.

    Args:
        live: the live logs from *before* the step was read, since a log may be closed meanwhile.
    """
    log = live.get(step.row)
    if log is None:
        return step
    return dataclasses.replace(step, raw_bytes=log.raw_bytes, lines=log.lines)


def _merge_update(
    db: Connection, run_id: str, update: StepUpdate, version: int, positions: Iterator[int]
) -> bool:
    """Insert or update a step; return whether anything changed. A new step gets the next of the positions."""
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
    row = db.execute(
        f"SELECT id, {', '.join(_REPORTED)} FROM vertexes WHERE run_id = ? AND digest = ?",
        (run_id, update.digest),
    ).fetchone()
    if row is None:
        row = db.execute(
            "INSERT INTO vertexes (run_id, digest, name, started_at, completed_at, cached, error, "
            "cancelled, internal, position, version) VALUES (:run_id, :digest, :name, :started_at, "
            ":completed_at, :cached, :error, :cancelled, :internal, :position, :version) RETURNING id",
            {**values, "position": next(positions)},
        ).fetchone()
        changed = True
    else:
        for column in ("started_at", "completed_at"):
            if values[column] is None:
                values[column] = row[column]
        changed = any(values[name] != row[name] for name in _REPORTED)
        if changed:
            assignments = ", ".join(f"{name} = :{name}" for name in (*_REPORTED, "version"))
            db.execute(
                f"UPDATE vertexes SET {assignments} WHERE run_id = :run_id AND digest = :digest",
                values,
            )
    if update.inputs and _inputs(db, [row["id"]]).get(row["id"]) != update.inputs:
        db.execute("DELETE FROM vertex_edges WHERE vertex = ?", (row["id"],))
        db.executemany(
            "INSERT INTO vertex_edges (vertex, position, input_digest) VALUES (?, ?, ?)",
            [(row["id"], position, digest) for position, digest in enumerate(update.inputs)],
        )
        db.execute("UPDATE vertexes SET version = ? WHERE id = ?", (version, row["id"]))
        changed = True
    return changed


def _steps(db: Connection, rows: Sequence[ResultRow]) -> list[Step]:
    inputs = _inputs(db, [row["row"] for row in rows])
    steps = []
    for row in rows:
        values = dict(row)
        values.update((flag, bool(values[flag])) for flag in _FLAGS)
        steps.append(Step(**values, inputs=inputs.get(row["row"], ())))
    return steps


def _inputs(db: Connection, rows: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Return the inputs of those steps that have any, by row."""
    edges = db.execute(
        "SELECT vertex, input_digest FROM vertex_edges "
        "WHERE vertex IN (SELECT CAST(value AS BIGINT) FROM json_each(?)) ORDER BY vertex, position",
        (json.dumps(rows),),
    )
    return {
        vertex: tuple(edge["input_digest"] for edge in of_one)
        for vertex, of_one in itertools.groupby(edges, lambda edge: int(edge["vertex"]))
    }


def open_log(db: Connection, run_id: str, row: int) -> bool:
    """Record that a step's log is being written. Return False if it was opened before.

    Raises NotStored for an unknown step.
    """
    step = db.execute(
        "SELECT log_state FROM vertexes WHERE run_id = ? AND id = ?", (run_id, row)
    ).fetchone()
    if step is None:
        raise NotStored(f"run {run_id} has no step {row}")
    if step["log_state"] != LogState.NONE:
        return False
    db.execute("UPDATE vertexes SET log_state = 'open' WHERE id = ?", (row,))
    return True


def close_log(db: Connection, row: int, raw_bytes: int, lines: int, *, cut: bool) -> None:
    """Record the final size of a step's log, as a new version of the run, unless the log was never opened."""
    state = LogState.CUT if cut else LogState.CLOSED
    db.execute(
        "UPDATE runs SET version = version + 1 "
        "WHERE id = (SELECT run_id FROM vertexes WHERE id = ?)",
        (row,),
    )
    db.execute(
        "UPDATE vertexes SET log_state = :state, raw_bytes = :raw_bytes, lines = :lines, "
        "version = (SELECT version FROM runs WHERE id = vertexes.run_id) "
        "WHERE id = :row AND log_state IN (SELECT value FROM json_each(:before))",
        {
            "row": row,
            "state": state,
            "raw_bytes": raw_bytes,
            "lines": lines,
            "before": json.dumps(sorted(states_before(state))),
        },
    )


class OpenLog(NamedTuple):
    """A log that is being written: its run's id, its step's row, and the node that the run belongs to."""

    run_id: str
    row: int
    node: str


def open_logs(db: Connection) -> list[OpenLog]:
    """Return the logs that are being written, on all nodes."""
    rows = db.execute(
        "SELECT v.run_id, v.id, r.node FROM vertexes v JOIN runs r ON r.id = v.run_id "
        "WHERE v.log_state = 'open'"
    )
    return [OpenLog(row["run_id"], row["id"], row["node"]) for row in rows]
