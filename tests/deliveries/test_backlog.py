"""The backlog: its repositories, and when it will be through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.deliveries.backlog import FEW, PACE_SECONDS, Pace
from bassloop.store import open_store

if TYPE_CHECKING:
    from pathlib import Path


def ended(*times: float) -> Pace:
    pace = Pace()
    for time in times:
        pace.note(time)
    return pace


def test_an_empty_backlog_takes_no_time() -> None:
    assert Pace().seconds_for(0, 100.0) == 0


def test_the_time_left_is_unknown_until_deliveries_have_ended() -> None:
    assert Pace().seconds_for(10, 100.0) is None
    assert ended(*range(FEW - 1)).seconds_for(10, 100.0) is None
    assert ended(*[100.0] * FEW).seconds_for(10, 100.0) is None


def test_the_estimate_assumes_that_remaining_deliveries_take_as_long_as_ended_ones() -> None:
    assert ended(*range(10)).seconds_for(20, 10.0) == pytest.approx(20.0)


def test_the_estimate_is_dropped_when_deliveries_stop_ending() -> None:
    pace = ended(*range(10))
    slower = pace.seconds_for(10, 100.0)
    assert slower is not None
    assert slower > 90
    assert pace.seconds_for(10, 10.0 + PACE_SECONDS) is None


async def test_repositories_with_the_most_come_first(tmp_path: Path) -> None:
    async with open_store(tmp_path / "loop.db", tmp_path / "blobs") as store:
        for number, repository in enumerate(("few", "many", "many", None, "many")):
            await store.deliveries.record(
                f"g{number}", "push", None, b"{}", repository=repository, received_at=float(number)
            )
        await store.deliveries.set_state("g1", "handling")
        await store.deliveries.record("over", "push", None, b"{}", repository="few")
        await store.deliveries.set_state("over", "handling")
        await store.deliveries.set_state("over", "done")
        found = await store.deliveries.backlog()
        assert [(each.repository, each.waiting, each.handled) for each in found] == [
            ("many", 2, 1),
            (None, 1, 0),
            ("few", 1, 0),
        ]
        assert [each.oldest_at for each in found] == [1.0, 3.0, 0.0]
        assert len(await store.deliveries.backlog(1)) == 1
