"""HTML of lines is made once for all who look at them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from bassloop.checks.recorder import recording
from bassloop.web.logs.line_html import CHUNK, LogHtmlCache
from bassloop.wire import progrock_pb2 as progrock

from .site import Site, open_site

if TYPE_CHECKING:
    from pathlib import Path


async def numbered(site: Site, count: int) -> int:
    await site.queued()
    return await site.step("r", "v", b"".join(b"%d\n" % number for number in range(count)))


async def test_lines_that_were_requested_before_are_not_rendered_again(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        row = await numbered(site, 2000)
        rendered = LogHtmlCache(site.store)
        for start, stop in ((100, 900), (0, 150), (40, 1000), (999, 1000), (100, 900)):
            assert await rendered.lines("r", row, start, stop) == [
                str(number) for number in range(start, stop)
            ]
        assert rendered.statistics()["rendered"] == 1000


@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 700)), max_size=8))
@settings(max_examples=30)
def test_any_ranges_in_any_order_match_the_log(ranges: list[tuple[int, int]]) -> None:
    class Numbers:
        @property
        def logs(self) -> Numbers:
            return self

        async def lines(self, _run: str, _row: int, start: int, stop: int) -> list[bytes]:
            return [b"%d" % number for number in range(start, min(stop, start + 300))]

    async def ask() -> None:
        rendered = LogHtmlCache(Numbers(), max_size=500)  # type: ignore[arg-type]
        for start, stop in ranges:
            found = await rendered.lines("r", 1, start, stop)
            assert found == [str(number) for number in range(start, start + len(found))]
            assert len(found) >= min(300, stop - start)
            assert rendered.statistics()["characters"] <= 500

    trio.run(ask)


async def test_simultaneous_requests_share_one_rendering(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        row = await numbered(site, 500)
        rendered = LogHtmlCache(site.store)
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(rendered.lines, "r", row, 0, 500)
        assert rendered.statistics()["rendered"] == 500
        assert rendered.statistics()["returned"] == 50 * 500


async def test_the_cache_is_bounded_and_evicts_the_least_recently_used_lines(
    tmp_path: Path,
) -> None:
    async with open_site(tmp_path) as site:
        row = await numbered(site, 8 * CHUNK)
        rendered = LogHtmlCache(site.store, max_size=5 * CHUNK * 3)
        for chunk in (0, 1, 2, 0, 3, 4, 0, 5, 6, 0):
            await rendered.lines("r", row, chunk * CHUNK, (chunk + 1) * CHUNK)
            assert rendered.statistics()["characters"] <= 5 * CHUNK * 3
        assert rendered.statistics()["rendered"] == 7 * CHUNK


async def pages(site: Site, count: int, lines: int) -> list[list[Any]]:
    """Collect the updates of so many pages of one run while its log grows by so many lines."""
    told: list[list[Any]] = [[] for _ in range(count)]
    ready = trio.Event()
    waiting = count

    async def page(messages: list[Any]) -> None:
        nonlocal waiting
        async with site.app.test_client().websocket("/runs/r/live") as socket:
            await socket.send(json.dumps({"logs": {}}))
            while not messages or "end" not in messages[-1]:
                messages.append(json.loads(await socket.receive()))
                if len(messages) == 1:
                    waiting -= 1
                    if not waiting:
                        ready.set()

    await site.queued()
    async with trio.open_nursery() as nursery:
        async with recording(site.store, site.live_runs, "r") as recorder:
            for messages in told:
                nursery.start_soon(page, messages)
            await ready.wait()
            for number in range(lines):
                said = progrock.VertexLog(vertex="v", data=b"\x1b[32m%d\x1b[0m\n" % number)
                await recorder.record(progrock.StatusUpdate(logs=[said]))
        await site.store.runs.end("r", "succeeded", None, 2.0)
        site.live_runs.publish("r")
    return told


async def test_many_pages_of_one_run_get_all_updates_and_share_the_work(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        told = await pages(site, 20, 300)
        for messages in told:
            lines: list[str] = []
            for message in messages:
                for log in message.get("logs", ()):
                    assert log["start"] == len(lines)
                    lines += log["lines"]
            assert lines == [f'<span class="t-f2">{number}</span>' for number in range(300)]
        made = site.context.log_html.statistics()
        assert made["rendered"] == 300
        assert made["returned"] < 20 * 300


async def test_a_page_that_was_disconnected_continues_where_it_was(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        row = await site.step("r", "v", b"one\ntwo\nthree\n")
        await site.store.runs.end("r", "succeeded", None, 2.0)
        async with site.app.test_client().websocket("/runs/r/live") as socket:
            await socket.send(json.dumps({"logs": {str(row): 2}}))
            [log] = json.loads(await socket.receive())["logs"]
            assert (log["start"], log["lines"]) == (2, ["three"])
            assert json.loads(await socket.receive()) == {"end": True}
