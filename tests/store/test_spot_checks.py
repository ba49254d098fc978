"""Spot checks: drawn once for each check of a head, with a record of how they ended, in both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.lifecycle import RunState
from bassloop.store import open_store

from .made import intend, run

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_record_counts_what_was_drawn_and_how_it_ended(
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
