"""How pages are laid out on a desk, a phone and paper."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from bassloop.store import StepUpdate

from . import layout_scenes as scenes
from .scene_runner import open_scene, run_scene
from .showcase import BEGAN, add_failed_run, serve_site, step

if TYPE_CHECKING:
    from pathlib import Path

    from tests.web.site import Site

pytestmark = pytest.mark.browser


async def add_runs(site: Site) -> None:
    """Runs whose names, states and people differ in length."""
    await site.run("r1", "failed", check_name="tests", created_at=BEGAN)
    long = {"check_name": "integration (linux)", "login": "somebody-with-a-login-of-39-characters-"}
    await site.run("r2", "failed", head_branch="octocat/a-branch", created_at=BEGAN, **long)
    await site.queued("r3", check_name="deploy", created_at=BEGAN)


async def test_the_columns_of_a_list_are_the_same_in_all_rows(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as shown:
        await add_runs(shown.site)
        found = await run_scene(scenes.list_on_desk, f"{shown.url}/runs")
    assert found == {"word": 1, "where": 1, "who": 1}


async def test_a_list_on_a_phone_says_when_and_tells_screen_readers_the_state(
    tmp_path: Path,
) -> None:
    async with serve_site(tmp_path) as shown:
        await add_runs(shown.site)
        found = await run_scene(scenes.list_on_phone, f"{shown.url}/runs")
    assert found == {"states": 2, "times": 3}


async def test_a_list_on_paper_has_no_controls_and_room_for_its_text(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as shown:
        await add_runs(shown.site)
        found = await run_scene(scenes.list_on_paper, f"{shown.url}/runs")
    assert found["controls"] == 0
    assert found["narrowest"] > 300


async def test_on_a_phone_the_position_and_the_search_stay_while_the_menu_scrolls_away(
    tmp_path: Path,
) -> None:
    async with serve_site(tmp_path) as shown:
        await add_failed_run(shown.site)
        found = await run_scene(scenes.head_on_phone, f"{shown.url}/runs/failed")
    assert found == {"cut": 0, "smaller": True, "menu": False, "place": True, "find": True}


async def test_the_position_is_beside_the_search_with_zoom_and_times_are_complete_on_paper(
    tmp_path: Path,
) -> None:
    async with serve_site(tmp_path) as shown:
        await add_failed_run(shown.site)
        found = await run_scene(scenes.zoomed, f"{shown.url}/runs/failed")
    assert found == {
        "place below menu": True,
        "search beside place": True,
        "time on paper": True,
    }


async def test_an_empty_list_has_no_frame(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as shown:
        found = await run_scene(scenes.empty_list, f"{shown.url}/runs")
    assert found == {"lists": 0, "says": "No runs."}


async def test_the_timeline_of_a_thousand_steps_shows_the_one_that_failed(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as shown:
        store = shown.store
        await shown.site.queued("many", created_at=BEGAN)
        await store.runs.start("many", "t", "octocat", "linux/amd64", BEGAN)
        steps = [StepUpdate(f"{n}", f"make {n}", BEGAN, BEGAN + 5) for n in range(999)]
        await store.steps.put("many", steps)
        log = [(1, b"foo.c:12:3: error: there is no foo\n")]
        await step(store, "many", "make foo", 0, 1, log, error="exit status 2")
        await store.runs.end("many", "failed", "exit status 2", BEGAN + 6)
        found = await run_scene(scenes.many_steps, f"{shown.url}/runs/many")
    note = "300 of 1,000 steps: those that failed, and the longest"
    assert found == {"failed in room": True, "bars": 300, "note": note}


async def test_a_log_on_paper_says_which_of_its_lines_are_printed(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as shown:
        text = b"".join(b"line %d\n" % number for number in range(9_999))
        await shown.site.queued("long")
        await shown.site.step("long", "make", text + b"error: no foo\n", error="exit status 2")
        await shown.store.runs.start("long", "t", "octocat", "linux/amd64", BEGAN)
        await shown.store.runs.end("long", "failed", "exit status 2", BEGAN + 6)
        found = await run_scene(scenes.log_on_paper, f"{shown.url}/runs/long")
    assert found["note"] == f"Lines {found['first']} to {found['last']} of 10000"


async def test_the_timeline_of_a_live_run_on_paper_has_all_its_bars(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as shown:
        store = shown.store
        await shown.site.queued("live", created_at=BEGAN)
        await store.runs.start("live", "t", "octocat", "linux/amd64", BEGAN)
        steps = [StepUpdate(f"{n}", f"make {n}", BEGAN, BEGAN + 5) for n in range(40)]
        await store.steps.put("live", steps)
        found = await run_scene(scenes.timeline_on_paper, f"{shown.url}/runs/live")
    assert found == {"bars": 40, "cut on screen": True, "cut on paper": False}


async def test_new_steps_and_a_failure_move_nothing_that_a_follower_reads(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as shown:
        site, store = shown.site, shown.store
        await site.queued("live")
        await store.runs.start("live", "t", "octocat", "linux/amd64", time.time())

        async def put(name: str, **more: str | float) -> int:
            update = StepUpdate(name, name, time.time(), **more)  # type: ignore[arg-type]
            return (await store.steps.put("live", [update]))[name].row

        async def write(row: int, text: bytes) -> None:
            log = await store.logs.open("live", row)
            await log.append(text, None, 1, time.time())
            await log.close()

        await write(await put("first"), b"".join(b"first %d\n" % n for n in range(300)))
        async with open_scene(scenes.follows_steps, f"{shown.url}/runs/live") as scene:
            await scene.wait_for("following")
            await put("first", completed_at=time.time())
            await put("other")
            second = await put("second")
            site.live_runs.publish("live")
            error = b"foo.c:12:3: error: there is no foo\n"
            await write(second, b"".join(b"second %d\n" % n for n in range(100)) + error)
            site.live_runs.publish("live")
            await scene.wait_for("second")
            await put("second", completed_at=time.time(), error="exit status 2")
            await store.runs.end("live", "failed", "exit status 2", time.time())
            site.live_runs.publish("live")
            found = await scene.result()
    assert found["shift"] < 0.1
    assert found["at end"]
