"""Error lines: the errors that made runs fail, searchable across the runs of a repository."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bassloop.store.engine import Subject, page_size, reads, writes
from bassloop.store.errors import NotStored
from bassloop.store.records import ErrorSearch, RepeatedError
from bassloop.store.runs import READABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bassloop.store.database import Connection

MAX_LINES = 20
"""The maximum number of error lines of one run."""

MAX_LINE = 500
MAX_BRANCHES = 10

MAX_RUNS_SEARCHED, MAX_RUNS_LISTED = 20_000, 1_000
"""How many runs of a repository one search covers, with a text and without one."""

_SEARCHED = f"r.repository = :repository COLLATE NOCASE AND {READABLE}"

_MATCHING = (
    f"FROM runs r JOIN error_lines e ON e.run = r.seq WHERE {_SEARCHED} "
    "AND r.seq BETWEEN :oldest AND :newest AND e.folded LIKE :pattern ESCAPE '\\'"
)


class ErrorLines(Subject):
    """The index of error lines."""

    @writes
    def put(self, db: Connection, run_id: str, lines: Sequence[str]) -> None:
        """Store the error lines of a run, replacing earlier ones. Raises NotStored for an unknown run."""
        row = db.execute("SELECT seq FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise NotStored(f"no run {run_id} is stored")
        db.execute("DELETE FROM error_lines WHERE run = ?", (row["seq"],))
        kept = list(dict.fromkeys(line[:MAX_LINE] for line in lines if line))[:MAX_LINES]
        db.executemany(
            "INSERT INTO error_lines (run, text, folded) VALUES (?, ?, ?)",
            [(row["seq"], line, line.casefold()) for line in kept],
        )

    @reads
    def search(
        self,
        db: Connection,
        repository: str,
        text: str,
        limit: int = 50,
        *,
        before: str | None = None,
        readable: Collection[int] = (),
    ) -> ErrorSearch:
        """Return the errors of a repository that contain a text, ignoring case, latest first.

        Searches a limited number of runs. The result has their number, and the cursor for the next ones.

        Args:
            repository: its full name, in any case.
            text: empty for all errors.
            before: the `next` of an earlier result.
            readable: the ids of private repositories to include.
        """
        values = {
            "repository": repository,
            "pattern": f"%{_escaped(text.casefold())}%",
            "readable": json.dumps(sorted(readable)),
            "runs": MAX_RUNS_SEARCHED if text else MAX_RUNS_LISTED,
            "before": before,
        }
        older = f"AND r.seq < (SELECT r.seq FROM runs r WHERE r.id = :before AND {_SEARCHED})"
        searched = db.execute(
            "SELECT count(*) AS runs, min(s.seq) AS oldest, max(s.seq) AS newest FROM ("
            f"SELECT r.seq FROM runs r WHERE {_SEARCHED} {older if before else ''} "
            "ORDER BY r.seq DESC LIMIT :runs) s",
            values,
        ).fetchone()
        values |= {"oldest": searched["oldest"], "newest": searched["newest"]}
        rows = db.execute(
            "SELECT e.text, count(*) AS count, min(r.seq) AS first, max(r.seq) AS last "
            f"{_MATCHING} GROUP BY e.text ORDER BY last DESC LIMIT :limit",
            {**values, "limit": page_size(limit)},
        ).fetchall()
        branches = _branches(db, [row["text"] for row in rows], values)
        errors = tuple(
            RepeatedError(
                text=row["text"],
                count=row["count"],
                first_run=_run_id(db, row["first"]),
                last_run=_run_id(db, row["last"]),
                branches=tuple(branches[row["text"]])[:MAX_BRANCHES],
            )
            for row in rows
        )
        full = searched["runs"] == values["runs"]
        return ErrorSearch(
            errors, searched["runs"], _run_id(db, searched["oldest"]) if full else None
        )


def _branches(
    db: Connection, texts: Sequence[str], values: Mapping[str, object]
) -> dict[str, list[str]]:
    """Return the branches and pull requests on which each of these errors occurred, latest first."""
    rows = db.execute(
        "SELECT e.text, r.head_branch, r.pull_request, max(r.seq) AS last "
        f"{_MATCHING} AND e.text IN (SELECT value FROM json_each(:texts)) "
        "GROUP BY e.text, r.head_branch, r.pull_request ORDER BY last DESC",
        {**values, "texts": json.dumps(list(texts))},
    )
    found: dict[str, list[str]] = {text: [] for text in texts}
    for row in rows:
        name = row["head_branch"] or (f"#{row['pull_request']}" if row["pull_request"] else None)
        if name is not None and name not in found[row["text"]]:
            found[row["text"]].append(name)
    return found


def _escaped(text: str) -> str:
    """Escape a text for LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _run_id(db: Connection, seq: int) -> str:
    row = db.execute("SELECT id FROM runs WHERE seq = ?", (seq,)).fetchone()
    return str(row["id"])
