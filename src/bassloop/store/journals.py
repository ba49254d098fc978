"""Journals: append-only records of who did what. Entries are chained by their hashes, so changes are detected."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from bassloop.store.engine import Subject, page_size, reads, writes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bassloop.store.database import Connection, ResultRow
    from bassloop.store.records import Run

FIRST = "0" * 64
"""The `previous` hash of the first entry."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An action of a user. Each repository has its own chain.

    Args:
        number: its number in the repository's chain, from 1.
        at: seconds since the epoch.
        actor: the user's login.
        action: such as `started`, `signed`, `approved`, `cancelled`, `rerun`, `verified`.
        run: the id of the affected run.
        about: details, in words.
        previous: the hash of the previous entry.
        hash: the SHA-256 of everything else.
    """

    number: int
    at: float
    repository_id: int
    repository: str
    actor: str
    action: str
    run: str
    about: str
    previous: str
    hash: str = ""

    def computed_hash(self) -> str:
        """Compute the entry's hash: the SHA-256 of its JSON without `hash`, with sorted keys."""
        content = asdict(self)
        del content["hash"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def json(self) -> dict[str, Any]:
        """Return the entry as a JSON object."""
        return asdict(self)


def broken_links(entries: Iterable[JournalEntry]) -> Iterator[str]:
    """Yield the problems in the chains of entries, which must be in the order in which they were written."""
    last: dict[int, JournalEntry] = {}
    for entry in entries:
        before = last.get(entry.repository_id)
        name = f"entry {entry.number} of the journal of {entry.repository}"
        if entry.hash != entry.computed_hash():
            yield f"{name} was changed"
        if entry.previous != (before.hash if before else FIRST):
            yield f"{name} doesn't follow the one before: that was changed, or one is missing"
        elif entry.number != (before.number if before else 0) + 1:
            yield f"{name} has the wrong number"
        last[entry.repository_id] = entry


_FIELDS = tuple(field.name for field in fields(JournalEntry))


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
            asdict(replace(entry, hash=entry.computed_hash())),
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
