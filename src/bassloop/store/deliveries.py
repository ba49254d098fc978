"""Deliveries: the webhooks that GitHub sent, and how far handling each has come."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from bassloop.lifecycle import DeliveryState, states_before
from bassloop.store.engine import Subject, page_size, reads, writes
from bassloop.store.errors import NotStored, StoreConflict
from bassloop.store.records import Delivery, Replacement, RepositoryBacklog

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bassloop.store.database import Connection, ResultRow

_COLUMNS = (
    "guid, event, action, received_at, state, attempts, error, repository, head_sha, sender, "
    "order_key, failures, postponed, not_before, installation_id, evaluations"
)
_WITH_BODY = f"{_COLUMNS}, body"

_START_ANEW = (
    "UPDATE deliveries SET state = 'received', attempts = 0, failures = 0, postponed = 0, "
    "evaluations = 0, not_before = NULL, error = NULL"
)
_ONE_LESS = "CASE WHEN attempts > 0 THEN attempts - 1 ELSE 0 END"

UNFINISHED = "state IN ('received', 'handling')"
"""A condition as the index of unfinished deliveries has it, so that the index is used."""


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
    ) -> bool:
        """Store a delivery as `received`. Once this returns, it survives any crash.

        What its head replaces is noted in the same transaction, so that an older delivery that still
        waits is known to be superseded before it is handled.

        Returns False, and changes nothing, if this guid is stored already and is handled or being
        handled. A delivery that failed or was set aside becomes `received` again, and True is
        returned. Raises StoreFull or StoreLocked at once, unless `wait` is true.
        """
        delivery = Delivery(
            guid=guid,
            event=event,
            action=action,
            body=body,
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
        return await self._engine.write(lambda db: _insert(db, delivery, replaces), wait=wait)

    @writes
    def set_state(
        self, db: Connection, guid: str, state: DeliveryState, error: str | None = None
    ) -> int:
        """Make a transition, with an error message if something went wrong.

        Returns how many times handling the delivery has begun, including this one if the state is
        `handling`. Raises NotStored for an unknown guid, and StoreConflict for a transition that
        isn't in the table.
        """
        state = DeliveryState(state)
        row = db.execute(
            "UPDATE deliveries SET state = :state, error = :error, not_before = NULL, "
            "attempts = attempts + CASE WHEN :state = 'handling' THEN 1 ELSE 0 END WHERE guid = :guid "
            "AND state IN (SELECT value FROM json_each(:before)) RETURNING attempts",
            {
                "state": state,
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
        raise StoreConflict(f"the delivery {guid} is {found.state} and can't become {state}")

    @writes
    def postpone(self, db: Connection, guid: str, why: str, until: float) -> int:
        """Make a delivery `received` again until a time, without counting the attempt.

        For reasons that aren't the delivery's fault. Returns how many times in a row it was
        postponed. Raises NotStored.
        """
        return _put_back(
            db,
            guid,
            f"attempts = {_ONE_LESS}, postponed = postponed + 1, error = :why, not_before = :until",
            "postponed",
            {"why": why, "until": until},
        )

    @writes
    def fail(self, db: Connection, guid: str, why: str, until: float) -> int:
        """Make a delivery `received` again until a time, after handling it failed.

        Returns how many times it has failed. Raises NotStored.
        """
        return _put_back(
            db,
            guid,
            "failures = failures + 1, postponed = 0, error = :why, not_before = :until",
            "failures",
            {"why": why, "until": until},
        )

    @writes
    def release(self, db: Connection, guid: str) -> None:
        """Make a delivery `received` again as if handling it had not begun. Raises NotStored."""
        _put_back(db, guid, f"attempts = {_ONE_LESS}", "attempts", {})

    @writes
    def begin_evaluation(self, db: Connection, guid: str) -> None:
        """Note that a hook of a delivery is being evaluated, until `end_evaluation`."""
        db.execute("UPDATE deliveries SET evaluations = evaluations + 1 WHERE guid = ?", (guid,))

    @writes
    def end_evaluation(self, db: Connection, guid: str) -> None:
        """Note that a hook of a delivery is no longer being evaluated: it didn't bring the loop down."""
        db.execute("UPDATE deliveries SET evaluations = 0 WHERE guid = ?", (guid,))

    @writes
    def replay(self, db: Connection, guid: str) -> bool:
        """Make a delivery that failed or was set aside `received` again; return False for others."""
        again = db.execute(
            f"{_START_ANEW} WHERE guid = ? AND state IN ('failed', 'set_aside')", (guid,)
        )
        return bool(again.rowcount)

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
        """Make `received` deliveries `ignored`, and return which, oldest first.

        One with a check that hasn't ended is left alone: somebody looks at that check.

        Args:
            guids: only these; none for all that match the rest.
            received_before: only those received before then, in seconds since the epoch.
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
        """Return a delivery with its body, or None."""
        return _find(db, guid)

    @reads
    def unfinished(self, db: Connection) -> list[Delivery]:
        """Return those that are `received` or `handling`, oldest first, without bodies.

        All bodies of a backlog may be larger than memory: `get` returns a single one.
        """
        rows = db.execute(f"SELECT {_COLUMNS} FROM deliveries WHERE {UNFINISHED} ORDER BY seq")
        return [_delivery(row) for row in rows]

    @reads
    def backlog(self, db: Connection, limit: int = 20) -> list[RepositoryBacklog]:
        """Return the repositories with the most deliveries that haven't ended, the most first."""
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
        """Return the newest deliveries, newest first, without bodies.

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
        """Return the newest deliveries with an order key, newest first, with their bodies."""
        rows = db.execute(
            f"SELECT {_WITH_BODY} FROM deliveries WHERE order_key = ? ORDER BY seq DESC LIMIT ?",
            (order_key, limit),
        )
        return [_delivery(row) for row in rows]

    @reads
    def stored(self, db: Connection, guids: Collection[str]) -> set[str]:
        """Return those of the guids that are stored."""
        rows = db.execute(
            "SELECT guid FROM deliveries WHERE guid IN (SELECT value FROM json_each(?))",
            (json.dumps(list(guids)),),
        )
        return {row["guid"] for row in rows}


def note_replacement(db: Connection, replacement: Replacement, at: float) -> None:
    """Note that a head was replaced by another one at a place (a branch or a pull request)."""
    db.execute(
        "INSERT INTO superseded (repository_id, head_sha, place, by_sha, at) "
        "VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (repository_id, head_sha, place) "
        "DO UPDATE SET by_sha = excluded.by_sha, at = excluded.at",
        (*replacement, at),
    )


def release_held(db: Connection, order_key: str, waited: Collection[str]) -> list[Delivery]:
    """Make `received` again the held deliveries of a head, and those of `waited` that are done.

    Returns them, oldest first, without bodies.
    """
    guids = db.execute(
        f"{_START_ANEW} WHERE (order_key = :key AND state = 'held') "
        "OR (state IN ('held', 'done') AND guid IN (SELECT value FROM json_each(:waited))) "
        "RETURNING guid",
        {"key": order_key, "waited": json.dumps(list(waited))},
    ).fetchall()
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM deliveries "
        "WHERE guid IN (SELECT value FROM json_each(?)) ORDER BY seq",
        (json.dumps([row["guid"] for row in guids]),),
    )
    return [_delivery(row) for row in rows]


def _insert(db: Connection, delivery: Delivery, replaces: Replacement | None) -> bool:
    stored = db.execute("SELECT state FROM deliveries WHERE guid = ?", (delivery.guid,)).fetchone()
    if stored is not None:
        if stored["state"] not in (DeliveryState.FAILED, DeliveryState.SET_ASIDE):
            return False
        db.execute(f"{_START_ANEW} WHERE guid = ?", (delivery.guid,))
        return True
    db.execute(
        "INSERT INTO deliveries (guid, event, action, body, received_at, state, repository, "
        "head_sha, sender, order_key, installation_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            delivery.guid,
            delivery.event,
            delivery.action,
            delivery.body,
            delivery.received_at,
            delivery.state,
            delivery.repository,
            delivery.head_sha,
            delivery.sender,
            delivery.order_key,
            delivery.installation_id,
        ),
    )
    if replaces is not None:
        note_replacement(db, replaces, delivery.received_at)
    return True


def _put_back(
    db: Connection, guid: str, changes: str, counter: str, values: Mapping[str, object]
) -> int:
    row = db.execute(
        f"UPDATE deliveries SET state = 'received', {changes} "
        f"WHERE guid = :guid RETURNING {counter}",
        {**values, "guid": guid},
    ).fetchone()
    if row is None:
        raise NotStored(f"no delivery {guid} is stored")
    return int(row[0])


def _find(db: Connection, guid: str) -> Delivery | None:
    row = db.execute(f"SELECT {_WITH_BODY} FROM deliveries WHERE guid = ?", (guid,)).fetchone()
    return None if row is None else _delivery(row)


def _delivery(row: ResultRow) -> Delivery:
    return Delivery(**{"body": b"", **row, "state": DeliveryState(row["state"])})
