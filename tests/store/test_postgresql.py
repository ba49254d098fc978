"""A database on a server is refused with the reason and the fix, and a connection that is lost is replaced."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

import psycopg
import pytest
import trio

from bassloop.store import (
    StoreConflict,
    StoreError,
    StoreFull,
    StoreUnusable,
    open_store,
    reads_fail_fast,
)
from bassloop.store.engines import postgresql as engine_module
from bassloop.store.engines.postgresql import PostgreSQLDatabase
from bassloop.store.engines.postgresql_connection import translate_sql
from bassloop.store.errors import StoreLocked, StoreUnreachable

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.store import Store
    from bassloop.store.database import Connection
    from tests.databases import PostgreSQLServer

pytestmark = pytest.mark.postgresql


@pytest.fixture(params=["postgresql"])  # a parameter, so that these tests run in its session
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


GONE = "postgresql://ada:secret@127.0.0.1:1/loop"


async def refusal(url: str, tmp_path: Path, *, owner: bool = True) -> str:
    with pytest.raises(StoreUnusable) as caught:
        async with open_store(url, tmp_path / "blobs", owner=owner):
            pass
    return str(caught.value)


def execute(url: str, *statements: str) -> None:
    with contextlib.closing(psycopg.connect(url, autocommit=True)) as connection:
        for statement in statements:
            connection.execute(statement)


def end_connections(url: str) -> None:
    """End all connections to a database, as a server that restarts does."""
    execute(
        url,
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid != pg_backend_pid()",
    )


async def test_an_empty_database_gets_its_tables(elsewhere: str, tmp_path: Path) -> None:
    async with open_store(elsewhere, tmp_path / "blobs") as store:
        assert await store.deliveries.unfinished() == []
        assert (await store.figures()).database_bytes > 0
        assert await store.created_at() > 0


async def test_a_database_of_another_program_is_refused(elsewhere: str, tmp_path: Path) -> None:
    execute(elsewhere, "CREATE TABLE places (url TEXT)")
    assert "belongs to another program" in await refusal(elsewhere, tmp_path)


async def test_a_database_of_a_newer_version_is_refused(location: str, tmp_path: Path) -> None:
    execute(location, "INSERT INTO bassloop_migrations VALUES ('9999_future', 1.0)")
    said = await refusal(location, tmp_path)
    assert "made by a newer bassloop (it has 9999_future): upgrade" in said


async def test_a_server_that_is_too_old_is_refused(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "OLDEST_SERVER", 990_000)
    assert "is too old: version 99 or newer is needed" in await refusal(location, tmp_path)


async def test_a_missing_database_is_named(postgresql: PostgreSQLServer, tmp_path: Path) -> None:
    said = await refusal(postgresql.url("nowhere"), tmp_path)
    assert 'can\'t be used (database "nowhere" does not exist): check DATABASE_URL' in said


async def test_an_unreachable_server_is_named_without_the_password(tmp_path: Path) -> None:
    said = await refusal(GONE, tmp_path, owner=False)
    assert said.startswith("database postgresql://ada@127.0.0.1:1/loop can't be reached (")
    assert "secret" not in said
    assert "\n" not in said


async def test_a_daemon_waits_for_an_unreachable_server_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    with trio.CancelScope() as scope:

        def note(why: str) -> None:
            said.append(why)
            scope.cancel()

        async with open_store(GONE, tmp_path / "blobs", on_wait=note):
            pytest.fail("there is no database")
    [why] = said
    assert why.startswith("database postgresql://ada@127.0.0.1:1/loop can't be reached (")


async def test_invalid_addresses_are_refused(tmp_path: Path) -> None:
    said = await refusal("postgresql://host/name?colour=red", tmp_path)
    assert "DATABASE_URL is not the address of a PostgreSQL database" in said


async def test_a_database_of_another_encoding_is_refused(location: str, tmp_path: Path) -> None:
    create = (
        "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    with contextlib.closing(psycopg.connect(location, autocommit=True)) as db:
        db.execute(create)
        try:
            said = await refusal(urlsplit(location)._replace(path="/ascii").geturl(), tmp_path)
        finally:
            db.execute("DROP DATABASE ascii WITH (FORCE)")
    assert "has the encoding SQL_ASCII: create one with CREATE DATABASE … ENCODING 'UTF8'" in said


async def test_commands_that_need_the_database_alone_are_refused_while_a_daemon_runs(
    location: str, tmp_path: Path
) -> None:
    database = PostgreSQLDatabase(location)
    assert not database.is_served()
    async with open_store(location, tmp_path / "blobs") as store:
        assert database.is_served()
        with (
            pytest.raises(StoreUnusable, match="locked: another bassloop serves it"),
            database.ownership(),
        ):
            pass
        assert await store.deliveries.record("g", "push", None, b"")
    assert not database.is_served()


async def test_reads_and_writes_continue_after_the_server_has_ended_all_connections(
    store: Store, location: str
) -> None:
    await store.deliveries.record("before", "push", None, b"")
    await store.deliveries.get("before")
    await trio.to_thread.run_sync(end_connections, location)
    assert await store.deliveries.get("before") is not None
    await store.deliveries.record("after", "push", None, b"", wait=True)
    assert await store.deliveries.stored(["before", "after"]) == {"before", "after"}
    assert PostgreSQLDatabase(location).is_served()


async def test_a_daemons_reads_wait_for_an_unreachable_server_unless_a_request_waits_for_them(
    store: Store, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, tries = PostgreSQLDatabase.connect_reader, 0

    def refuse(self: PostgreSQLDatabase) -> NoReturn:
        nonlocal tries
        tries += 1
        if tries == 3:
            monkeypatch.setattr(PostgreSQLDatabase, "connect_reader", connect)
        raise StoreUnreachable("the server is gone")

    monkeypatch.setattr("bassloop.store.engine.RETRY_SECONDS", 0.01)
    monkeypatch.setattr(PostgreSQLDatabase, "connect_reader", refuse)
    async with open_store(location, tmp_path / "blobs", owner=False) as command:
        with pytest.raises(StoreUnreachable):
            await command.deliveries.unfinished()
    await trio.to_thread.run_sync(end_connections, location)
    with reads_fail_fast(), pytest.raises(StoreUnreachable):
        await store.deliveries.unfinished()
    assert await store.deliveries.unfinished() == []
    assert tries == 3


@pytest.mark.parametrize("committed", [True, False])
async def test_the_outcome_of_a_commit_without_a_response_is_determined(
    store: Store, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """The connection is lost after the server has committed, or before."""
    execute_first = engine_module.PostgreSQLConnection.execute
    lost = []

    def execute(self: engine_module.PostgreSQLConnection, sql: str, *parameters: object) -> object:
        if sql == "COMMIT" and not lost:
            lost.append(self)
            if committed:
                execute_first(self, sql)
            self.close()
            raise psycopg.OperationalError("the connection is lost")
        return execute_first(self, sql, *parameters)

    monkeypatch.setattr(engine_module.PostgreSQLConnection, "execute", execute)
    if committed:
        assert await store.deliveries.record("g", "push", None, b"")
    else:
        with pytest.raises(StoreUnreachable):
            await store.deliveries.record("g", "push", None, b"")
    assert lost
    assert await store.deliveries.stored(["g"]) == ({"g"} if committed else set())


async def test_a_reader_can_not_write(store: Store) -> None:
    def write(db: Connection) -> None:
        db.execute("DELETE FROM deliveries")

    # A server that takes no writes counts as one that can't be reached: it may be about to take over.
    with reads_fail_fast(), pytest.raises(StoreError, match="read-only transaction"):
        await store._engine.read(write)


@pytest.mark.parametrize(
    ("state", "text", "kind", "words"),
    [
        ("53100", "could not extend file", StoreFull, "the server's disk is full"),
        ("23505", "duplicate key", StoreConflict, "refuses the change"),
        ("55P03", "canceling statement", StoreLocked, "locked by another process"),
        ("42501", "permission denied for schema", StoreUnusable, "check DATABASE_URL"),
        ("57P01", "terminating connection", StoreUnreachable, "is the server running"),
        ("25P03", "idle-in-transaction timeout", StoreUnreachable, "idle-in-transaction"),
        ("53300", "too many connections", StoreUnreachable, "is the server running"),
        ("42601", "syntax error", StoreError, "syntax error"),
        (
            None,
            'connection to server at "h", port 5432 failed: FATAL:  password authentication failed '
            'for user "ada"',
            StoreUnusable,
            'can\'t be used (password authentication failed for user "ada"): check DATABASE_URL',
        ),
        (None, "FATAL:  the database system is starting up", StoreUnreachable, "starting up"),
    ],
)
def test_each_error_of_the_server_names_the_database_and_the_fix(
    state: str | None, text: str, kind: type[StoreError], words: str
) -> None:
    error = psycopg.OperationalError(text)
    error.sqlstate = state
    made = PostgreSQLDatabase("postgresql://ada:secret@h/loop").translate(error)
    assert type(made) is kind
    assert words in str(made)
    assert "postgresql://ada@h/loop" in str(made)
    assert "secret" not in str(made)


def test_placeholders_are_translated_for_psycopg() -> None:
    assert translate_sql("a = ? AND b = :b AND c = '?:b%' AND d = e::text") == (
        "a = %s AND b = %(b)s AND c = '?:b%%' AND d = e::text"
    )
    assert translate_sql("r.login = :login COLLATE NOCASE") == "lower(r.login) = lower(%(login)s)"
