"""The index of logs: a filter for each, which tells in which logs of a repository a text can't be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from bassloop.concurrency import AutoResetEvent
from bassloop.store.claims import LIVE
from bassloop.store.engine import Subject, reads, writes
from bassloop.store.log_filter import UNKNOWN
from bassloop.store.runs import READABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bassloop.store.database import Connection
    from bassloop.store.engine import Engine
    from bassloop.store.log_filter import FilterQuery

RUNS_AT_ONCE = 1_000
"""Runs whose filters are looked at in one query, so that other readers have their turn."""

LOGS_AT_ONCE = 20

_VISIBLE = f"r.repository = :repository COLLATE NOCASE AND {READABLE}"


@dataclass(frozen=True, slots=True)
class SearchableRun:
    """A run, and its logs that may have a text in them.

    Args:
        steps: the rows of the logs' steps, in their order.
        without_filter: how many of them are there only because they have no filter: they are being
            written, wait to be indexed, or are too varied.
    """

    id: str
    created_at: float
    steps: tuple[int, ...]
    without_filter: int


@dataclass(frozen=True, slots=True)
class IndexedLogs:
    """What the index of logs says about some runs of a repository.

    Args:
        runs: all of these runs, newest first.
        more: whether there may be older runs.
    """

    runs: tuple[SearchableRun, ...]
    more: bool


class LogIndex(Subject):
    """The index of logs.

    Attributes:
        log_closed: set when there is a log to be indexed.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.log_closed = AutoResetEvent()

    @reads
    def pending(self, db: Connection) -> list[tuple[str, int]]:
        """Return some complete logs that have no filter, newest first, by their runs' ids and steps' rows.

        They are of this node's runs, or of those of nodes that are gone: the others index their own.
        """
        rows = db.execute(
            "SELECT v.run_id, v.id FROM vertexes v JOIN runs r ON r.id = v.run_id "
            "WHERE v.indexed = 0 AND v.log_state IN ('closed', 'cut') "
            f"AND (r.node = ? OR r.node NOT IN ({LIVE})) ORDER BY v.id DESC LIMIT ?",
            (self._engine.node, LOGS_AT_ONCE),
        )
        return [(row["run_id"], row["id"]) for row in rows]

    @writes
    def put(self, db: Connection, filters: Sequence[tuple[int, bytes]]) -> None:
        """Store the filters of steps' logs. Those of steps that were pruned meanwhile are dropped."""
        for row, content in filters:
            db.execute(
                "INSERT INTO log_filters (vertex, filter) SELECT id, :filter FROM vertexes "
                "WHERE id = :row ON CONFLICT (vertex) DO UPDATE SET filter = excluded.filter",
                {"row": row, "filter": content},
            )
            db.execute("UPDATE vertexes SET indexed = 1 WHERE id = ?", (row,))

    @reads
    def search(
        self,
        db: Connection,
        repository: str,
        query: FilterQuery,
        *,
        before: str | None = None,
        readable: Collection[int] = (),
    ) -> IndexedLogs:
        """Return which logs of a repository's next RUNS_AT_ONCE runs, newest first, may have a text in them.

        Args:
            repository: its full name, in any case.
            before: the `last` of an earlier answer.
            readable: the ids of private repositories whose runs count, too.
        """
        # Even the position of a run that may not be seen is a secret.
        older = f"AND r.seq < (SELECT r.seq FROM runs r WHERE r.id = :before AND {_VISIBLE})"
        rows = db.execute(
            "SELECT r.id AS run, r.created_at, v.id AS step, f.filter FROM ("
            f"SELECT r.id, r.seq, r.created_at FROM runs r WHERE {_VISIBLE} {older if before else ''} "
            "ORDER BY r.seq DESC LIMIT :runs) AS r "
            "LEFT JOIN vertexes v ON v.run_id = r.id AND v.log_state != 'none' "
            "LEFT JOIN log_filters f ON f.vertex = v.id ORDER BY r.seq DESC, v.position",
            {
                "repository": repository,
                "readable": json.dumps(sorted(readable)),
                "before": before,
                "runs": RUNS_AT_ONCE,
            },
        )
        runs = []
        for (run, created_at), steps in groupby(rows, itemgetter("run", "created_at")):
            found, without = [], 0
            for row in steps:
                if row["step"] is None:  # the run has no logs
                    continue
                content = UNKNOWN if row["filter"] is None else bytes(row["filter"])
                if query.may_match(content):
                    found.append(row["step"])
                    without += content == UNKNOWN
            runs.append(SearchableRun(run, created_at, tuple(found), without))
        return IndexedLogs(tuple(runs), len(runs) == RUNS_AT_ONCE)
