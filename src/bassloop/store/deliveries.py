"""Deliveries: the webhooks that GitHub sent, and the state of handling each."""

from __future__ import annotations

import json
import time
from enum import Enum, auto
from typing import TYPE_CHECKING

from bassloop.lifecycle import DeliveryState, states_before
from bassloop.store.claims import LIVE, RequestKind, choose_node, send_request
from bassloop.store.engine import Subject, page_size, reads, writes
from bassloop.store.errors import ClaimLost, NotStored, StoreConflict
from bassloop.store.records import Delivery, Replacement, RepositoryBacklog

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bassloop.store.database import Connection, ResultRow
    from bassloop.store.engine import Engine

_COLUMNS = (
    "guid, event, action, received_at, state, attempts, error, repository, head_sha, sender, "
    "order_key, failures, postponed, not_before, installation_id, evaluations, node"
)

_START_ANEW = (
    "UPDATE deliveries SET state = 'received', attempts = 0, failures = 0, postponed = 0, "
    "evaluations = 0, not_before = NULL, error = NULL"
)
_ONE_LESS = "CASE WHEN attempts > 0 THEN attempts - 1 ELSE 0 END"

UNFINISHED = "state IN ('received', 'handling')"
"""The condition of the partial index on unfinished deliveries, word for word, so that queries use the index."""


class Recorded(Enum):
    """The outcome of recording a delivery. Truthy if the delivery has to be handled."""

    KNOWN = auto()
    """It was recorded before, and nothing was changed."""
    HERE = auto()
    """This node handles it."""
    ELSEWHERE = auto()
    """Another node handles it, and was sent a request."""

    def __bool__(self) -> bool:
        return self is not Recorded.KNOWN


