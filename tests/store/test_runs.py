"""Checks are intended once, runs end once, and lists show what may be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.lifecycle import RUN_FINAL
from bassloop.store import (
    NotStored,
    RuntimeRecord,
    StoreConflict,
    ThunkRecord,
    User,
    new_run_id,
    open_store,
)

from .made import THUNK, intend, run

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.store import Store


async def test_a_check_is_created_once_for_a_head_and_a_name(store: Store) -> None:
    first = run(delivery="d1")
    assert await intend(store, first)
    assert not await intend(store, run(delivery="d1"))
    assert not await intend(store, run(delivery="d2"))
    assert await intend(store, run(check_name="lint"))
    assert await intend(store, run(head_sha="beef"))
    assert await intend(store, run(repository_id=2))
    found = await store.checks.of_run(first.id)
    assert found is not None
    assert (found.generation, found.state, found.github_id) == (1, "intended", None)
    assert await store.runs.get(first.id) == first


async def test_a_rerun_makes_a_new_generation_once_for_a_delivery(store: Store) -> None:
    await intend(store, run(delivery="d1"))
    second = run(delivery="d2")
    assert await intend(store, second, rerun=True)
    assert not await intend(store, run(delivery="d2"), rerun=True)
    assert not await intend(store, run(delivery="d1"), rerun=True)
    check, created = await store.checks.get_or_create(
        1, "ada/engine", 5, "c0ffee", "test", "d3", False, run(delivery="d3")
    )
    assert not created
    assert (check.generation, check.run_id) == (2, second.id)


async def test_a_check_run_is_bound_and_concluded_once(store: Store) -> None:
    made = run()
    await intend(store, made)
    ((check, owner),) = await store.checks.unfinished()
    assert owner == made
    await store.checks.bind(check.row, 99)
    await store.checks.bind(check.row, 99)
    with pytest.raises(StoreConflict, match="another id"):
        await store.checks.bind(check.row, 100)
    bound = await store.checks.by_github_id(99)
    assert bound is not None
    assert bound.state == "open"
    assert await store.checks.conclude(check.row, "success")
    assert not await store.checks.conclude(check.row, "failure")
    concluded = await store.checks.of_run(made.id)
    assert concluded is not None
    assert (concluded.state, concluded.conclusion) == ("concluded", "success")
    assert await store.checks.unfinished() == []


async def test_a_run_of_a_thunk_needs_the_thunk(store: Store) -> None:
    with pytest.raises(StoreConflict, match=r"(?i)foreign key"):
        await intend(store, run(thunk_digest="DIGEST"))
    assert await store.thunks.put(THUNK)
    assert await store.thunks.put(THUNK)
    made = run(thunk_digest="DIGEST")
    assert await intend(store, made)
    assert await store.thunks.get("DIGEST") == THUNK
    assert (await store.runs.newest(thunk_digest="DIGEST")).items == (made,)


async def test_another_thunk_of_the_same_digest_never_replaces_it(store: Store) -> None:
    await store.thunks.put(THUNK)
    assert not await store.thunks.put(ThunkRecord("DIGEST", "cd" * 32, "{}", b"", "evil", 2.0))
    assert await store.thunks.get("DIGEST") == THUNK


async def test_a_run_starts_and_ends(store: Store) -> None:
    made = run()
    await intend(store, made)
    assert [found.id for found in await store.runs.unfinished()] == [made.id]
    assert await store.runs.start(made.id, "rt", "ada", "linux/amd64", 11.0)
    running = await store.runs.get(made.id)
    assert running is not None
    assert (running.state, running.runtime_id, running.runner_login, running.platform) == (
        "running",
        "rt",
        "ada",
        "linux/amd64",
    )
    assert await store.runs.end(made.id, "failed", "exit status 1", 12.0)
    ended = await store.runs.get(made.id)
    assert ended is not None
    assert (ended.state, ended.message, ended.ended_at, ended.ended) == (
        "failed",
        "exit status 1",
        12.0,
        True,
    )
    assert await store.runs.unfinished() == []


@pytest.mark.parametrize("state", sorted(RUN_FINAL))
async def test_a_run_that_has_ended_does_not_change(store: Store, state: str) -> None:
    made = run()
    await intend(store, made)
    await store.runs.end(made.id, state, None, 12.0)
    assert not await store.runs.end(made.id, "succeeded", "late", 13.0)
    assert not await store.runs.start(made.id, "rt", "ada", "linux/amd64", 13.0)
    found = await store.runs.get(made.id)
    assert found is not None
    assert (found.state, found.ended_at) == (state, 12.0)


async def test_unknown_runs_and_states_are_refused(store: Store) -> None:
    with pytest.raises(NotStored, match="no run nowhere"):
        await store.runs.end("nowhere", "failed", None, 1.0)
    with pytest.raises(ValueError, match="not as running"):
        await store.runs.end("nowhere", "running", None, 1.0)
    with pytest.raises(ValueError, match="'odd' is not a valid RunState"):
        await intend(store, run(state="odd"))


async def test_runs_are_listed_newest_first_by_pages(store: Store) -> None:
    made = [run(head_sha=f"s{number}") for number in range(5)]
    for one in made:
        await intend(store, one)
    first = await store.runs.newest(2)
    assert first.items == (made[4], made[3])
    second = await store.runs.newest(2, before=first.next)
    assert second.items == (made[2], made[1])
    last = await store.runs.newest(2, before=second.next)
    assert (last.items, last.next) == ((made[0],), None)


async def test_runs_of_private_repositories_are_listed_only_on_request(store: Store) -> None:
    shown, hidden = run(head_sha="a"), run(head_sha="b", public=False)
    await intend(store, shown)
    await intend(store, hidden)
    assert (await store.runs.newest()).items == (shown,)
    assert (await store.runs.newest(public_only=False)).items == (hidden, shown)


@pytest.mark.parametrize(
    ("field", "value", "asked"),
    [
        ("repository", "bob/other", "BOB/Other"),
        ("login", "bob", "Bob"),
        ("head_sha", "beef", "beef"),
        ("head_branch", "next", "next"),
        ("pull_request", 3, 3),
        ("check_name", "lint", "lint"),
        ("state", "running", "running"),
    ],
)
async def test_lists_of_runs_can_be_narrowed(
    store: Store, field: str, value: object, asked: object
) -> None:
    await intend(store, run())
    wanted = run(**{"repository_id": 2, field: value})
    await intend(store, wanted)
    assert (await store.runs.newest(**{field: asked})).items == (wanted,)  # type: ignore[arg-type]


async def test_a_user_keeps_their_id_through_a_new_login(store: Store) -> None:
    await intend(store, run())
    await store.users.put(User(7, "U_7", "ada"))
    await store.users.put(User(7, "U_7", "countess"))
    assert await store.users.get(7) == User(7, "U_7", "countess")
    assert await store.users.get(8) is None


def test_ids_of_runs_are_22_characters_that_nobody_can_guess() -> None:
    made = {new_run_id() for _ in range(100)}
    assert len(made) == 100
    assert {len(one) for one in made} == {22}


def runtime(name: str, session: str) -> RuntimeRecord:
    return RuntimeRecord(name, 7, "ada", "linux", "amd64", 0, 1.0, f"addr-{name}", session)


async def test_runtimes_are_listed_as_long_as_their_session_lasts(store: Store) -> None:
    one, two, three = runtime("1", "s"), runtime("2", "s"), runtime("3", "other")
    for added in (one, two, three):
        await store.runtimes.add(added)
    with pytest.raises(StoreConflict):
        await store.runtimes.add(one)
    assert await store.runtimes.connected() == [one, two, three]
    assert {each.node for each in await store.runtimes.connected()} == {store.nodes.own_id}
    assert await store.runtimes.remove_session("s") == 2
    assert await store.runtimes.connected() == [three]


async def test_no_runtime_is_connected_after_a_restart(
    location: Path | str, tmp_path: Path
) -> None:
    places = (location, tmp_path / "blobs")
    async with open_store(*places) as store:
        await store.runtimes.add(runtime("1", "s"))
        async with open_store(*places, owner=False) as beside:
            assert len(await beside.runtimes.connected()) == 1
    async with open_store(*places) as store:
        assert await store.runtimes.connected() == []


async def test_each_check_is_represented_by_its_newest_run(store: Store) -> None:
    for number, (name, fields) in enumerate(
        [
            ("test", {}),
            ("test", {"head_branch": "topic"}),
            ("lint", {"pull_request": 7}),
            ("lint", {"public": False}),
            ("test", {"repository": "else/where"}),
        ]
    ):
        await intend(store, run(id=f"r{number}", head_sha=f"{number}", check_name=name, **fields))
    newest = await store.runs.latest_per_check("Ada/Engine")
    assert [found.id for found in newest] == ["r2", "r1"]
    assert [found.id for found in await store.runs.latest_per_check("ada/engine", pushed=True)] == [
        "r1"
    ]
    main = await store.runs.latest_per_check("ada/engine", head_branch="main", pushed=True)
    assert [found.id for found in main] == ["r0"]
    everything = await store.runs.latest_per_check("ada/engine", public_only=False)
    assert [found.id for found in everything] == ["r3", "r1"]


async def test_runs_are_listed_by_several_states(store: Store) -> None:
    for state in ("queued", "failed", "timed_out"):
        await intend(store, run(id=state, head_sha=state, state=state))
    page = await store.runs.newest(states={"failed", "timed_out"})
    assert [found.id for found in page.items] == ["timed_out", "failed"]
