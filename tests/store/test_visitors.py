"""Sessions and repositories: what the store has about who may see what."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from bassloop.store import RepositoryRecord, Store, StoreConflict, User, open_store
from bassloop.store.visitors import NOBODY, SESSIONS_EACH

if TYPE_CHECKING:
    from pathlib import Path

OCTOCAT = User(5, "U_5", "octocat")


async def test_a_session_belongs_to_a_user_under_their_latest_login(
    location: Path | str, tmp_path: Path
) -> None:
    async with open_store(location, tmp_path / "blobs") as store:
        with pytest.raises(StoreConflict):
            await store.sessions.begin("secret", 5, 60)
        await store.users.put(OCTOCAT)
        expires_at = await store.sessions.begin("secret", 5, 60)
        await store.users.put(User(5, "U_5", "renamed"))
        session = await store.sessions.get("secret")
        assert session is not None
        assert (session.user_id, session.login, session.expires_at) == (5, "renamed", expires_at)
        assert await store.sessions.get("another") is None


async def test_an_older_answer_about_a_login_does_not_replace_a_newer_one(
    location: Path | str, tmp_path: Path
) -> None:
    now = time.time()

    async def put(store: Store, key: str, asked_at: float) -> None:
        await store.logins.put(
            "octocat", user_id=5, node_id="U_5", login="Octocat", keys=(key,), asked_at=asked_at
        )

    async with open_store(location, tmp_path / "blobs") as store:
        await store.logins.remove("octocat", asked_at=now)
        assert await store.logins.get("octocat") is None
        await put(store, "new", now - 10)
        await put(store, "old", now - 20)
        await store.logins.remove("octocat", asked_at=now - 15)
        found = await store.logins.get("octocat")
        assert found is not None
        assert (found.keys, found.asked_at) == (("new",), now - 10)
        await store.logins.remove("octocat", asked_at=now - 5)
        await put(store, "old", now - 7)
        found = await store.logins.get("octocat")
        assert found is not None
        assert (found.user_id, found.keys) == (NOBODY, ())
        await put(store, "of a wrong clock", now + 86_400)
        await put(store, "newest", now)
        found = await store.logins.get("octocat")
        assert found is not None
        assert found.keys == ("newest",)


async def test_a_session_expires_or_is_ended(location: Path | str, tmp_path: Path) -> None:
    async with open_store(location, tmp_path / "blobs") as store:
        await store.users.put(OCTOCAT)
        await store.sessions.begin("late", 5, -1)
        assert await store.sessions.get("late") is None
        for secret in ("one", "two", "three"):
            await store.sessions.begin(secret, 5, 60)
        assert await store.sessions.end("one")
        assert not await store.sessions.end("one")
        assert await store.sessions.get("one") is None
        assert await store.sessions.get("two") is not None
        assert await store.sessions.end_all(5) == 2
        assert await store.sessions.get("two") is None


async def test_the_oldest_of_too_many_sessions_are_ended(
    location: Path | str, tmp_path: Path
) -> None:
    async with open_store(location, tmp_path / "blobs", synchronous="OFF") as store:
        await store.users.put(OCTOCAT)
        for number in range(SESSIONS_EACH + 1):
            await store.sessions.begin(f"s{number}", 5, 60)
        assert await store.sessions.get("s0") is None
        assert await store.sessions.get("s1") is not None


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_a_copy_of_the_database_does_not_reveal_a_session(
    location: Path, tmp_path: Path
) -> None:
    async with open_store(location, tmp_path / "blobs") as store:
        await store.users.put(OCTOCAT)
        await store.sessions.begin("the-secret-of-a-session", 5, 60)
    assert b"the-secret-of-a-session" not in location.read_bytes()


async def test_the_latest_event_about_a_repository_counts(
    location: Path | str, tmp_path: Path
) -> None:
    async with open_store(location, tmp_path / "blobs") as store:
        assert await store.repositories.get(7) is None
        for record in (
            RepositoryRecord(7, "acme/vault", 1, public=False),
            RepositoryRecord(7, "acme/renamed", 2, public=True),
        ):
            await store.repositories.put(record)
            assert await store.repositories.get(7) == record
        # Only those that have runs are of interest to lists.
        assert await store.repositories.public(10) == []
        assert await store.repositories.private(10) == []


async def test_repositories_of_unknown_visibility_are_private_after_the_migration(
    tmp_path: Path,
) -> None:
    from sqlite_utils import Database

    from bassloop.store.schema import migrations

    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        migrations().apply(Database(connection), stop_before="0006_visitors")
        connection.execute("PRAGMA application_id = 0x42617373")
        connection.execute("INSERT INTO users VALUES (5, '', 'octocat')")
        for number, (repository, public) in enumerate([(1, 1), (1, 0), (2, 1)]):
            connection.execute(
                "INSERT INTO runs (id, user_id, login, repository_id, repository, public, event, "
                "delivery, head_sha, check_name, state, created_at, cmdline) "
                "VALUES (?, 5, 'octocat', ?, ?, ?, 'push', 'g', 's', 'c', 'queued', ?, '')",
                (f"r{number}", repository, f"o/r{repository}", public, 1.0 + number),
            )
            connection.execute(
                "INSERT INTO check_runs (repository_id, repository, installation_id, head_sha, name, "
                "generation, run_id, state, delivery) VALUES (?, ?, 3, 's', 'c', ?, ?, 'open', 'g')",
                (repository, f"o/r{repository}", number, f"r{number}"),
            )
        connection.commit()
    async with open_store(path, tmp_path / "blobs") as store:
        assert await store.repositories.get(1) == RepositoryRecord(1, "o/r1", 3, public=False)
        assert await store.repositories.get(2) == RepositoryRecord(2, "o/r2", 3, public=True)
        assert await store.repositories.private(10) == [1]
