"""The journal of who did what: entries are chained by their hashes, so changes are detected."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
        fields = asdict(self)
        del fields["hash"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def json(self) -> dict[str, Any]:
        """Return the entry as a JSON object."""
        return asdict(self)


def broken_links(entries: Iterable[JournalEntry]) -> Iterator[str]:
    """Return what is wrong with the chains of entries, which must be in the order in which they were written."""
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
