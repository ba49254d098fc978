"""Notifications: hints that something in the store has changed, for tasks that wait for it or have cached it.

    store.notifications.subscribe(Topic.PERMISSIONS, forget)
    await store.notifications.publish(Topic.PERMISSIONS, "42:7")

If several nodes share a database on a server, a notification reaches all of them
(`engines.postgresql_connection.PostgreSQLListener`); with SQLite, it stays in the process. It arrives after the commit
of the change, and may arrive although nothing has changed. When notifications may have been lost, for example with a
connection, subscribers are called with None instead of a key: they should check everything, or clear their cache.
"""

from __future__ import annotations

from collections import defaultdict
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.store.database import Connection
    from bassloop.store.engine import Engine


class Topic(StrEnum):
    """The topics of notifications, with the form of their keys."""

    PERMISSIONS = "permissions"
    """Permissions may have changed. The key is `USER:REPOSITORY`, by id; an empty one means all."""

    APPROVALS = "approvals"
    """A head was approved. The key is the order key of its deliveries."""

    REQUESTS = "requests"
    """A node was sent a request (`store.requests`). The key is its id."""

    RUNTIMES = "runtimes"
    """A runtime has connected to a node. The key is the id of its user."""

    POLICIES = "policies"
    """The policy in a repository may have changed. The key is the repository's id."""

    SLOTS = "places"
    """A run has freed its slot, so another run of its user or repository may begin. The key is empty."""

    RUNS = "runs"
    """A run is new, or has changed its state or its node. The key is its id."""


class Notifications:
    """The subscribers of this process, and how to notify those of all nodes.

    Subscribe before tasks use the store, and not in a callback.

    Attributes:
        heard: how many notifications have arrived since the store was opened.
        gaps: how many times notifications may have been lost.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.heard = self.gaps = 0
        self._callbacks: defaultdict[Topic, list[Callable[[str | None], object]]] = defaultdict(
            list
        )

    def subscribe(self, topic: Topic, callback: Callable[[str | None], object]) -> None:
        """Call `callback` with the key of each notification from now on, or with None for all keys.

        It's called in Trio's thread, also for this process's own notifications, and must neither block nor
        raise.
        """
        self._callbacks[topic].append(callback)

    async def publish(self, topic: Topic, key: str) -> None:
        """Notify all nodes now. Waits while the database can't be reached; may raise StoreError.

        If cancelled, they may or may not be notified.

        Args:
            key: at most 1,000 characters, without NUL.
        """

        def publish(db: Connection) -> None:
            self._engine.database.notify(db, topic, key)

        await self._engine.write(publish)

    def deliver(self, topic: str, key: str) -> None:
        """Call the subscribers of a topic. Ignores topics that this version doesn't know."""
        self.heard += 1
        if topic in set(Topic):
            for callback in self._callbacks[Topic(topic)]:
                callback(key)

    def deliver_gap(self) -> None:
        """Call all subscribers, since notifications may have been lost."""
        self.gaps += 1
        for callbacks in self._callbacks.values():
            for callback in callbacks:
                callback(None)
