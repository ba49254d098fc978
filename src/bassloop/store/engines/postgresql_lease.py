"""The lease of a loop whose database is on a server: taken, renewed, given back, and found to be lost."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import structlog
import trio

from bassloop.store import nodes
from bassloop.store.engines.postgresql_connection import LOCK_KEY, MAINTENANCE
from bassloop.store.errors import (
    TEMPORARY,
    NodeDrained,
    StoreError,
    StoreTaken,
    StoreUnreachable,
    StoreUnusable,
)
from bassloop.store.leases import RENEW_SECONDS, ForeignNode, Tenure

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.store.database import Database
    from bassloop.store.engines.postgresql_connection import PostgreSQLConnection
    from bassloop.store.records import Node

T = TypeVar("T")

ANSWER_SECONDS = 4.0
"""How long the server may take to answer before another connection is tried."""

_CHANNEL = "bassloop_lease"

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Fence:
    """The node and the epoch without which a transaction doesn't begin. Epoch -1: there is no fence."""

    node: str = ""
    epoch: int = -1

    def lets_through(self, node: str, epoch: int) -> bool:
        """Return whether a transaction may begin while this node has the lease in this epoch."""
        return self.epoch < 0 or (node, epoch) == (self.node, self.epoch)


class _Standing(NamedTuple):
    """What a node finds when it looks whether it may take the lease."""

    epoch: int | None
    holder: str
    draining: bool


class _Renewal(NamedTuple):
    """What became of a renewal."""

    renewed: bool
    draining: bool
    has_company: bool