class Deliveries(Subject):
    """The deliveries in the store, each identified by GitHub's guid."""

    async def record(
        self,
        guid: str,
        event: str,
        action: str | None,
        body: bytes,
        *,
        repository: str | None = None,
        head_sha: str | None = None,
        sender: str | None = None,
        order_key: str | None = None,
        installation_id: int | None = None,
        replaces: Replacement | None = None,
        received_at: float | None = None,
        wait: bool = False,
    ) -> Recorded:
        """Store a delivery as `received`. Once this returns, it survives any crash.

        Assigns it to a node; see `claims.choose_node`. A known delivery is left unchanged, unless it failed or
        was set aside: then it becomes `received` again.

        Raises StoreFull, StoreLocked or StoreUnreachable at once, unless `wait` is true.

        Args:
            replaces: the head that this delivery's head replaces. It is stored in the same transaction, so
                that an older delivery that is still waiting is known to be superseded.
        """
        delivery = Delivery(
            guid=guid,
            event=event,
            action=action,
            received_at=time.time() if received_at is None else received_at,
            state=DeliveryState.RECEIVED,
            attempts=0,
            error=None,
            repository=repository,
            head_sha=head_sha,
            sender=sender,
            order_key=order_key,
            installation_id=installation_id,
        )
        return await self._engine.write(
            lambda db: _insert(self._engine, db, delivery, body, replaces), wait=wait
        )

    @writes
    def set_state(
        self, db: Connection, guid: str, state: DeliveryState, error: str | None = None
    ) -> int:
        """Make a transition to a state, with an error message if something went wrong.

        Returns how many times handling the delivery has begun, including this time if the state is
        `handling`. Raises NotStored for an unknown guid, ClaimLost if it belongs to another node, and
        StoreConflict for a transition that `lifecycle` doesn't allow.
        """
        state = DeliveryState(state)
        row = db.execute(
            "UPDATE deliveries SET state = :state, error = :error, not_before = NULL, "
            "attempts = attempts + CASE WHEN :state = 'handling' THEN 1 ELSE 0 END WHERE guid = :guid "
            "AND node = :node AND state IN (SELECT value FROM json_each(:before)) RETURNING attempts",
            {
                "state": state,
                "node": self._engine.node,
                "error": error,
                "guid": guid,
                "before": json.dumps(sorted(states_before(state))),
            },
        ).fetchone()
        if row is not None:
            return int(row["attempts"])
        found = _find(db, guid)
        if found is None:
            raise NotStored(f"no delivery {guid} is stored")
        if found.node != self._engine.node:
            raise ClaimLost(f"the delivery {guid} is another node's")
        raise StoreConflict(f"the delivery {guid} is {found.state} and can't become {state}")

    @writes
    def postpone(self, db: Connection, guid: str, why: str, until: float) -> int:
        """Make a delivery `received` again, to be retried after `until`, without counting the attempt.

        For problems that the delivery didn't cause. Returns how many times in a row it was postponed.
        Raises NotStored or ClaimLost.
        """
        return self._make_received(
            db,
            guid,
            f"attempts = {_ONE_LESS}, postponed = postponed + 1, error = :why, not_before = :until",
            "postponed",
            {"why": why, "until": until},
        )

    @writes
    def fail(self, db: Connection, guid: str, why: str, until: float) -> int:
        """Make a delivery `received` again, to be retried after `until`, because handling it failed.

        Returns how many times it has failed. Raises NotStored or ClaimLost.
        """
        return self._make_received(
            db,
            guid,
            "failures = failures + 1, postponed = 0, error = :why, not_before = :until",
            "failures",
            {"why": why, "until": until},
        )

    @writes
    def put_back(self, db: Connection, guid: str) -> None:
        """Make a delivery `received` again as if handling it had not begun. Raises NotStored or ClaimLost."""
        self._make_received(db, guid, f"attempts = {_ONE_LESS}", "attempts", {})

    def _make_received(
        self,
        db: Connection,
        guid: str,
        changes: str,
        counter: str,
        values: Mapping[str, object],
    ) -> int:
        row = db.execute(
            f"UPDATE deliveries SET state = 'received', {changes} "
            f"WHERE guid = :guid AND node = :node RETURNING {counter}",
            {**values, "guid": guid, "node": self._engine.node},
        ).fetchone()
        if row is not None:
            return int(row[0])
        if _find(db, guid) is None:
            raise NotStored(f"no delivery {guid} is stored")
        raise ClaimLost(f"the delivery {guid} is another node's")

    @writes
    def hand_over(self, db: Connection, guid: str, node: str) -> bool:
        """Give a delivery of this node, and the others of its head, to another node, as if none had begun.

        Their queued runs go with them. Returns False, and changes nothing, if that node is gone or draining,
        if another delivery of the head is being handled, or if a run of this one is running.
        """
        values = {"guid": guid, "to": node, "own": self._engine.node}
        rows = db.execute(
            f"UPDATE deliveries SET node = :to, state = 'received', evaluations = 0, "
            "attempts = CASE WHEN guid = :guid THEN attempts - 1 ELSE attempts END "
            f"WHERE {UNFINISHED} AND node = :own AND (guid = :guid OR order_key = "
            f"(SELECT order_key FROM deliveries WHERE guid = :guid)) AND :to IN ({LIVE} AND draining = 0) "
            "AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.order_key = deliveries.order_key "
            "AND o.state = 'handling' AND o.guid != :guid) "
            "AND NOT EXISTS (SELECT 1 FROM runs WHERE delivery = :guid AND runs.state = 'running') "
            "RETURNING seq, guid",
            values,
        ).fetchall()
        for row in sorted(rows, key=lambda row: int(row["seq"])):
            db.execute(
                "UPDATE runs SET node = ? WHERE delivery = ? AND state = 'queued' AND node = ?",
                (node, row["guid"], self._engine.node),
            )
            send_request(self._engine, db, node, RequestKind.HANDLE, {"delivery": str(row["guid"])})
        return bool(rows)

    @writes
    def begin_evaluation(self, db: Connection, guid: str) -> None:
        """Record that a hook of a delivery is being evaluated, until `end_evaluation`."""
        db.execute("UPDATE deliveries SET evaluations = evaluations + 1 WHERE guid = ?", (guid,))

    @writes
    def end_evaluation(self, db: Connection, guid: str) -> None:
        """Record that evaluating the hook has ended, so it didn't crash the loop."""
        db.execute("UPDATE deliveries SET evaluations = 0 WHERE guid = ?", (guid,))

    @writes
    def replay(self, db: Connection, guid: str) -> bool:
        """Make a delivery that failed or was set aside `received` again. Return False for others.

        Assigns it to a node, like a new one.
        """
        found = _find(db, guid)
        if found is None or found.state not in (DeliveryState.FAILED, DeliveryState.SET_ASIDE):
            return False
        _start_anew(self._engine, db, found)
        return True

    @writes
    def skip(
        self,
        db: Connection,
        guids: Collection[str],
        repository: str | None = None,
        event: str | None = None,
        received_before: float | None = None,
        *,
        dry_run: bool = False,
    ) -> list[str]:
        """Make `received` deliveries `ignored`, and return their guids, oldest first.

        Leaves a delivery alone if one of its runs hasn't ended, since somebody may be waiting for it.

        Args:
            guids: only these; all that match the other arguments if empty.
            received_before: only those received before this time, in seconds since the epoch.
            dry_run: change nothing.
        """
        rows = db.execute(
            "SELECT guid FROM deliveries WHERE state = 'received' "
            "AND (:guids = '[]' OR guid IN (SELECT value FROM json_each(:guids))) "
            "AND (:repository IS NULL OR repository = :repository) "
            "AND (:event IS NULL OR event = :event) "
            "AND (:before IS NULL OR received_at < :before) "
            "AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.delivery = deliveries.guid "
            "AND runs.state IN ('queued', 'running')) ORDER BY seq",
            {
                "guids": json.dumps(list(guids)),
                "repository": repository,
                "event": event,
                "before": received_before,
            },
        )
        found = [row["guid"] for row in rows]
        if not dry_run:
            db.execute(
                "UPDATE deliveries SET state = 'ignored', not_before = NULL, "
                "error = 'skipped by an operator' "
                "WHERE guid IN (SELECT value FROM json_each(?))",
                (json.dumps(found),),
            )
        return found

    @reads
    def get(self, db: Connection, guid: str) -> Delivery | None:
        """Return a delivery, or None."""
        return _find(db, guid)

    @reads
    def body(self, db: Connection, guid: str) -> bytes:
        """Return the payload of a delivery (up to 25 MiB). Raises NotStored for an unknown guid."""
        row = db.execute("SELECT body FROM deliveries WHERE guid = ?", (guid,)).fetchone()
        if row is None:
            raise NotStored(f"no delivery {guid} is stored")
        return bytes(row["body"])

    @reads
    def unfinished(self, db: Connection, *, own: bool = False) -> list[Delivery]:
        """Return the deliveries that are `received` or `handling`, oldest first.

        Args:
            own: only those of this node.
        """
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM deliveries WHERE {UNFINISHED} AND (:any OR node = :node) ORDER BY seq",
            {"any": not own, "node": self._engine.node},
        )
        return [_delivery(row) for row in rows]

    @reads
    def backlog(self, db: Connection, limit: int = 20) -> list[RepositoryBacklog]:
        """Return the repositories with the most unfinished deliveries, in descending order."""
        rows = db.execute(
            "SELECT repository, sum(CASE WHEN state = 'received' THEN 1 ELSE 0 END) AS waiting, "
            "sum(CASE WHEN state = 'handling' THEN 1 ELSE 0 END) AS handled, "
            f"min(received_at) AS oldest_at FROM deliveries WHERE {UNFINISHED} "
            "GROUP BY repository ORDER BY count(*) DESC, repository LIMIT ?",
            (limit,),
        )
        return [RepositoryBacklog(**row) for row in rows]

    @reads
    def newest(
        self,
        db: Connection,
        limit: int = 50,
        before: str | None = None,
        *,
        states: Collection[str] = (),
    ) -> list[Delivery]:
        """Return the newest deliveries, newest first.

        Args:
            before: only those older than the delivery with this guid.
            states: only those in one of these states.
        """
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM deliveries "
            "WHERE (:before IS NULL OR seq < (SELECT seq FROM deliveries WHERE guid = :before)) "
            "AND (:states = '[]' OR state IN (SELECT value FROM json_each(:states))) "
            "ORDER BY seq DESC LIMIT :limit",
            {"before": before, "limit": page_size(limit), "states": json.dumps(list(states))},
        )
        return [_delivery(row) for row in rows]

    @reads
    def of_head(self, db: Connection, order_key: str, limit: int = 20) -> list[Delivery]:
        """Return the newest deliveries with an order key, newest first."""
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM deliveries WHERE order_key = ? ORDER BY seq DESC LIMIT ?",
            (order_key, limit),
        )
        return [_delivery(row) for row in rows]

    @reads
    def stored(self, db: Connection, guids: Collection[str]) -> set[str]:
        """Return those of the guids whose deliveries are stored."""
        rows = db.execute(
            "SELECT guid FROM deliveries WHERE guid IN (SELECT value FROM json_each(?))",
            (json.dumps(list(guids)),),
        )
        return {row["guid"] for row in rows}


