"""The memory of live updates is bounded, even if pages lie about what they have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.store import StepUpdate
from bassloop.web.logs import live_feed, run_snapshot
from bassloop.web.logs.line_html import LogHtmlCache
from bassloop.web.logs.live_feed import LiveFeed
from bassloop.web.logs.run_snapshot import Cursor, Snapshot, Update
from tests.records import make_run

from .site import Disconnected, open_site

if TYPE_CHECKING:
    from pathlib import Path


def snapshot() -> Snapshot:
    return Snapshot(1, make_run(), (), {}, frozenset(), {}, {})


def nothing_new(seen: Cursor) -> Update:
    return Update(None, seen, more=False, ended=False)


def test_an_update_for_one_page_is_cached_for_pages_in_the_same_state() -> None:
    kept, seen = snapshot(), Cursor(lines=frozenset({(1, 300)}))
    kept.cache(seen, nothing_new(seen))
    assert kept.updates[Cursor(lines=frozenset({(1, 300)}))].cursor is seen


@pytest.mark.parametrize("said", ["places", "only"])
def test_the_states_of_pages_count_towards_the_memory_limit(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_snapshot, "MAX_SNAPSHOT", 1_000_000)
    kept = snapshot()
    for page in range(100):
        rows = range(page * 1000, page * 1000 + 1000)
        seen = Cursor(lines=frozenset((row, 1) for row in rows))
        if said == "only":
            seen = Cursor(only=frozenset(rows))
        kept.cache(seen, nothing_new(seen))
    assert len(kept.updates) == 3


async def test_a_page_hears_a_heartbeat_while_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "HEARTBEAT_SECONDS", 0.01)
    async with open_site(tmp_path) as site:
        await site.queued()
        async with site.app.test_client().websocket("/runs/r/live") as socket:
            await socket.send(json.dumps({"logs": {}}))
            assert "run" in json.loads(await socket.receive())
            for _ in range(3):
                assert json.loads(await socket.receive())["heartbeat"]


async def test_a_page_that_stops_answering_is_disconnected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(live_feed, "SILENT_SECONDS", 0.2)
    async with open_site(tmp_path) as site:
        await site.queued()

        async def read_to_the_end() -> None:
            while True:
                await socket.receive()

        async with site.app.test_client().websocket("/runs/r/live") as socket:
            await socket.send(json.dumps({"logs": {}}))
            await socket.send("{}")
            with trio.fail_after(120), pytest.raises(Disconnected):
                await read_to_the_end()
        assert site.tail.statistics()["followers"] == 0


async def test_many_steps_come_in_order_in_several_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "STEPS_AT_ONCE", 10)
    async with open_site(tmp_path) as site:
        await site.queued()
        steps = [StepUpdate(f"step {number}", f"step {number}", 1.0) for number in range(25)]
        await site.store.steps.put("r", steps)
        async with site.app.test_client().websocket("/runs/r/live") as socket:
            await socket.send(json.dumps({"logs": {}}))
            messages = [json.loads(await socket.receive()) for _ in range(3)]
            assert [[step["name"] for step in each["vertexes"]] for each in messages] == [
                [step.name for step in steps[first : first + 10]] for first in (0, 10, 20)
            ]
            assert ["run" in each for each in messages] == [True, False, False]
            ended = [StepUpdate(steps[number].digest, "ended", 1.0, 2.0) for number in (24, 3)]
            await site.store.steps.put("r", ended)
            site.tail.publish("r")
            changed = json.loads(await socket.receive())["vertexes"]
            assert [step["digest"] for step in changed] == ["step 3", "step 24"]


async def test_few_runs_with_many_steps_are_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "MAX_STEPS", 15)
    async with open_site(tmp_path) as site:
        feed = LiveFeed(site.store, site.tail, LogHtmlCache(site.store))
        for run in ("first", "second"):
            await site.queued(run)
            await site.store.steps.put(run, [StepUpdate(f"{n}", f"{n}") for n in range(10)])
        with feed.open("first"), feed.open("second"):
            for run in ("first", "second", "first"):
                update = await feed.update(run, 1, Cursor())
                assert update.cursor.version == 1
                kept = [name for name, each in feed._runs.items() if each.snapshot is not None]
                assert kept == [run]


async def test_a_log_that_grows_is_sent_although_its_step_has_not_changed(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        await site.store.runs.start("r", "t", "octocat", "linux/amd64", 100.0)
        row = (await site.store.steps.put("r", [StepUpdate("v", "make", 100.0)]))["v"].row
        log = await site.store.logs.open("r", row)
        await log.append(b"one\n", None, 1, 100.0)
        async with site.app.test_client().websocket("/runs/r/live") as socket:
            await socket.send(json.dumps({"logs": {}}))
            assert json.loads(await socket.receive())["logs"][0]["lines"] == ["one"]
            await log.append(b"two\n", None, 1, 101.0)
            site.tail.publish("r")
            with trio.fail_after(120):
                assert json.loads(await socket.receive())["logs"][0]["lines"] == ["two"]
        await log.close()
