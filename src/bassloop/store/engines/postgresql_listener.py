"""Notifications through PostgreSQL: `LISTEN` on a connection of its own, which Trio waits for.

Whether they arrive is tried every few seconds, with a notification to ourselves. The server delivers them in
the order of their transactions, so when that one arrives, all earlier ones have. When it doesn't, because the
connection is dead or a pooler such as PgBouncer gives it another server in the middle, the connection is
replaced, and those who wait for notifications are told to look for themselves: every few seconds, then. The first
one comes from another connection, as those of other nodes do: a pooler passes on what it hears in the middle of
our own transaction, but nothing else.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

import structlog
import trio
from psycopg import OperationalError
from psycopg.pq import ExecStatus

from bassloop.store.errors import StoreError, StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg.pq.abc import PGconn

    from bassloop.store.database import Database
    from bassloop.store.engines.postgresql_connection import PostgreSQLConnection

CHANNEL = "'bassloop_' || md5(current_schema())"
"""The channel of a loop, whose tables are in a schema of the database."""

ECHO_SECONDS = 5.0
"""How often it is tried whether notifications arrive."""

ANSWER_SECONDS = 4.0
"""How long a notification to ourselves may take."""

RETRY_SECONDS = 1.0

_ECHO = "echo"

log = structlog.get_logger(__name__)


class PostgreSQLListener:
    """A connection that listens to the notifications of all nodes, and is replaced when it is lost."""

    def __init__(
        self,
        database: Database,
        connect: Callable[[], PostgreSQLConnection],
        deliver: Callable[[str, str], None],
        deliver_gap: Callable[[], None],
    ) -> None:
        self._database, self._connect = database, connect
        self._deliver, self._deliver_gap = deliver, deliver_gap
        self._id = secrets.token_hex(8)
        self._echoes_sent = self._echoes_heard = 0
        self._failing = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled. Started once notifications arrive, or the first attempt has failed."""
        started = False

        def note_attempt() -> None:
            nonlocal started
            if not started:
                task_status.started()
            started = True

        while True:
            try:
                connection = await self._open()
                try:
                    await self._listen(connection.driver.pgconn, note_attempt)
                finally:
                    connection.close()
            except (StoreError, OperationalError) as error:
                if not self._failing:
                    log.warning("notifications of other nodes are late", why=str(error).strip())
                self._failing = True
            note_attempt()
            self._deliver_gap()
            await trio.sleep(RETRY_SECONDS)

    async def _open(self) -> PostgreSQLConnection:
        """Return a connection that listens. Raises StoreError."""
        abandoned = False

        def open_connection() -> PostgreSQLConnection:
            connection = self._connect()
            try:
                (channel,) = connection.execute(f"SELECT {CHANNEL}").fetchone() or ("",)
                connection.execute(f"LISTEN {channel}")
                with contextlib.closing(self._connect()) as another:
                    another.execute(self._next_echo())
                connection.driver.pgconn.nonblocking = 1
            except self._database.errors as error:
                connection.close()
                raise self._database.translate(error) from error
            if abandoned:
                connection.close()
            return connection

        try:
            return await trio.to_thread.run_sync(open_connection, abandon_on_cancel=True)
        except trio.Cancelled:
            abandoned = True
            raise

    async def _listen(self, server: PGconn, note_attempt: Callable[[], None]) -> None:
        """Deliver notifications until the connection is lost.

        Raises OperationalError or StoreUnreachable then.
        """
        while True:
            with trio.move_on_after(ANSWER_SECONDS):
                while self._echoes_heard < self._echoes_sent:
                    await self._receive(server)
            if self._echoes_heard < self._echoes_sent:
                raise StoreUnreachable(
                    f"database {self._database} doesn't pass notifications on: is a pooler, such as "
                    "PgBouncer in transaction mode, before it?"
                )
            if self._failing:
                log.info("notifications of other nodes arrive again")
                self._failing = False
                self._deliver_gap()
            note_attempt()
            with trio.move_on_after(ECHO_SECONDS):
                while True:
                    await self._receive(server)
            await self._send_echo(server)

    def _next_echo(self) -> str:
        """Return the statement that sends the next notification to ourselves."""
        self._echoes_sent += 1
        return f"SELECT pg_notify({CHANNEL}, '{_ECHO} {self._id}:{self._echoes_sent}')"

    async def _send_echo(self, server: PGconn) -> None:
        server.send_query(self._next_echo().encode())
        while server.flush():
            await trio.lowlevel.wait_writable(server.socket)

    async def _receive(self, server: PGconn) -> None:
        await trio.lowlevel.wait_readable(server.socket)
        server.consume_input()
        while not server.is_busy() and (result := server.get_result()) is not None:
            if result.status == ExecStatus.FATAL_ERROR:
                raise OperationalError(result.error_message.decode(errors="replace"))
        while (notification := server.notifies()) is not None:
            topic, _, key = notification.extra.decode(errors="replace").partition(" ")
            if topic != _ECHO:
                self._deliver(topic, key)
            elif key == f"{self._id}:{self._echoes_sent}":
                self._echoes_heard = self._echoes_sent
