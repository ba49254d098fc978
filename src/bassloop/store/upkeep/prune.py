"""The SQL of pruning: whole runs, deliveries that are over, thunks that nobody names any more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bassloop.store.upkeep.retention import KeptRun

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

DELIVERY_SECONDS = 8 * 86400.0
"""Deliveries are kept this long in any case: GitHub may send one again, or list it as one that never
arrived, for a week, and then its guid must be known."""

_OVER = """
    r.state NOT IN ('queued', 'running')
    AND NOT EXISTS (SELECT 1 FROM check_runs c WHERE c.run_id = r.id AND c.state != 'concluded')
    AND NOT EXISTS (SELECT 1 FROM vertexes v WHERE v.run_id = r.id AND v.log_state = 'open')
"""


def kept_runs(connection: sqlite3.Connection, sizes: Mapping[str, int]) -> list[KeptRun]:
    """All runs, oldest first; `sizes` are the bytes of their logs."""
    rows = connection.execute(
        f"SELECT r.id, r.repository, ifnull(r.ended_at, r.created_at) AS ended_at, {_OVER} AS over "  # noqa: S608
        "FROM runs r ORDER BY r.seq"
    )
    return [
        KeptRun(
            row["id"],
            row["repository"],
            row["ended_at"],
            bool(row["over"]),
            sizes.get(row["id"], 0),
        )
        for row in rows
    ]


def remove_runs(connection: sqlite3.Connection, ids: Iterable[str]) -> int:
    """Remove runs, with their check runs and steps; those that are not over stay. How many went."""
    return connection.execute(
        f"DELETE FROM runs AS r WHERE r.id IN (SELECT value FROM json_each(?)) AND {_OVER}",  # noqa: S608
        (json.dumps(list(ids)),),
    ).rowcount


def remove_deliveries(connection: sqlite3.Connection, before: float, limit: int) -> int:
    """Remove up to `limit` deliveries that came before a time, are over, and have no run left."""
    return connection.execute(
        "DELETE FROM deliveries WHERE seq IN (SELECT seq FROM deliveries d WHERE received_at < ? "
        "AND state IN ('done', 'ignored', 'failed', 'set_aside') "
        "AND NOT EXISTS (SELECT 1 FROM runs WHERE delivery = d.guid) ORDER BY seq LIMIT ?)",
        (before, limit),
    ).rowcount


def remove_thunks(connection: sqlite3.Connection, limit: int) -> int:
    """Remove up to `limit` thunks that no run names."""
    return connection.execute(
        "DELETE FROM thunks WHERE digest IN (SELECT digest FROM thunks t "
        "WHERE NOT EXISTS (SELECT 1 FROM runs WHERE thunk_digest = t.digest) LIMIT ?)",
        (limit,),
    ).rowcount


def remove_superseded(connection: sqlite3.Connection, before: float) -> int:
    """Forget what heads gave way to before a time, where no run of them is left."""
    return connection.execute(
        "DELETE FROM superseded AS s WHERE at < ? "
        "AND NOT EXISTS (SELECT 1 FROM runs WHERE head_sha = s.head_sha)",
        (before,),
    ).rowcount


def unknown(connection: sqlite3.Connection, ids: Iterable[str]) -> set[str]:
    """Those of the ids that no run has."""
    rows = connection.execute(
        "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT id FROM runs)",
        (json.dumps(list(ids)),),
    )
    return {row[0] for row in rows}
