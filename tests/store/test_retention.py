"""Which runs are pruned, and which of their data."""

from __future__ import annotations

import dataclasses
import errno
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.store import (
    Bounds,
    NotStored,
    Retention,
    Store,
    StoreBusy,
    StoreError,
    StoreFull,
    find_database,
)
from bassloop.store.blobs import FileBlobs, blobs
from bassloop.store.logs.log_objects import log_sizes
from bassloop.store.maintenance import maintenance_lock
from bassloop.store.maintenance.prune import StoredRun, select_expired

from .made import THUNK, intend, run, step

if TYPE_CHECKING:
    import os
    from pathlib import Path

DAY = 86400.0


def stored_run(
    number: int, *, size: int = 10, removable: bool = True, of: str = "ada/engine"
) -> StoredRun:
    return StoredRun(f"r{number}", of, ended_at=number * DAY, removable=removable, bytes=size)


def ids(found: list[StoredRun]) -> list[str]:
    return [each.id for each in found]


def test_nothing_is_removed_without_a_limit() -> None:
    assert not Retention().bounded
    assert select_expired([stored_run(1)], Retention(), now=1000 * DAY) == []


def test_runs_that_ended_too_long_ago_are_removed() -> None:
    runs = [stored_run(n) for n in range(5)]
    assert ids(select_expired(runs, Retention(Bounds(seconds=2 * DAY)), now=4 * DAY)) == [
        "r0",
        "r1",
    ]


def test_the_oldest_runs_are_removed_until_the_rest_is_within_the_limit() -> None:
    runs = [
        stored_run(1, size=100),
        stored_run(2, size=5, removable=False),
        stored_run(3, size=30),
        stored_run(4, size=20),
    ]
    assert ids(select_expired(runs, Retention(Bounds(bytes=60)), now=9 * DAY)) == ["r1"]
    assert ids(select_expired(runs, Retention(Bounds(bytes=30)), now=9 * DAY)) == ["r1", "r3"]
    assert ids(select_expired(runs, Retention(Bounds(bytes=1)), now=9 * DAY)) == ["r1", "r3", "r4"]


def test_a_repository_has_limits_of_its_own() -> None:
    runs = [
        stored_run(1, of="ada/old"),
        stored_run(2),
        stored_run(3, of="Ada/Big"),
        stored_run(4, of="ada/big"),
    ]
    own = {"ADA/old": Bounds(seconds=DAY * 1000), "ada/big": Bounds(bytes=10)}
    assert ids(select_expired(runs, Retention(Bounds(seconds=DAY), own), now=3.5 * DAY)) == [
        "r2",
        "r3",
    ]
    only = Retention(Bounds(seconds=1.0), only="ada/BIG")
    assert ids(select_expired(runs, only, now=9 * DAY)) == ["r3", "r4"]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans(), st.sampled_from(["a/a", "b/b"]))),
    st.none() | st.integers(0, 200),
    st.none() | st.floats(0, 20 * DAY),
)
def test_limits_apply_except_to_runs_that_have_not_ended(
    made: list[tuple[int, bool, str]], size: int | None, seconds: float | None
) -> None:
    runs = [
        stored_run(n, size=s, removable=removable, of=of)
        for n, (s, removable, of) in enumerate(made)
    ]
    going = select_expired(runs, Retention(Bounds(seconds, size)), now=30 * DAY)
    assert all(each.removable for each in going)
    staying = [each for each in runs if each not in going]
    if seconds is not None:
        assert all(each.ended_at >= 30 * DAY - seconds for each in staying if each.removable)
    if size is not None and any(each.removable for each in staying):
        assert sum(each.bytes for each in staying) <= size


async def logged(store: Store, *, delivery: str, ended_at: float | None, thunk: str = "") -> str:
    """A run with a log, that ended and is concluded, or runs."""
    made = run(head_sha=f"head of {delivery}", delivery=delivery, thunk_digest=thunk)
    await store.deliveries.record(delivery, "push", None, b"{}", received_at=1.0)
    await store.deliveries.set_state(delivery, "handling")
    await store.deliveries.set_state(delivery, "done")
    check, _ = await store.checks.get_or_create(
        1,
        made.repository,
        5,
        made.head_sha,
        made.check_name,
        delivery,
        False,
        made,
        dataclasses.replace(THUNK, digest=thunk) if thunk else None,
    )
    from bassloop.store import StepUpdate

    found = await store.steps.put(made.id, [StepUpdate("v", "v")])
    log = await store.logs.open(made.id, found["v"].row)
    await log.append(b"hello\n" * 100, None, 1, 1.0)
    if ended_at is not None:
        await log.close()
        await store.runs.end(made.id, "succeeded", None, ended_at)
        await store.checks.conclude(check.row, "success")
    else:
        await log.flush()
    return made.id