class PostgreSQLLease:
    """A node's lease of the loop, on a connection of its own.

    Attributes:
        node: the node's id.
        drain_requested: set when somebody asks this node to drain.
    """

    def __init__(
        self,
        database: Database,
        connect: Callable[[], PostgreSQLConnection],
        node: Node,
        identity: str,
        fence: Fence,
    ) -> None:
        self._database, self._connect = database, connect
        self._node, self._identity, self._fence = node, identity, fence
        self._connection: PostgreSQLConnection | None = None
        self._tenure: Tenure | None = None
        self._released = False
        self.node = node.id
        self.drain_requested = trio.Event()

    async def acquire(self, on_standby: Callable[[str], None]) -> None:
        """Wait until this node has the lease.

        Raises NodeDrained if it is asked to drain before, and StoreUnusable for a database that can't be
        used, or if this node isn't of the loop.

        Args:
            on_standby: called with the name of the node that has it, at every look.
        """
        await trio.to_thread.run_sync(self._database.prepare)
        while True:
            began = trio.current_time()
            try:
                found = await self._run(self._look)
            except TEMPORARY as error:
                on_standby(str(error))
            else:
                if found.epoch is not None:
                    self._tenure = Tenure(found.epoch, began)
                    self._fence.node, self._fence.epoch = self._node.id, found.epoch
                    return
                if found.draining:
                    raise NodeDrained(f"{self._node.name} was asked to drain while it stood by")
                on_standby(found.holder)
            await self._pause()

    async def keep(self) -> None:
        """Renew the lease until cancelled. Raises StoreTaken once another node has it, or may have it."""
        tenure = self._tenure
        assert tenure is not None, "acquire comes first"
        while True:
            await self._pause()
            began = trio.current_time()
            try:
                found = await self._run(lambda db: self._renew(db, tenure.epoch))
            except TEMPORARY as error:
                log.warning("lease not renewed", error=str(error))
                if tenure.is_over(trio.current_time()):
                    raise StoreTaken(
                        f"database {self._database}: the lease couldn't be renewed in time, and other "
                        "nodes are there to take it over; start this one again to let it stand by"
                    ) from error
                continue
            if not found.renewed:
                raise StoreTaken(taken_message(self._database))
            tenure.renew(began, has_company=found.has_company)
            if found.draining:
                self.drain_requested.set()

    async def release(self) -> None:
        """Give the lease back, so that another node takes it at once. Doesn't raise StoreError."""
        epoch = self._tenure.epoch if self._tenure else None

        def release(db: PostgreSQLConnection) -> None:
            nodes.give_back(db, self._node, epoch, self._database.now(db))
            db.execute(f"NOTIFY {_CHANNEL}")

        with contextlib.suppress(StoreError):  # it ends by itself
            await self._run(release)
        self._released = True
        self._disconnect()

    def _look(self, db: PostgreSQLConnection) -> _Standing:
        """Take the lease if nobody has it."""
        database = self._database
        now = database.now(db)
        draining = nodes.note_alive(db, self._node, now)
        lease = nodes.find_lease(db)
        try:
            if draining or not lease.may_be_taken(now, self._identity):
                return _Standing(None, nodes.find_name(db, lease.node), draining)
        except ForeignNode:
            raise StoreUnusable(
                f"database {database}: {nodes.find_name(db, lease.node)} serves it with another SSH host "
                "key, session secret, webhook secret or bucket: give all nodes the same (SSH_HOST_KEY, "
                "SESSION_SECRET, GITHUB_APP_WEBHOOK_SECRET, BLOBS_URL)"
            ) from None
        database.begin(db)  # after the last transaction of who had it before
        try:
            lock = f"SELECT pg_try_advisory_xact_lock({LOCK_KEY}, {MAINTENANCE})"
            (free,) = db.execute(lock).fetchone() or (False,)
            epoch = nodes.take_lease(db, self._node, self._identity, now) if free else None
            database.commit(db)
        except BaseException:
            if not database.is_lost(db):
                db.execute("ROLLBACK")
            raise
        return _Standing(epoch, "another node" if free else "a command that repairs it", draining)

    def _renew(self, db: PostgreSQLConnection, epoch: int) -> _Renewal:
        now = self._database.now(db)
        renewed = nodes.renew_lease(db, self._node, epoch, now)
        draining = nodes.note_alive(db, self._node, now)
        return _Renewal(renewed, draining, nodes.has_company(db, self._node, now))

    async def _run(self, use: Callable[[PostgreSQLConnection], T]) -> T:
        """Return what `use` returns for the connection, which is opened anew if it was lost.

        Raises StoreError; TEMPORARY ones if the server doesn't answer in ANSWER_SECONDS.
        """
        database = self._database

        def run() -> T:
            connection, self._connection = self._connection, None
            try:
                if connection is None:
                    connection = self._connect()
                    connection.execute(f"LISTEN {_CHANNEL}")
                result = use(connection)
            except BaseException as error:
                if connection is not None:
                    connection.close()
                if isinstance(error, database.errors):
                    raise database.translate(error) from error
                raise
            self._put_back(connection)
            return result

        try:
            with trio.fail_after(ANSWER_SECONDS):
                return await trio.to_thread.run_sync(run, abandon_on_cancel=True)
        except trio.TooSlowError:
            raise StoreUnreachable(f"database {database} doesn't answer") from None

    def _put_back(self, connection: PostgreSQLConnection) -> None:
        if self._connection is None and not self._released:
            self._connection = connection
        else:  # the thread was given up, and another one has connected, or none is needed any more
            connection.close()

    async def _pause(self) -> None:
        """Wait until it is time for the next look or renewal, or a node has given the lease back."""
        with trio.move_on_after(RENEW_SECONDS):
            if (connection := self._connection) is None:
                await trio.sleep_forever()
            await trio.lowlevel.wait_readable(connection.driver.fileno())
            try:
                for _ in connection.driver.notifies(timeout=0):
                    pass
            except self._database.errors:
                self._disconnect()
                await trio.sleep_forever()  # the server needs a moment

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def taken_message(database: Database) -> str:
    """Return what a node is told that has lost the lease."""
    return (
        f"database {database}: another node has taken over, since this one was not heard of for too "
        "long; start it again to let it stand by"
    )
