"""Requests: what a node is asked for by another one, such as to handle a delivery that was left to it.

A request is a row that is addressed to a node, in the transaction of what it is about. That node removes it once it
has done what it was asked for, so a request may be answered twice, and doing that changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bassloop.store.claims import LIVE
from bassloop.store.engine import Subject, reads, writes
from bassloop.store.notifications import Topic

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bassloop.store.database import Connection
    from bassloop.store.engine import Engine


class RequestKind(StrEnum):
    """What a node is asked for."""

    HANDLE = "handle"
    """Handle a `delivery`, by its guid, that was left to the node."""

    CARRY = "carry"
    """Carry out a `run`, by its id, which was handed over to the node: a runtime that may run it is connected
    there. The rest is what its delivery has found out about it (`checks.carried_checks`)."""

    CANCEL = "cancel"
    """Cancel a `run`, by its id, and say `why`; if nothing runs or waits for it, only end it if `end` isn't empty."""


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """A request to this node.

    Args:
        kind: a RequestKind, or another word of a newer version's.
        body: by the kind.
    """

    id: int
    kind: str
    body: Mapping[str, str]


class Requests(Subject):
    """The requests to this node."""

    @reads
    def all(self, db: Connection) -> list[NodeRequest]:
        """Return the requests, oldest first."""
        rows = db.execute(
            "SELECT id, kind, body FROM requests WHERE node = ? ORDER BY id", (self._engine.node,)
        )
        return [NodeRequest(row["id"], row["kind"], json.loads(row["body"])) for row in rows]

    @writes
    def send(self, db: Connection, node: str, kind: RequestKind, body: Mapping[str, str]) -> None:
        """Ask a node for something."""
        send_request(self._engine, db, node, kind, body)

    @writes
    def remove(self, db: Connection, ids: Collection[int]) -> None:
        """Remove requests that were answered."""
        db.execute(
            "DELETE FROM requests WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_each(?))",
            (json.dumps(list(ids)),),
        )


def send_request(
    engine: Engine, db: Connection, node: str, kind: RequestKind, body: Mapping[str, str]
) -> None:
    """Ask a node for something, once the transaction is committed."""
    db.execute(
        "INSERT INTO requests (node, kind, body) VALUES (?, ?, ?)",
        (node, kind, json.dumps(body)),
    )
    engine.database.notify(db, Topic.REQUESTS, node)


def take_over_requests(db: Connection, heir: str) -> None:
    """Address the requests to nodes that are gone to their heir."""
    db.execute(f"UPDATE requests SET node = ? WHERE node NOT IN ({LIVE})", (heir,))
