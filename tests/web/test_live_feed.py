"""What is kept of a run's news is bounded, whatever pages say that they have."""

from __future__ import annotations

import pytest

from bassloop.web.logs import live_feed
from bassloop.web.logs.live_feed import Cursor, Snapshot, Update
from tests.records import a_run


def snapshot() -> Snapshot:
    return Snapshot(1, a_run(), (), {}, {}, {})


def nothing_new(seen: Cursor) -> Update:
    return Update(None, seen, more=False, ended=False)


def test_what_one_page_is_told_is_kept_for_those_that_are_as_far() -> None:
    kept, seen = snapshot(), Cursor(lines=frozenset({(1, 300)}))
    kept.cache(seen, nothing_new(seen))
    assert kept.updates[Cursor(lines=frozenset({(1, 300)}))].cursor is seen


@pytest.mark.parametrize("said", ["places", "only"])
def test_what_pages_say_takes_room_too(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_feed, "MAX_SNAPSHOT", 1_000_000)
    kept = snapshot()
    for page in range(100):
        rows = range(page * 1000, page * 1000 + 1000)
        seen = Cursor(lines=frozenset((row, 1) for row in rows))
        if said == "only":
            seen = Cursor(only=frozenset(rows))
        kept.cache(seen, nothing_new(seen))
    assert len(kept.updates) == 3
