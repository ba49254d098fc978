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

    from bassloop.store import Step, Store


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


async def test_a_page_gets_a_heartbeat_while_nothing_changes(
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
        assert site.live_runs.statistics()["followers"] == 0


async def test_many_steps_are_sent_in_order_in_several_messages(
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
            site.live_runs.publish("r")
            changed = json.loads(await socket.receive())["vertexes"]
            assert [step["digest"] for step in changed] == ["step 3", "step 24"]


async def test_few_runs_with_many_steps_are_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "MAX_STEPS", 15)
    async with open_site(tmp_path) as site:
        feed = LiveFeed(site.store, site.live_runs, LogHtmlCache(site.store))
        for run in ("first", "second"):
            await site.queued(run)
            await site.store.steps.put(run, [StepUpdate(f"{n}", f"{n}") for n in range(10)])
        with feed.open("first"), feed.open("second"):
            for run in ("first", "second", "first"):
                update = await feed.update(run, 1, Cursor())
                assert update.cursor.version == 1
                kept = [name for name, each in feed._runs.items() if each.snapshot is not None]
                assert kept == [run]


class ReadsOfSteps:
    """Records from which version on steps were read, and lets each read wait."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.since: list[int] = []
        self.begun, self.may_end = trio.Event(), trio.Event()
        self._read = store.steps.of_run
        monkeypatch.setattr(store.steps, "of_run", self)

    async def __call__(self, run_id: str, since_version: int = 0) -> list[Step]:
        self.since.append(since_version)
        self.begun.set()
        await self.may_end.wait()
        return await self._read(run_id, since_version)


async def test_pages_that_come_and_go_do_not_read_all_steps_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        await site.store.steps.put("r", [StepUpdate("a", "a"), StepUpdate("b", "b")])
        feed = LiveFeed(site.store, site.live_runs, LogHtmlCache(site.store))
        reads = ReadsOfSteps(site.store, monkeypatch)
        reads.may_end.set()
        for _ in range(3):
            with feed.open("r"):
                update = await feed.update("r", 0, Cursor())
            assert update.message is not None
            names = [step["name"] for step in json.loads(update.message)["vertexes"]]
            assert names == ["a", "b"]
        assert reads.since == [0, 1, 1]


async def test_a_page_that_leaves_while_steps_are_read_does_not_affect_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        await site.store.steps.put("r", [StepUpdate("a", "a")])
        feed = LiveFeed(site.store, site.live_runs, LogHtmlCache(site.store))
        reads = ReadsOfSteps(site.store, monkeypatch)

        async def leave(scope: trio.CancelScope) -> None:
            with scope, feed.open("r"):
                await feed.update("r", 0, Cursor())

        async with trio.open_nursery() as nursery:
            leaving = trio.CancelScope()
            nursery.start_soon(leave, leaving)
            await reads.begun.wait()
            leaving.cancel()
            reads.may_end.set()
        with feed.open("r"):
            await feed.update("r", 0, Cursor())
        assert reads.since == [0, 1]


async def test_a_step_is_rendered_once_for_pages_in_different_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []
    render = run_snapshot._step_json

    def counted(step: Step) -> dict[str, object]:
        rendered.append(step.digest)
        return render(step)

    monkeypatch.setattr(run_snapshot, "_step_json", counted)
    async with open_site(tmp_path) as site:
        await site.queued()
        await site.store.steps.put("r", [StepUpdate("a", "a"), StepUpdate("b", "b")])
        feed = LiveFeed(site.store, site.live_runs, LogHtmlCache(site.store))
        with feed.open("r"):
            for lines in range(3):
                await feed.update("r", 0, Cursor(lines=frozenset({(7, lines)})))
        assert rendered == ["a", "b"]


async def test_updates_of_an_expensive_run_are_delayed_and_those_of_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "RUN_RATE", 1.0)
    async with open_site(tmp_path) as site:
        feed = LiveFeed(site.store, site.live_runs, LogHtmlCache(site.store))
        await site.queued("dear")
        with feed.open("dear"), feed.open("other"):
            feed._runs["dear"].budget.charge(live_feed.RUN_BURST + 0.2)
            assert feed._runs["other"].budget.delay() == 0
            began = trio.current_time()
            await feed.update("dear", 0, Cursor())
            assert trio.current_time() - began > 0.1


async def test_all_runs_together_have_a_limited_budget(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        feed = LiveFeed(site.store, site.live_runs, LogHtmlCache(site.store))
        with feed.open("other"):
            for run in ("first", "second", "third"):
                with feed.open(run):
                    feed._runs[run].budget.charge(100 * live_feed.UPDATES_BURST)
            assert feed._runs["other"].budget.delay() > 60


async def test_a_growing_log_is_sent_even_if_its_step_has_not_changed(tmp_path: Path) -> None:
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
            site.live_runs.publish("r")
            with trio.fail_after(120):
                assert json.loads(await socket.receive())["logs"][0]["lines"] == ["two"]
        await log.close()
