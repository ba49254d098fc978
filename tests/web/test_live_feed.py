"""What is kept of a run's news is bounded, whatever pages say that they have."""

from __future__ import annotations

import pytest

from bassloop.web.logs import live_feed
from bassloop.web.logs.live_feed import News, Seen, Snapshot
from tests.records import a_run


def snapshot() -> Snapshot:
    return Snapshot(1, a_run(), (), {}, {}, {})


def nothing_new(seen: Seen) -> News:
    return News(None, seen, more=False, over=False)


def test_what_one_page_is_told_is_kept_for_those_that_are_as_far() -> None:
    kept, seen = snapshot(), Seen(places=frozenset({(1, 300)}))
    kept.keep(seen, nothing_new(seen))
    assert kept.told[Seen(places=frozenset({(1, 300)}))].seen is seen


@pytest.mark.parametrize("said", ["places", "only"])
def test_what_pages_say_takes_room_too(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_feed, "TOLD_ROOM", 1_000_000)
    kept = snapshot()
    for page in range(100):
        rows = range(page * 1000, page * 1000 + 1000)
        seen = Seen(places=frozenset((row, 1) for row in rows))
        if said == "only":
            seen = Seen(only=frozenset(rows))
        kept.keep(seen, nothing_new(seen))
    assert len(kept.told) == 3
