"""Deliveries are kept once, and none is forgotten before it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.lifecycle import DeliveryState
from bassloop.store import NotStored, open_store
from tests.store.made import intend, run

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.store import Store


async def test_a_delivery_is_stored_with_all_its_fields(store: Store) -> None:
    assert await store.deliveries.record(
        "g1",
        "push",
        None,
        b"body",
        repository="ada/engine",
        head_sha="c0ffee",
        sender="ada",
        order_key="ada/engine@c0ffee",
        received_at=5.0,
    )
    found = await store.deliveries.get("g1")
    assert found is not None
    assert await store.deliveries.body("g1") == b"body"
    assert (found.state, found.attempts, found.received_at) == (
        "received",
        0,
        5.0,
    )
    assert (found.repository, found.head_sha, found.sender, found.order_key) == (
        "ada/engine",
        "c0ffee",
        "ada",
        "ada/engine@c0ffee",
    )
    assert await store.deliveries.get("g2") is None


@pytest.mark.parametrize("state", sorted(DeliveryState))
async def test_the_same_guid_is_handled_again_only_if_it_had_failed(
    store: Store, state: str
) -> None:
    await store.deliveries.record("g1", "push", None, b"body")
    await store.deliveries.set_state("g1", "handling")
    await store.deliveries.set_state("g1", state, "why")
    anew = await store.deliveries.record("g1", "push", None, b"body")
    assert bool(anew) == (state in ("failed", "set_aside"))
    found = await store.deliveries.get("g1")
    assert found is not None
    assert (found.state, found.error) == (("received", None) if anew else (state, "why"))


async def test_each_attempt_is_counted(store: Store) -> None:
    await store.deliveries.record("g1", "push", None, b"body")
    assert await store.deliveries.set_state("g1", "handling") == 1
    assert await store.deliveries.set_state("g1", "received", "crashed") == 1
    assert await store.deliveries.set_state("g1", "handling") == 2


async def test_unfinished_deliveries_are_listed_in_order(store: Store) -> None:
    for guid in ("b", "a", "c", "d"):
        await store.deliveries.record(guid, "push", None, b"body")
    await store.deliveries.set_state("a", "handling")
    await store.deliveries.set_state("a", "done")
    await store.deliveries.set_state("c", "handling")
    found = await store.deliveries.unfinished()
    assert [delivery.guid for delivery in found] == ["b", "c", "d"]


async def test_deliveries_are_listed_newest_first_by_pages(store: Store) -> None:
    for number in range(5):
        await store.deliveries.record(f"g{number}", "push", None, b"body")
    assert [found.guid for found in await store.deliveries.newest(2)] == ["g4", "g3"]
    assert [found.guid for found in await store.deliveries.newest(2, before="g3")] == ["g2", "g1"]


async def test_an_unknown_guid_or_state_is_refused(store: Store) -> None:
    with pytest.raises(NotStored, match="no delivery g1"):
        await store.deliveries.set_state("g1", "done")
    await store.deliveries.record("g1", "push", None, b"body")
    with pytest.raises(ValueError, match="'finished' is not a valid DeliveryState"):
        await store.deliveries.set_state("g1", "finished")


async def test_recorded_deliveries_survive_a_restart(location: Path | str, tmp_path: Path) -> None:
    places = (location, tmp_path / "blobs")
    async with open_store(*places) as store:
        await store.deliveries.record("g1", "push", None, b"body")
    async with open_store(*places) as store:
        assert [found.guid for found in await store.deliveries.unfinished()] == ["g1"]


async def test_waiting_deliveries_are_skipped_by_their_properties(store: Store) -> None:
    for guid, repository, event, at in (
        ("old", "ada/engine", "push", 1.0),
        ("new", "ada/engine", "push", 9.0),
        ("other", "bob/engine", "push", 1.0),
        ("handled", "ada/engine", "push", 1.0),
        ("begun", "ada/engine", "push", 1.0),
        ("review", "ada/engine", "pull_request", 1.0),
    ):
        await store.deliveries.record(
            guid, event, None, b"{}", repository=repository, received_at=at
        )
    await store.deliveries.set_state("handled", "handling")
    await intend(store, run(id="r", delivery="begun"))
    wanted = await store.deliveries.skip((), "ada/engine", "push", 5.0, dry_run=True)
    assert wanted == ["old"]
    assert len(await store.deliveries.unfinished()) == 6
    assert await store.deliveries.skip((), "ada/engine", "push", 5.0) == ["old"]
    skipped = await store.deliveries.get("old")
    assert skipped is not None
    assert (skipped.state, skipped.error) == ("ignored", "skipped by an operator")
    assert await store.deliveries.skip(("new", "handled", "begun", "unknown")) == ["new"]
    left = {each.guid for each in await store.deliveries.unfinished()}
    assert left == {"other", "handled", "begun", "review"}
