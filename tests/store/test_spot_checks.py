"""Spot checks: drawn once for each check of a head, with a record of how they ended, in both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.lifecycle import RunState
from bassloop.store import open_store

from .made import intend, run

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_record_counts_spot_checks_and_their_outcomes(
    location: Path | str, tmp_path: Path
) -> None:
    async with open_store(location, tmp_path / "blobs", synchronous="OFF") as store:
        empty = await store.heads.spot_checks(1, " (trusted)", 5)
        assert (empty.passed, empty.drawn, empty.newest) == (0, 0, ())
        for head, drawn in (("a", True), ("b", False), ("c", True)):
            assert await store.heads.draw_spot_check(1, head, "test", drawn) is drawn
            assert await store.heads.draw_spot_check(1, head, "test", not drawn) is drawn
            assert await store.heads.is_drawn(1, head, "test") is drawn
        assert not await store.heads.is_drawn(1, "a", "other")
        for id_, head in (("ra", "a"), ("rb", "b"), ("rc", "c")):
            await intend(store, run(id=id_, head_sha=head, check_name="test (trusted)"))
        await store.runs.end("rc", RunState.FAILED, "differs", 11.0)
        found = await store.heads.spot_checks(1, " (trusted)", 1)
        assert (found.passed, found.drawn, found.newest) == (3, 2, ("rc",))
        assert found.states == {"queued": 1, "failed": 1}
        user = run().user_id
        for whom, since, was in ((user, 10.0, True), (user, 12.0, False), (user + 1, 10.0, False)):
            assert await store.heads.was_found_out(1, whom, " (trusted)", since) is was


async def test_failed_spot_checks_are_found_by_the_runners_owner(
    location: Path | str, tmp_path: Path
) -> None:
    async with open_store(location, tmp_path / "blobs", synchronous="OFF") as store:
        for id_, login in (("one", "Alice"), ("two", "mallory"), ("three", "alice")):
            made = run(id=id_, head_sha="a", check_name="test", delivery=id_)
            await intend(store, made, rerun=True)
            await store.runs.start(
                id_, runtime_id="r", runner_login=login, platform="linux/amd64", at=1.0
            )
            await store.runs.end(id_, RunState.FAILED, "exit status 1", 2.0)
        await intend(store, run(id="it", head_sha="a", check_name="test"), rerun=True)
        stored = await store.runs.get("it")
        assert stored is not None
        assert [each.id for each in await store.runs.failed_on(stored, ["ALICE"])] == [
            "three",
            "one",
        ]
        assert await store.checks.names(stored.repository_id, "a") == {"test"}
