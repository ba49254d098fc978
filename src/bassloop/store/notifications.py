"""Notifications: hints from whoever changed something in the store to whoever waits for it or has cached it.

    store.notifications.subscribe(Topic.PERMISSIONS, forget)
    await store.notifications.publish(Topic.PERMISSIONS, "42:7")

Where several nodes share a database on a server, a notification reaches all of them (`engines.postgresql_listener`);
with SQLite, it stays in the process. It comes after the commit of what it is about, and may come although
nothing changed. If some may have been lost, as with a connection, subscribers are called with None, which
stands for every key: they look for themselves, or forget everything.
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
    """A kind of thing that notifications are about."""

    PERMISSIONS = "permissions"
    """Somebody's permissions may have changed: `USER:REPOSITORY`, by their ids; either may be empty."""

    APPROVALS = "approvals"
    """A head was approved: the order key of its deliveries."""

    REQUESTS = "requests"
    """A node is asked for something (`requests`): its id."""

    RUNTIMES = "runtimes"
    """A runtime has connected to a node: its user's id."""

    POLICIES = "policies"
    """The policy in a repository may have changed: its id."""

    PLACES = "places"
    """A run has ended, or waits again, so that another one of its user or repository may begin. Its key is empty."""

    RUNS = "runs"
    """A run is new, in another state, or another node's: its id."""


class Notifications:
    """The subscribers of this process, and the way to those of all nodes.

    Subscribe before the store is used by tasks: a callback doesn't subscribe.

    Attributes:
        heard: how many have come since the store was opened.
        gaps: how many times some may have been lost.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.heard = self.gaps = 0
        self._callbacks: defaultdict[Topic, list[Callable[[str | None], object]]] = defaultdict(
            list
        )

    def subscribe(self, topic: Topic, callback: Callable[[str | None], object]) -> None:
        """Call `callback` with the key of each notification from now on, or with None for any key.

        It is called in Trio's thread, and must neither block nor raise. It is called for the
        notifications of this process, too.
        """
        self._callbacks[topic].append(callback)

    def attach(self, db: Connection, topic: Topic, key: str) -> None:
        """Notify all nodes once the transaction of this connection is committed.

        Args:
            key: has no NUL, and at most 1,000 characters.
        """
        self._engine.database.notify(db, topic, key)

    async def publish(self, topic: Topic, key: str) -> None:
        """Notify all nodes now. Waits for a database that can't be reached; may raise StoreError.

        If cancelled, they may or may not have been notified.
        """

        def publish(db: Connection) -> None:
            self.attach(db, topic, key)

        await self._engine.write(publish)

    def deliver(self, topic: str, key: str) -> None:
        """Call the subscribers of a topic. One that this version doesn't know is ignored."""
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
