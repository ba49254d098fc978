"""Claims: which node a delivery, a run, or a runtime belongs to.

A node's id is in the column `node` of what it has claimed. All deliveries of a head that haven't ended belong to one
node, which handles them in their order. A node gives up a claim by making it another's. If it is lost, its heir takes
over all of them in one transaction, after which it can't write any more (`nodes`, `engines.postgresql_lease`).

A file has one daemon, and its id is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bassloop.store.database import Connection

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
