"""Claims and requests: what belongs to which node, and what nodes ask of each other.

A node's id is in the column `node` of what it has claimed: deliveries, runs, runtimes. All deliveries of a head that
haven't ended belong to one node, which handles them in their order. A node gives up a claim by making it another's. If
it is lost, its heir takes over all of them in one transaction, after which it can't write any more (`nodes`,
`engines.postgresql_lease`).

A request is a row that is addressed to a node, in the transaction of what it is about. That node removes it once it
has done what it was asked for, so a request may be answered twice, and doing that changes nothing.

A file has one daemon, and its id is empty.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bassloop.store.engine import Subject, reads, writes
from bassloop.store.notifications import Topic

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bassloop.store.database import Connection
    from bassloop.store.engine import Engine


LIVE = "SELECT id FROM nodes WHERE ended_at IS NULL"
"""A query for the nodes that may write."""


def choose_node(
    db: Connection, own: str, order_key: str | None = None, sender: str | None = None
) -> str:
    """Return the node that a delivery is left to.

    It is the one that has other deliveries of its head, or else one that the sender's runner is connected to, or
    else this one, unless it drains and another doesn't.

    Args:
        own: this node.
        sender: a login, in any case.
    """
    if not own:
        return own
    if order_key is not None:
        row = db.execute(
            "SELECT node FROM deliveries WHERE order_key = ? AND state IN ('received', 'handling') "
            f"AND node IN ({LIVE}) LIMIT 1",
            (order_key,),
        ).fetchone()
        if row is not None:
            return str(row["node"])
    if sender is not None:
        rows = db.execute(
            "SELECT t.node FROM runtimes t JOIN users u ON u.id = t.user_id "
            f"WHERE u.login = ? COLLATE NOCASE AND t.node IN ({LIVE} AND draining = 0) "
            "ORDER BY t.priority DESC, t.connected_at",
            (sender,),
        ).fetchall()
        nodes = [str(row["node"]) for row in rows]
        if nodes:
            return own if own in nodes else nodes[0]
    row = db.execute(
        f"SELECT id FROM ({LIVE} AND draining = 0) there "
        "ORDER BY CASE WHEN id = ? THEN 0 ELSE 1 END, id LIMIT 1",
        (own,),
    ).fetchone()
    return own if row is None else str(row["id"])


class RequestKind(StrEnum):
    """The kinds of requests to a node."""

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
