"""Journals: append-only records of who did what."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from bassloop.store.engine import Subject, page_size, reads, writes
from bassloop.trust.journal import FIRST, JournalEntry, broken_links

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.store.database import Connection, ResultRow
    from bassloop.store.records import Run

_FIELDS = tuple(field.name for field in dataclasses.fields(JournalEntry))


class Journals(Subject):
    """The journals of all repositories. Entries stay when their run is pruned."""

    @writes
    def append(self, db: Connection, run: Run, actor: str, action: str, about: str = "") -> None:
        """Record that somebody (`actor`) did something with a run."""
        last = db.execute(
            "SELECT number, hash FROM journal WHERE repository_id = ? ORDER BY seq DESC LIMIT 1",
            (run.repository_id,),
        ).fetchone()
        entry = JournalEntry(
            number=last["number"] + 1 if last else 1,
            at=round(time.time(), 3),
            repository_id=run.repository_id,
            repository=run.repository,
            actor=actor,
            action=action,
            run=run.id,
            about=about,
            previous=last["hash"] if last else FIRST,
        )
        db.execute(
            f"INSERT INTO journal ({', '.join(_FIELDS)}) "
            f"VALUES ({', '.join(f':{field}' for field in _FIELDS)})",
            dataclasses.asdict(replace(entry, hash=entry.computed_hash())),
        )

    @reads
    def newest(self, db: Connection, repository_id: int, limit: int = 100) -> list[JournalEntry]:
        """Return the newest entries of a repository, newest first."""
        rows = db.execute(
            "SELECT * FROM journal WHERE repository_id = ? ORDER BY seq DESC LIMIT ?",
            (repository_id, page_size(limit)),
        )
        return [_entry(row) for row in rows]

    @reads
    def following(
        self, db: Connection, repository_id: int, number: int, limit: int = 500
    ) -> list[JournalEntry]:
        """Return the entries of a repository after the one with this number, oldest first."""
        rows = db.execute(
            "SELECT * FROM journal WHERE repository_id = ? AND number > ? ORDER BY number LIMIT ?",
            (repository_id, number, page_size(limit)),
        )
        return [_entry(row) for row in rows]


def find_broken_links(db: Connection) -> Iterator[str]:
    """Yield the problems in the hash chains of the journals."""
    yield from broken_links(_entry(row) for row in db.execute("SELECT * FROM journal ORDER BY seq"))


def _entry(row: ResultRow) -> JournalEntry:
    return JournalEntry(**{name: row[name] for name in _FIELDS})
