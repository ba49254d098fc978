"""Deliveries: what GitHub sent, from the webhook's answer to the end of its handling."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bassloop.lifecycle import DeliveryState
from bassloop.store import database, deliveries
from bassloop.store.model import Delivery
from bassloop.store.operations.operations import Operations, bounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class DeliveryOperations(Operations):
    async def record_delivery(
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
        received_at: float | None = None,
        wait: bool = False,
    ) -> bool:
        """Keep a delivery as `received`: once this returns it survives any crash.

        False: the same guid is stored already and is handled or being handled; nothing changed. One
        that had failed or was set aside becomes `received` again, which is True. Raises StoreFull or
        StoreLocked at once, unless told to `wait`.
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
        )
        return await self._writer.write(lambda db: deliveries.record(db, delivery), wait=wait)

    async def delivery(self, guid: str) -> Delivery | None:
        """One delivery with its body."""
        return await self._readers.read(lambda db: deliveries.one(db, guid))

    async def unfinished_deliveries(self) -> list[Delivery]:
        """All that are `received` or `handling`, in the order in which they came, without their
        bodies (a backlog of them may be larger than memory): `delivery` has the body."""
        return await self._readers.read(deliveries.unfinished)

    async def set_delivery_state(
        self, guid: str, state: DeliveryState, error: str | None = None
    ) -> int:
        """Move a delivery to a state of `DELIVERY_STATES`, with what went wrong if something did.

        Returns how often it has begun to be handled: each move to `handling` counts one. Raises
        NotStored for an unknown guid, ValueError for an unknown state.
        """
        return await self._writer.write(lambda db: deliveries.set_state(db, guid, state, error))

    async def postpone_delivery(self, guid: str, why: str, until: float) -> int:
        """Put a delivery that began to be handled back until a time, for something that is not its
        fault: the attempt does not count. Returns how often in a row. NotStored if unknown."""
        return await self._writer.write(lambda db: deliveries.postpone(db, guid, why, until))

    async def fail_delivery(self, guid: str, why: str, until: float) -> int:
        """Put a delivery that failed back until a time. Returns how often it has failed. NotStored
        if unknown."""
        return await self._writer.write(lambda db: deliveries.fail(db, guid, why, until))

    async def release_delivery(self, guid: str) -> None:
        """Put a delivery back that was given up while it was handled, as if it had not begun."""
        await self._writer.write(lambda db: deliveries.release(db, guid))

    async def replay_delivery(self, guid: str) -> bool:
        """Make a delivery that failed or was set aside `received` again; False for any other."""
        return await self._writer.write(lambda db: deliveries.replay(db, guid))

    async def known_deliveries(self, guids: Iterable[str]) -> set[str]:
        """Those of the guids that are stored."""
        asked = list(guids)
        return await self._readers.read(lambda db: deliveries.known(db, asked))

    async def deliveries_about(self, order_key: str, limit: int = 20) -> list[Delivery]:
        """The newest deliveries about a head, newest first, with their bodies."""
        return await self._readers.read(lambda db: deliveries.about(db, order_key, limit))

    async def born(self) -> float:
        """When this database was made, in seconds since the epoch."""
        return await self._readers.read(database.born)

    async def deliveries(
        self, limit: int = 50, before: str | None = None, *, states: Sequence[str] = ()
    ) -> list[Delivery]:
        """The newest deliveries, newest first, without bodies. `before`: only those older than the
        one of this guid; `states`: only those in one of them."""
        count = bounded(limit)
        return await self._readers.read(lambda db: deliveries.newest(db, count, before, states))
