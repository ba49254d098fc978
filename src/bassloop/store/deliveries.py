"""Deliveries: what GitHub sent, and how far each has come."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bassloop.lifecycle import DeliveryState, states_before
from bassloop.store.errors import NotStored, StoreConflict
from bassloop.store.model import Delivery

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

_HEAD = (
    "guid, event, action, received_at, state, attempts, error, repository, head_sha, sender, "
    "order_key, failures, postponed, not_before"
)


def _delivery(row: sqlite3.Row) -> Delivery:
    return Delivery(**{**row, "state": DeliveryState(row["state"])})


def record(connection: sqlite3.Connection, delivery: Delivery) -> bool:
    """Store it as `received`. False: the same guid is there and is handled or being handled."""
    known = connection.execute(
        "SELECT state FROM deliveries WHERE guid = ?", (delivery.guid,)
    ).fetchone()
    if known is not None:
        if known["state"] not in (DeliveryState.FAILED, DeliveryState.SET_ASIDE):
            return False
        connection.execute(
            "UPDATE deliveries SET state = 'received', attempts = 0, failures = 0, postponed = 0, "
            "not_before = NULL, error = NULL WHERE guid = ?",
            (delivery.guid,),
        )
        return True
    connection.execute(
        "INSERT INTO deliveries (guid, event, action, body, received_at, state, repository, "
        "head_sha, sender, order_key) VALUES (?, ?, ?, ?, ?, 'received', ?, ?, ?, ?)",
        (
            delivery.guid,
            delivery.event,
            delivery.action,
            delivery.body,
            delivery.received_at,
            delivery.repository,
            delivery.head_sha,
            delivery.sender,
            delivery.order_key,
        ),
    )
    return True


def set_state(
    connection: sqlite3.Connection, guid: str, state: DeliveryState, error: str | None
) -> int:
    """Make a transition, and return how often the delivery has begun to be handled.

    Raise NotStored, and StoreConflict for a transition that there is none of.
    """
    state = DeliveryState(state)
    row = connection.execute(
        "UPDATE deliveries SET state = :state, error = :error, not_before = NULL, "
        "attempts = attempts + (:state = 'handling') WHERE guid = :guid "
        "AND state IN (SELECT value FROM json_each(:before)) RETURNING attempts",
        {
            "state": state,
            "error": error,
            "guid": guid,
            "before": json.dumps(sorted(states_before(state))),
        },
    ).fetchone()
    if row is None:
        raise _refused(connection, guid, state)
    return int(row["attempts"])


def _refused(connection: sqlite3.Connection, guid: str, after: DeliveryState) -> Exception:
    found = one(connection, guid)
    if found is None:
        return NotStored(f"no delivery {guid} is stored")
    return StoreConflict(f"the delivery {guid} is {found.state} and can't become {after}")


def postpone(connection: sqlite3.Connection, guid: str, why: str, until: float) -> int:
    """Not its fault: the attempt does not count. Returns how often it was postponed in a row."""
    return _put_back(
        connection,
        guid,
        "attempts = max(attempts - 1, 0), postponed = postponed + 1, error = :why, "
        "not_before = :until",
        "postponed",
        {"why": why, "until": until},
    )


def fail(connection: sqlite3.Connection, guid: str, why: str, until: float) -> int:
    """Its own fault, or ours. Returns how often it has failed."""
    return _put_back(
        connection,
        guid,
        "failures = failures + 1, postponed = 0, error = :why, not_before = :until",
        "failures",
        {"why": why, "until": until},
    )


def release(connection: sqlite3.Connection, guid: str) -> int:
    """Handling it was given up in the middle, and is no attempt. Returns the attempts."""
    return _put_back(connection, guid, "attempts = max(attempts - 1, 0)", "attempts", {})


def _put_back(
    connection: sqlite3.Connection,
    guid: str,
    changes: str,
    counted: str,
    values: Mapping[str, object],
) -> int:
    row = connection.execute(
        f"UPDATE deliveries SET state = 'received', {changes} "  # noqa: S608 - constants
        f"WHERE guid = :guid RETURNING {counted}",
        {**values, "guid": guid},
    ).fetchone()
    if row is None:
        raise NotStored(f"no delivery {guid} is stored")
    return int(row[0])


def replay(connection: sqlite3.Connection, guid: str) -> bool:
    """Begin anew. False for one that is unknown, being handled or done."""
    return bool(
        connection.execute(
            "UPDATE deliveries SET state = 'received', attempts = 0, failures = 0, postponed = 0, "
            "not_before = NULL, error = NULL WHERE guid = ? AND state IN ('failed', 'set_aside')",
            (guid,),
        ).rowcount
    )


def known(connection: sqlite3.Connection, guids: Iterable[str]) -> set[str]:
    asked = json.dumps(list(guids))
    rows = connection.execute(
        "SELECT guid FROM deliveries WHERE guid IN (SELECT value FROM json_each(?))", (asked,)
    )
    return {row["guid"] for row in rows}


def one(connection: sqlite3.Connection, guid: str) -> Delivery | None:
    row = connection.execute(
        f"SELECT {_HEAD}, body FROM deliveries WHERE guid = ?",  # noqa: S608 - constants
        (guid,),
    ).fetchone()
    return None if row is None else _delivery(row)


def unfinished(connection: sqlite3.Connection) -> list[Delivery]:
    rows = connection.execute(
        f"SELECT {_HEAD}, x'' AS body FROM deliveries "  # noqa: S608 - constants
        "WHERE state IN ('received', 'handling') ORDER BY seq"
    )
    return [_delivery(row) for row in rows]


def about(connection: sqlite3.Connection, order_key: str, limit: int) -> list[Delivery]:
    rows = connection.execute(
        f"SELECT {_HEAD}, body FROM deliveries WHERE order_key = ? "  # noqa: S608 - constants
        "ORDER BY seq DESC LIMIT ?",
        (order_key, limit),
    )
    return [_delivery(row) for row in rows]


def newest(
    connection: sqlite3.Connection, limit: int, before: str | None, states: Iterable[str]
) -> list[Delivery]:
    rows = connection.execute(
        f"SELECT {_HEAD}, x'' AS body FROM deliveries "  # noqa: S608 - constants
        "WHERE (:before IS NULL OR seq < (SELECT seq FROM deliveries WHERE guid = :before)) "
        "AND (:states = '[]' OR state IN (SELECT value FROM json_each(:states))) "
        "ORDER BY seq DESC LIMIT :limit",
        {"before": before, "limit": limit, "states": json.dumps(list(states))},
    )
    return [_delivery(row) for row in rows]


def released(
    connection: sqlite3.Connection, order_key: str, waited: Iterable[str]
) -> list[Delivery]:
    """Make `received` again what is held for a head, and those of the guids that are done."""
    guids = connection.execute(
        "UPDATE deliveries SET state = 'received', attempts = 0, failures = 0, postponed = 0, "
        "not_before = NULL, error = NULL WHERE (order_key = :key AND state = 'held') "
        "OR (state IN ('held', 'done') AND guid IN (SELECT value FROM json_each(:waited))) "
        "RETURNING guid",
        {"key": order_key, "waited": json.dumps(list(waited))},
    ).fetchall()
    rows = connection.execute(
        f"SELECT {_HEAD}, x'' AS body FROM deliveries "  # noqa: S608 - constants
        "WHERE guid IN (SELECT value FROM json_each(?)) ORDER BY seq",
        (json.dumps([row["guid"] for row in guids]),),
    )
    return [_delivery(row) for row in rows]
