"""Notifications reach every process that has the database open, on both engines, and a gap is announced."""

from __future__ import annotations

import contextlib
import math
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
import trio
import trio.testing

from bassloop.store import Store, Topic
from bassloop.store.engine import open_engine
from bassloop.store.engines import find_database, postgresql_connection
from bassloop.store.engines.postgresql import PostgreSQLConnection, PostgreSQLDatabase
from bassloop.store.notifications import Notifications
from tests.store.made import intend, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


class Heard:
    """The notifications about a topic that a process has received."""

    def __init__(self, notifications: Notifications, topic: Topic = Topic.PERMISSIONS) -> None:
        self._send, self._receive = trio.open_memory_channel[str | None](math.inf)
        notifications.subscribe(topic, self._send.send_nowait)

    async def next(self) -> str | None:
        """Wait for the next key."""
        with trio.fail_after(120):
            return await self._receive.receive()

    async def next_key(self) -> str:
        """Wait for the next key that isn't a gap."""
        while (key := await self.next()) is None:
            pass
        return key


@asynccontextmanager
async def another_process(location: Path | str) -> AsyncIterator[Notifications]:
    """Listen to a database beside its daemon."""
    database = find_database(location)
    async with open_engine(database, patient=True) as engine, trio.open_nursery() as nursery:
        notifications = Notifications(engine)
        await nursery.start(database.listen, notifications.deliver, notifications.deliver_gap)
        yield notifications
        nursery.cancel_scope.cancel()


async def test_a_process_gets_its_own_notifications_in_order(store: Store) -> None:
    heard = Heard(store.notifications)
    await store.notifications.publish(Topic.POLICIES, "7")
    for key in ("1:", ":2", "3:4", ""):
        await store.notifications.publish(Topic.PERMISSIONS, key)
    assert [await heard.next_key() for _ in range(4)] == ["1:", ":2", "3:4", ""]


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_notifying_the_only_daemon_writes_nothing_to_its_database_file(
    store: Store, location: Path
) -> None:
    heard, journal = Heard(store.notifications), location.with_name(f"{location.name}-wal")
    await store.probe()
    before = journal.read_bytes()
    await store.notifications.publish(Topic.PERMISSIONS, "1:")
    assert await heard.next_key() == "1:"
    assert journal.read_bytes() == before


async def test_the_beginning_and_the_end_of_a_run_are_each_notified_once(store: Store) -> None:
    heard, made = Heard(store.notifications, Topic.RUNS), run()
    await intend(store, made)
    assert await store.runs.start(made.id, "rt", "ada", "linux/amd64", 11.0)
    assert await store.runs.end(made.id, "failed", "exit status 1", 12.0)
    assert not await store.runs.end(made.id, "failed", "exit status 1", 12.0)
    await store.notifications.publish(Topic.RUNS, "the last")
    keys = [await heard.next_key() for _ in range(4)]
    assert keys == [made.id, made.id, made.id, "the last"]


async def test_a_topic_of_a_newer_version_is_ignored(store: Store) -> None:
    heard = Heard(store.notifications)
    store.notifications.deliver("weather", "rain")
    store.notifications.deliver("permissions", "1:")
    assert await heard.next_key() == "1:"


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
class TestOnAServer:
    async def test_another_process_is_notified(self, store: Store, location: str) -> None:
        async with another_process(location) as notifications:
            heard = Heard(notifications)
            await store.notifications.publish(Topic.PERMISSIONS, "1:2")
            assert await heard.next_key() == "1:2"

    async def test_notifications_of_another_database_are_not_received(
        self, store: Store, location: str, elsewhere: str
    ) -> None:
        async with another_process(elsewhere) as notifications:
            heard = Heard(notifications)
            await store.notifications.publish(Topic.PERMISSIONS, "theirs")
            await notifications.publish(Topic.PERMISSIONS, "ours")
            assert await heard.next_key() == "ours"

    async def test_a_connection_that_is_lost_is_replaced_and_the_gap_announced(
        self, store: Store, location: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # No other gaps, however late an echo comes on a busy machine.
        monkeypatch.setattr(postgresql_connection, "ANSWER_SECONDS", 600.0)
        async with another_process(location) as notifications:
            heard = Heard(notifications)
            await trio.to_thread.run_sync(end_listeners, location)
            assert await heard.next() is None  # the connection is lost
            assert await heard.next() is None  # notifications arrive again
            await store.notifications.publish(Topic.PERMISSIONS, "1:2")
            assert await heard.next() == "1:2"

    async def test_waiting_tasks_poll_if_no_notification_arrives(
        self, store: Store, location: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As behind PgBouncer, whose server connections are others from one transaction to the next."""
        monkeypatch.setattr(postgresql_connection, "ANSWER_SECONDS", 0.1)
        monkeypatch.setattr(postgresql_connection, "RETRY_SECONDS", 0.1)
        monkeypatch.setattr(
            postgresql_connection, "CHANNEL", "'bassloop_' || floor(random() * 1e9)::bigint"
        )
        async with another_process(location) as notifications:
            heard = Heard(notifications)
            await store.notifications.publish(Topic.PERMISSIONS, "1:2")
            assert [await heard.next() for _ in range(2)] == [None, None]

    async def test_a_connection_that_is_opened_when_it_is_cancelled_is_closed(
        self, location: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its thread has done its work, and the task that waits for it hasn't been told yet."""
        opened: list[PostgreSQLConnection] = []
        connect, run_sync = PostgreSQLDatabase._connect_directly, trio.to_thread.run_sync
        is_done = threading.Event()

        def note(self: PostgreSQLDatabase) -> PostgreSQLConnection:
            opened.append(connect(self))
            return opened[-1]

        async def run_and_note(work: Callable[[], object], **options: bool) -> object:
            def work_and_note() -> object:
                result = work()
                is_done.set()
                return result

            return await run_sync(work_and_note, **options)

        monkeypatch.setattr(PostgreSQLDatabase, "_connect_directly", note)
        monkeypatch.setattr(trio.to_thread, "run_sync", run_and_note)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(PostgreSQLDatabase(location).listen, print, print)
            await trio.testing.wait_all_tasks_blocked()
            assert is_done.wait(120)  # meanwhile, no task can be told anything
            nursery.cancel_scope.cancel()
        assert [each.driver.closed for each in opened] == [True, True]


def end_listeners(url: str) -> None:
    with contextlib.closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND (query LIKE 'LISTEN%' OR query LIKE '%pg_notify%') "
            "AND pid != pg_backend_pid()"
        )