async def test_a_run_is_deleted_with_everything_that_only_it_uses(
    store: Store, tmp_path: Path
) -> None:
    old = await logged(store, delivery="d-old", ended_at=DAY, thunk="OLD")
    new = await logged(store, delivery="d-new", ended_at=99 * DAY, thunk="NEW")
    running = await logged(store, delivery="d-running", ended_at=None)
    pruned = await store.prune(Retention(Bounds(seconds=50 * DAY)), now=100 * DAY)
    assert (pruned.runs, pruned.deliveries, pruned.thunks, pruned.orphans) == (1, 1, 1, 0)
    assert pruned.bytes > 600
    assert await store.runs.get(old) is None
    assert await store.checks.of_run(old) is None
    assert await store.steps.of_run(old) == []
    assert await store.deliveries.get("d-old") is None
    assert await store.thunks.get("OLD") is None
    assert await store.thunks.get("NEW") is not None
    assert await store.deliveries.get("d-running") is not None
    assert sorted(path.name for path in (tmp_path / "blobs" / "logs").iterdir()) == sorted(
        [new, running]
    )
    with pytest.raises(NotStored):
        await store.logs.extent(old, 1)


async def test_a_dry_run_only_counts(store: Store) -> None:
    old = await logged(store, delivery="d", ended_at=DAY)
    pruned = await store.prune(Retention(Bounds(bytes=0)), now=2 * DAY, dry_run=True)
    assert pruned.runs == 1
    assert pruned.bytes > 600
    assert await store.runs.get(old) is not None


async def test_a_run_that_is_not_concluded_on_github_is_not_pruned(store: Store) -> None:
    made = run()
    await intend(store, made)
    await store.runs.end(made.id, "succeeded", None, 1.0)
    assert (await store.prune(Retention(Bounds(seconds=1.0)), now=9 * DAY)).runs == 0


async def test_a_delivery_is_known_for_as_long_as_github_may_send_it_again(store: Store) -> None:
    await logged(store, delivery="d", ended_at=DAY)
    pruned = await store.prune(Retention(Bounds(seconds=1.0)), now=3 * DAY)
    assert (pruned.runs, pruned.deliveries) == (1, 0)
    assert await store.deliveries.stored(["d"]) == {"d"}
    pruned = await store.prune(Retention(Bounds(seconds=1.0)), now=10 * DAY)
    assert (pruned.runs, pruned.deliveries) == (0, 1)


async def test_a_held_delivery_is_removed_like_others_once_nobody_can_approve_it(
    store: Store,
) -> None:
    """Its page and its button are gone with its run, and anybody can send more."""
    for guid in ("first", "second"):
        await store.deliveries.record(guid, "pull_request", None, b"{}", received_at=1.0)
        await store.deliveries.set_state(guid, "handling")
        await store.deliveries.set_state(guid, "held")
    made = run(head_sha="head", delivery="second", state="action_required")
    await intend(store, made)
    pruned = await store.prune(Retention(Bounds(seconds=1.0)), now=10 * DAY)
    assert pruned.deliveries == 1
    assert await store.deliveries.stored(["first", "second"]) == {"second"}


async def test_folders_that_a_kill_left_without_their_run_are_swept(
    store: Store, tmp_path: Path
) -> None:
    where = await step(store)
    log = await store.logs.open(*where)
    await log.append(b"mine\n", None, 1, 1.0)
    await log.close()
    left = tmp_path / "blobs" / "logs" / "nobody"
    left.mkdir()
    (left / "1").write_bytes(b"12345")
    pruned = await store.prune(Retention(), now=1.0)
    assert (pruned.runs, pruned.orphans, pruned.bytes) == (0, 1, 5)
    assert not left.exists()
    assert await store.logs.lines(*where, 0, 9) == [b"mine"]


async def test_nothing_is_removed_during_a_backup(
    store: Store, location: Path | str, tmp_path: Path
) -> None:
    database = find_database(location)
    with maintenance_lock(database, tmp_path / "blobs"), pytest.raises(StoreBusy):
        await store.prune(Retention(Bounds(bytes=0)), now=1.0)


async def test_errors_of_the_system_are_reported_as_errors_of_the_store(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "blobs" / "lock").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"blobs: .*Is a directory"):
        await store.prune(Retention(), now=1.0)


async def test_a_full_disk_is_reported_if_there_is_no_room_for_the_lock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bassloop.store.maintenance.os.open", full)
    with pytest.raises(StoreFull):
        await store.prune(Retention(), now=1.0)


def test_a_file_that_disappears_while_it_is_counted_has_no_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "logs" / "r"
    folder.mkdir(parents=True)
    (folder / "1").write_bytes(b"12345")
    (folder / "1.lines").write_bytes(b"going")
    listed = blobs._entries

    def then_gone(place: Path) -> list[os.DirEntry[str]]:
        entries = listed(place)
        (folder / "1.lines").unlink(missing_ok=True)
        return entries

    monkeypatch.setattr(blobs, "_entries", then_gone)
    assert log_sizes(FileBlobs(tmp_path)) == {"r": 5}
