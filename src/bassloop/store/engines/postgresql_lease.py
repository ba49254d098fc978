"""The lease of a node on a database server: acquires, renews and releases it, and detects its loss."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import structlog
import trio

from bassloop.concurrency import AutoResetEvent, sleepless_time
from bassloop.store import nodes
from bassloop.store.engines.postgresql_connection import LOCK_KEY, MAINTENANCE
from bassloop.store.errors import (
    TEMPORARY,
    StoreError,
    StoreTaken,
    StoreUnreachable,
    StoreUnusable,
)
from bassloop.store.liveness import RENEW_SECONDS, Cluster, OwnLease

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.store.database import Database
    from bassloop.store.engines.postgresql_connection import PostgreSQLConnection
    from bassloop.store.liveness import Node

T = TypeVar("T")

ANSWER_SECONDS = 4.0
"""How long the server may take to answer before it counts as unreachable, and another connection is opened."""

RETRY_SECONDS = 0.5
"""The delay before another attempt to renew the lease. Two attempts that time out must fit into a lease."""

THREADS = 16
"""The maximum number of requests, most of them abandoned, to a server that doesn't answer. They have threads of their
own, so that a node can renew its lease while all others wait for something, such as a bucket."""

_CHANNEL = "bassloop_lease"

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Fence:
    """The id of the node whose lease every write transaction requires; empty for none."""

    node: str = ""


class PostgreSQLLease:
    """A node's lease, on a separate connection. See `DaemonLease` for its attributes."""

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
        self._own_lease: OwnLease | None = None
        self._threads = trio.CapacityLimiter(THREADS)
        self._released = False
        self.node = node.id
        self.drain_requested = trio.Event()
        self.others_ended = AutoResetEvent()
        self.cluster = Cluster()

    async def acquire(self, on_wait: Callable[[str], None]) -> None:
        """Become a node of the loop, as soon as the database permits it.

        Raises StoreUnusable for a database that can't be used, or if this node's identity differs from that of
        the other nodes.

        Args:
            on_wait: called with the reason before each wait.
        """
        while True:
            began = sleepless_time()
            try:
                await trio.to_thread.run_sync(self._database.prepare)
                has_joined = await self._run(self._join)
            except TEMPORARY as error:
                on_wait(str(error))
            else:
                if has_joined:
                    self._own_lease = OwnLease(began)
                    self._fence.node = self._node.id
                    return
                on_wait(f"a command has the database {self._database} for itself")
            await trio.sleep(RENEW_SECONDS)

    async def keep(self) -> None:
        """Renew the lease until cancelled. Raises StoreTaken once other nodes have taken over, or may have."""
        own_lease = self._own_lease
        assert own_lease is not None, "acquire comes first"
        while True:
            if own_lease.has_failed and own_lease.others:
                await trio.sleep(RETRY_SECONDS)
            else:
                await self._pause()
            began = sleepless_time()
            try:
                found = await self._run(self._renew)
            except TEMPORARY as error:
                log.warning("lease not renewed", error=str(error))
                own_lease.fail(began)
                if own_lease.is_over(sleepless_time()):
                    raise StoreTaken(
                        f"database {self._database}: the lease couldn't be renewed in time, and other "
                        "nodes are there to take over; start this one again"
                    ) from error
                continue
            if not found.is_renewed:
                raise StoreTaken(taken_message(self._database))
            own_lease.renew(began, found.others)
            self.cluster.note(found.others + 1, found.successors)
            if found.is_draining:
                self.drain_requested.set()
            if found.has_ended:
                self.others_ended.set()

    def may_write(self) -> bool:
        """Return False once, by this node's own clock, another node may have taken over."""
        return self._own_lease is None or self._own_lease.may_write(sleepless_time())

    async def release(self) -> None:
        """Give up the lease, so that others can take over at once. Doesn't raise StoreError."""
        if self._own_lease is not None:

            def release(db: PostgreSQLConnection) -> None:
                nodes.leave(db, self._node, self._database.now(db))
                db.execute(f"NOTIFY {_CHANNEL}")

            with contextlib.suppress(StoreError):  # the lease expires anyway
                await self._run(release)
        self._released = True
        self._disconnect()

    def _join(self, db: PostgreSQLConnection) -> bool:
        """Become a node. Return False if a command uses the database exclusively. Raises StoreUnusable."""
        database = self._database
        database.begin(db)  # its lock keeps others from joining at the same time
        try:
            lock = f"SELECT pg_try_advisory_xact_lock({LOCK_KEY}, {MAINTENANCE})"
            (is_free,) = db.execute(lock).fetchone() or (False,)
            foreign = None
            if is_free:
                foreign = nodes.join(db, self._node, self._identity, database.now(db))
                # Makes the others renew now, and so learn about this node. Otherwise, one that is cut off later would
                # think that it's alone, and continue checks that this node has taken over.
                db.execute(f"NOTIFY {_CHANNEL}")
            database.commit(db)
        except BaseException:
            if not database.is_lost(db):
                db.execute("ROLLBACK")
            raise
        if foreign is not None:
            raise StoreUnusable(
                f"database {database}: {foreign} serves it with another SSH host key, session secret, "
                "webhook secret or bucket: give all nodes the same (SSH_HOST_KEY, SESSION_SECRET, "
                "GITHUB_APP_WEBHOOK_SECRET, BLOBS_URL)"
            )
        return bool(is_free)

    def _renew(self, db: PostgreSQLConnection) -> nodes.Renewal:
        return nodes.renew_lease(db, self._node, self._database.now(db))

    async def _run(self, use: Callable[[PostgreSQLConnection], T]) -> T:
        """Call `use` with the connection in a thread, and return its result. Reconnects if necessary.

        Raises StoreError, in particular StoreUnreachable if the server doesn't answer within ANSWER_SECONDS.
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
                return await trio.to_thread.run_sync(
                    run, abandon_on_cancel=True, limiter=self._threads
                )
        except trio.TooSlowError:
            raise StoreUnreachable(f"database {database} doesn't answer") from None

    def _put_back(self, connection: PostgreSQLConnection) -> None:
        if self._connection is None and not self._released:
            self._connection = connection
        else:  # this thread was abandoned, and another one has connected, or the lease was released
            connection.close()

    async def _pause(self) -> None:
        """Wait until the next renewal is due, or another node has joined or released its lease."""
        with trio.move_on_after(RENEW_SECONDS):
            if (connection := self._connection) is None:
                await trio.sleep_forever()
            try:
                while not list(connection.driver.notifies(timeout=0)):
                    await trio.lowlevel.wait_readable(connection.driver.fileno())
            except self._database.errors:
                self._disconnect()
                await trio.sleep_forever()  # until the renewal is due, which reconnects

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def taken_message(database: Database) -> str:
    """Return the message for a node that has lost its lease."""
    return (
        f"database {database}: another node has taken over, since this one was not heard of for too "
        "long; start it again"
    )
