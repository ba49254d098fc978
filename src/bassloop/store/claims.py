"""Claims (which node owns what) and requests (from one node to another).

The column `node` of a delivery, a run or a runtime is the id of the node that owns it. All unfinished deliveries of a
head belong to one node, which handles them in order. A node gives up a row by changing that column. If a node is lost,
another one (its heir) takes over all its rows in one transaction, after which the lost node can't write any more (see
`nodes` and `engines.postgresql_lease`).

A request is a row addressed to a node, written in the same transaction as the change that it is about. The node deletes
it once it has acted on it. So a node may act on a request twice, and the second time must change nothing.

An SQLite file has only one daemon, whose id is empty.
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
"""A query for the ids of the nodes that may write."""


def choose_node(
    db: Connection, own: str, order_key: str | None = None, sender: str | None = None
) -> str:
    """Return the id of the node that should handle a delivery.

    That is the node that owns other unfinished deliveries of its head, or else one that a runner of the sender is
    connected to, or else this node, unless it is draining and another one isn't.

    Args:
        own: the id of this node.
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
    """Handle the `delivery` with this guid, which now belongs to the node."""

    HAND_OVER = "hand_over"
    """Execute the `run` with this id, which now belongs to the node, since a runtime for it is connected there. The
    other fields are what handling its delivery has determined (see `checks.handed_over_checks`)."""

    CANCEL = "cancel"
    """Cancel the `run` with this id, for the reason `why`. If it neither runs nor waits, end it only if `end` isn't
    empty."""


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """A request to this node.

    Args:
        kind: a RequestKind, or an unknown kind from a newer version.
        body: its fields depend on the kind.
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
        """Send a request to a node."""
        send_request(self._engine, db, node, kind, body)

    @writes
    def remove(self, db: Connection, ids: Collection[int]) -> None:
        """Remove requests that this node has acted on."""
        db.execute(
            "DELETE FROM requests WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_each(?))",
            (json.dumps(list(ids)),),
        )


def send_request(
    engine: Engine, db: Connection, node: str, kind: RequestKind, body: Mapping[str, str]
) -> None:
    """Send a request to a node, which receives it once the transaction is committed."""
    db.execute(
        "INSERT INTO requests (node, kind, body) VALUES (?, ?, ?)",
        (node, kind, json.dumps(body)),
    )
    engine.database.notify(db, Topic.REQUESTS, node)


def take_over_requests(db: Connection, heir: str) -> None:
    """Redirect the requests to lost nodes to their heir."""
    db.execute(f"UPDATE requests SET node = ? WHERE node NOT IN ({LIVE})", (heir,))
