"""Tests and their results in runs, from test reports."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bassloop.store.engine import Subject, page_size, reads, writes
from bassloop.store.errors import NotStored
from bassloop.store.records import ReportedTest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store.database import Connection, ResultRow

MAX_RESULTS = 50_000
"""The maximum number of results that are stored for one run, failed ones first."""

MAX_MESSAGE = 4_000
MAX_NAME = 500


class Tests(Subject):
    """The tests from reports."""

    @writes
    def put(self, db: Connection, run_id: str, results: Sequence[ReportedTest]) -> None:
        """Store results of a run. A later result of a test replaces an earlier one. Raises NotStored."""
        run = db.execute(
            "SELECT seq, repository_id, check_name FROM runs WHERE id = ?", (run_id,)
        ).fetchone()
        if run is None:
            raise NotStored(f"no run {run_id} is stored")
        # A stable sort: results of the same outcome stay in order.
        kept = sorted(results, key=lambda result: result.outcome != "failed")[:MAX_RESULTS]
        names = {result.name[:MAX_NAME] for result in kept}
        db.executemany(
            "INSERT INTO tests (repository_id, check_name, name) VALUES (?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            [(run["repository_id"], run["check_name"], name) for name in sorted(names)],
        )
        db.executemany(
            "INSERT INTO test_results (test, run, outcome, seconds, message, path, line) "
            "SELECT id, :run, :outcome, :seconds, :message, :path, :line FROM tests "
            "WHERE repository_id = :repository AND check_name = :check_name AND name = :name "
            "ON CONFLICT (test, run) DO UPDATE SET outcome = excluded.outcome, "
            "seconds = excluded.seconds, message = excluded.message, path = excluded.path, "
            "line = excluded.line",
            [
                {
                    **dataclasses.asdict(result),
                    "name": result.name[:MAX_NAME],
                    "message": result.message and result.message[:MAX_MESSAGE],
                    "run": run["seq"],
                    "repository": run["repository_id"],
                    "check_name": run["check_name"],
                }
                for result in kept
            ],
        )

    @reads
    def of_run(
        self, db: Connection, run_id: str, outcome: str | None = None, limit: int = 200
    ) -> list[ReportedTest]:
        """Return results of a run, sorted by the tests' names; only those with an outcome if one is given."""
        rows = db.execute(
            "SELECT t.name, r.outcome, r.seconds, r.message, r.path, r.line FROM test_results r "
            "JOIN tests t ON t.id = r.test WHERE r.run = (SELECT seq FROM runs WHERE id = :run) "
            "AND (:outcome IS NULL OR r.outcome = :outcome) ORDER BY t.name LIMIT :limit",
            {"run": run_id, "outcome": outcome, "limit": page_size(limit)},
        )
        return [_result(row) for row in rows]

    @reads
    def counts(self, db: Connection, run_id: str) -> dict[str, int]:
        """Return the number of tests of a run with each outcome; empty if there was no report."""
        rows = db.execute(
            "SELECT outcome, count(*) AS count FROM test_results "
            "WHERE run = (SELECT seq FROM runs WHERE id = ?) GROUP BY outcome",
            (run_id,),
        )
        return {row["outcome"]: row["count"] for row in rows}

    @reads
    def history(
        self, db: Connection, repository_id: int, check_name: str, name: str, limit: int = 50
    ) -> list[tuple[str, ReportedTest]]:
        """Return a test's newest results with their runs' ids, newest first."""
        rows = db.execute(
            "SELECT runs.id AS run_id, t.name, r.outcome, r.seconds, r.message, r.path, r.line "
            "FROM tests t JOIN test_results r ON r.test = t.id JOIN runs ON runs.seq = r.run "
            "WHERE t.repository_id = ? AND t.check_name = ? AND t.name = ? "
            "ORDER BY r.run DESC LIMIT ?",
            (repository_id, check_name, name, page_size(limit)),
        )
        return [(row["run_id"], _result(row)) for row in rows]


def _result(row: ResultRow) -> ReportedTest:
    return ReportedTest(
        row["name"], row["outcome"], row["seconds"], row["message"], row["path"], row["line"]
    )