def note_replacement(db: Connection, replacement: Replacement, at: float) -> None:
    """Record that another head has replaced this one on its branch or pull request."""
    db.execute(
        "INSERT INTO superseded (repository_id, head_sha, place, by_sha, at) "
        "VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (repository_id, head_sha, place) "
        "DO UPDATE SET by_sha = excluded.by_sha, at = excluded.at",
        (*replacement, at),
    )


def release_held(
    engine: Engine, db: Connection, order_key: str, waited: Collection[str]
) -> list[Delivery]:
    """Make the held deliveries of a head `received` again, and those of `waited` that are held or done.

    Returns those that this node handles, oldest first; other nodes may handle others.
    """
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM deliveries WHERE (order_key = :key AND state = 'held') "
        "OR (state IN ('held', 'done') AND guid IN (SELECT value FROM json_each(:waited))) "
        "ORDER BY seq",
        {"key": order_key, "waited": json.dumps(list(waited))},
    ).fetchall()
    released = [_delivery(row) for row in rows]
    return [each for each in released if _start_anew(engine, db, each) == engine.node]


def take_over_deliveries(db: Connection, heir: str) -> list[Delivery]:
    """Give a node the unfinished deliveries of lost nodes, and those that draining nodes haven't begun.

    Returns them, oldest first.
    """
    rows = db.execute(
        f"UPDATE deliveries SET node = :heir WHERE {UNFINISHED} AND node != :heir "
        f"AND (node NOT IN ({LIVE}) OR (state = 'received' "
        "AND node IN (SELECT id FROM nodes WHERE draining = 1) AND NOT EXISTS "
        "(SELECT 1 FROM deliveries begun WHERE begun.order_key = deliveries.order_key "
        "AND begun.state = 'handling' AND begun.node = deliveries.node))) RETURNING guid",
        {"heir": heir},
    ).fetchall()
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM deliveries "
        "WHERE guid IN (SELECT value FROM json_each(?)) ORDER BY seq",
        (json.dumps([row["guid"] for row in rows]),),
    ).fetchall()
    return [_delivery(row) for row in rows]


