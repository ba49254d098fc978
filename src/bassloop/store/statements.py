"""Statements: what runners have signed of their runs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bassloop.store.engine import Subject, reads, writes
from bassloop.store.records import StatementRecord

if TYPE_CHECKING:
    from bassloop.store.database import Connection

_FIELDS = tuple(field.name for field in dataclasses.fields(StatementRecord))


class Statements(Subject):
    """The signed statements in the store, one of a run at most."""

    @writes
    def put(self, db: Connection, record: StatementRecord) -> None:
        """Store the statement of a run, in place of an earlier one. Raises StoreConflict for no run."""
        db.execute(
            f"INSERT INTO statements ({', '.join(_FIELDS)}) "
            f"VALUES ({', '.join(f':{field}' for field in _FIELDS)}) ON CONFLICT (run_id) DO UPDATE "
            f"SET {', '.join(f'{field} = excluded.{field}' for field in _FIELDS)}",
            {**dataclasses.asdict(record), "listed": int(record.listed)},
        )

    @reads
    def get(self, db: Connection, run_id: str) -> StatementRecord | None:
        """Return the statement of a run, or None."""
        row = db.execute(
            f"SELECT {', '.join(_FIELDS)} FROM statements WHERE run_id = ?", (run_id,)
        ).fetchone()
        if row is None:
            return None
        return StatementRecord(**{**dict(row), "listed": bool(row["listed"])})
