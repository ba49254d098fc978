"""The journal: any change to it is detected."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bassloop.store import FileBlobs, find_database, open_store
from bassloop.store.journals import FIRST, JournalEntry, broken_links
from bassloop.store.maintenance.integrity import check_store
from tests.checks.test_trusted import BOTH, checked, open_loop_with_policy, trusted_runner
from tests.checks.test_user_actions import PULL, press, pulled
from tests.records import make_run
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository
    from tests.small_loop import SmallLoop


def chain(length: int, repository: int = 1) -> list[JournalEntry]:
    entries: list[JournalEntry] = []
    for number in range(1, length + 1):
        previous = entries[-1].hash if entries else FIRST
        entry = JournalEntry(
            number, 1.5, repository, "octocat/hello", "octocat", "started", "r", "☃", previous
        )
        entries.append(replace(entry, hash=entry.computed_hash()))
    return entries


def test_complete_chains_of_several_repositories_are_valid() -> None:
    one, other = chain(3), chain(2, repository=2)
    assert not list(broken_links([one[0], other[0], one[1], other[1], one[2]]))


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "mallory"},
        {"at": 1.25},
        {"about": ""},
        {"run": "other"},
        {"action": "approved"},
        {"repository": "octocat/other"},
    ],
)
def test_a_changed_entry_is_detected(change: dict[str, object]) -> None:
    entries = chain(3)
    entries[1] = replace(entries[1], **change)  # type: ignore[arg-type]
    assert [each for each in broken_links(entries) if "entry 2" in each and "was changed" in each]
    # Its hash made to fit, the next one doesn't follow.
    entries[1] = replace(entries[1], hash=entries[1].computed_hash())
    assert [
        each for each in broken_links(entries) if "entry 3" in each and "doesn't follow" in each
    ]


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_entry_is_detected(missing: int) -> None:
    entries = chain(3)
    del entries[missing]
    assert list(broken_links(entries))


async def test_check_detects_a_changed_row(tmp_path: Path) -> None:
    database, blobs = tmp_path / "loop.db", tmp_path / "blobs"
    async with open_store(database, blobs) as store:
        for _ in range(3):
            await store.journals.append(make_run(), "octocat", "approved", "c0ffee")
        assert [each.number for each in await store.journals.newest(make_run().repository_id)] == [
            3,
            2,
            1,
        ]
    assert not list(check_store(find_database(database), FileBlobs(blobs), in_use=False))
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE journal SET actor = 'mallory' WHERE number = 2")
    found = [
        each.what for each in check_store(find_database(database), FileBlobs(blobs), in_use=False)
    ]
    assert any("entry 2 of the journal" in each and "was changed" in each for each in found)


async def actions(loop: SmallLoop) -> list[tuple[str, str]]:
    [repository] = {
        run.repository_id for run in (await loop.store.runs.newest(public_only=False)).items
    }
    entries = await loop.store.journals.following(repository, 0)
    assert not list(broken_links(entries))
    assert json.loads(json.dumps(entries[0].json()))["previous"] == FIRST
    return [(each.actor, each.action) for each in entries]


async def test_actions_are_recorded_in_the_journal(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, BOTH) as loop,
        loop.runner(),
        trusted_runner(loop),
    ):
        await checked(loop)
        done = await actions(loop)
        assert sorted(done) == [
            ("alice", "signed"),
            ("alice", "started"),
            ("alice", "verified"),
            ("octocat", "started"),
        ]
        await press(loop, "rerun", "again", name="it (trusted)", sender="octocat")
        await until(lambda: not loop.inbox.statistics()["handling"])
        assert ("octocat", "rerun") in await actions(loop)


async def test_approvals_and_cancelled_runs_are_written_down(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, "", PULL, wait="600") as loop:
        loop.standin.add_user("stranger")
        loop.standin.add_user("maintainer", permission="write")
        await pulled(loop, "g1")
        await until(loop.shown)
        await press(loop, "approve", "yes", name="it", sender="maintainer")
        await press(loop, "cancel", "no", name="it", sender="stranger")
        await loop.inbox.finished("g1")
        assert await actions(loop) == [("maintainer", "approved"), ("stranger", "cancelled")]