def _start_anew(engine: Engine, db: Connection, delivery: Delivery) -> str:
    """Make a delivery `received` again, and return the node that it is assigned to."""
    node = choose_node(db, engine.node, delivery.order_key, delivery.sender)
    db.execute(f"{_START_ANEW}, node = ? WHERE guid = ?", (node, delivery.guid))
    if node != engine.node:
        send_request(engine, db, node, RequestKind.HANDLE, {"delivery": delivery.guid})
    return node


def _insert(
    engine: Engine, db: Connection, delivery: Delivery, body: bytes, replaces: Replacement | None
) -> Recorded:
    stored = _find(db, delivery.guid)
    if stored is not None:
        if stored.state not in (DeliveryState.FAILED, DeliveryState.SET_ASIDE):
            return Recorded.KNOWN
        node = _start_anew(engine, db, stored)
        return Recorded.HERE if node == engine.node else Recorded.ELSEWHERE
    node = choose_node(db, engine.node, delivery.order_key, delivery.sender)
    db.execute(
        "INSERT INTO deliveries (guid, event, action, body, received_at, state, repository, "
        "head_sha, sender, order_key, installation_id, node) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            delivery.guid,
            delivery.event,
            delivery.action,
            body,
            delivery.received_at,
            delivery.state,
            delivery.repository,
            delivery.head_sha,
            delivery.sender,
            delivery.order_key,
            delivery.installation_id,
            node,
        ),
    )
    if replaces is not None:
        note_replacement(db, replaces, delivery.received_at)
    if node == engine.node:
        return Recorded.HERE
    send_request(engine, db, node, RequestKind.HANDLE, {"delivery": delivery.guid})
    return Recorded.ELSEWHERE


def _find(db: Connection, guid: str) -> Delivery | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM deliveries WHERE guid = ?", (guid,)).fetchone()
    return None if row is None else _delivery(row)


def _delivery(row: ResultRow) -> Delivery:
    return Delivery(**{**row, "state": DeliveryState(row["state"])})
