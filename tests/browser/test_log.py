"""Logs of any length and of any content, as a reader meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.web.logs import run_search

from . import log_scenes as scenes
from .scene_runner import run_scene
from .showcase import BEGAN, add_failed_run, serve_site, step

if TYPE_CHECKING:
    from pathlib import Path

    from .showcase import Shown

pytestmark = pytest.mark.browser

MANY = 300_000


async def add_long_log(site: Shown, lines: int = MANY) -> int:
    """A run `long` whose one step failed after many lines; returns its row."""
    await site.site.queued("long")
    await site.store.runs.start("long", "t", "octocat", "linux/amd64", BEGAN)
    text = b"".join(b"line %d\n" % number for number in range(1, lines))
    pieces = [(1.0, text), (99.0, b"foo.c:12:3: error: there is no foo\n")]
    row = await step(site.store, "long", "make", 0, 100, pieces, error="exit status 2")
    await site.store.runs.end("long", "failed", "exit status 2", BEGAN + 100)
    return row


async def test_a_log_of_any_length_has_only_a_few_lines_in_the_document(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as site:
        await add_long_log(site)
        found = await run_scene(scenes.long_log, f"{site.url}/runs/long")
    numbers = [int(text.split()[1]) for text in found["middle"]]
    assert MANY * 0.4 < numbers[0] < MANY * 0.6
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert found["most"] <= 1000
    assert found["height"] < 3_000_000


async def test_reading_on_shows_every_line_in_its_order(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as site:
        await add_long_log(site)
        found = await run_scene(scenes.read_on, f"{site.url}/runs/long")
    numbers = [int(text.split()[1]) for text in found["texts"]]
    assert len(numbers) > 500
    assert numbers == list(range(1, len(numbers) + 1))
    assert found["rested"]


async def test_a_line_and_a_range_of_lines_have_an_address(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as site:
        row = await add_long_log(site)
        found = await run_scene(scenes.addresses, f"{site.url}/runs/long#v{row}-L123456")
    five = [f"line {number}" for number in range(123456, 123461)]
    assert found["alone"] == five[:1]
    assert found["in_view"]
    assert found["hash"] == f"#v{row}-L123456-L123460"
    assert found["some"] == found["again"] == five
    assert found["copied"] == "\n".join(five) + "\n"
    assert found["last"] == f"#v{row}-L123458"


async def test_the_whole_log_is_searched_and_matches_are_marked(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as site:
        await add_long_log(site)
        found = await run_scene(scenes.find, f"{site.url}/runs/long")
    assert found["steps"] == ["10 of 10", "1 of 10"]
    assert found["marked"] == ["line 29990"]
    assert found["others"] == 9
    assert "regular expression" in found["wrong"]


async def test_a_search_shows_how_far_it_got_and_can_be_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_search, "PROGRESS_SECONDS", 0.0)
    async with serve_site(tmp_path) as site:
        await add_long_log(site)
        found = await run_scene(scenes.find_late, f"{site.url}/runs/long")
    progress = [text for text in found["counts"] if text.startswith("none in ")]
    assert len(progress) > 2
    assert progress[0].endswith(" of 300,000 lines …")


async def test_groups_and_pauses_are_folded_and_an_address_unfolds_them(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as site:
        await add_failed_run(site.site)
        found = await run_scene(scenes.folds, f"{site.url}/runs/failed")
    assert found["title"] == "what the workers are"
    assert found["hidden"] == 0
    assert "without output" in found["pause"]
    assert found["numbers"] == list(range(1, len(found["numbers"]) + 1))


MARKERS = b"""\
::group::Install
quietly
::group::nested
deep inside
::endgroup::
::endgroup::
--- Build
compiling
+++ Test
::error file=src/app.py,line=12,col=3::Name is not defined
"""


async def test_groups_can_be_nested_and_commands_have_titles(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as site:
        await site.site.queued("markers")
        await site.store.runs.start("markers", "t", "octocat", "linux/amd64", BEGAN)
        await step(site.store, "markers", "sh ci.sh", 0, 1, [(0.5, MARKERS)])
        await site.store.runs.end("markers", "succeeded", None, BEGAN + 1)
        found = await run_scene(scenes.markers, f"{site.url}/runs/markers")
    error = "Name is not defined"
    assert found["before"] == ["Install", "Build", "Test", error]
    assert found["between"] == ["Install", "quietly", "nested", "", "Build", "Test", error]
    assert found["shift"] > 0
    assert found["command"] == error
    assert found["place"].strip() == "src/app.py:12:3"


async def test_times_are_shown_on_demand_and_stay(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as site:
        await add_failed_run(site.site)
        found = await run_scene(scenes.stamps, f"{site.url}/runs/failed", TZ="UTC")
    assert found == {"relative": "0.10", "absolute": "22:13:46", "kept": "absolute", "none": "none"}


async def test_a_key_leads_to_the_next_error_and_back(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as site:
        await add_failed_run(site.site)
        found = await run_scene(scenes.errors, f"{site.url}/runs/failed")
    assert [text.split()[0] for text in found["found"]] == ["E", "FAILED", "E", "FAILED", "FAILED"]
    assert found["said"] == "No more errors"


HOSTILE = (
    b"<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">\n"
    + b"\x1b]8;;javascript:document.title='owned'\x07click\x1b]8;;\x07\n"
    + b"\x1b[31m\x1b[1m" * 20_000
    + b"flood\n"
    + "\u202egnihtemos\u2066 else\u2069\n".encode()
    + b"\xff\xfe\x00 not UTF-8\n"
    + b"x" * 10_000_000
    + b"\n"
    + b"after it all\n"
)


async def test_nothing_in_a_log_becomes_active_or_breaks_its_page(tmp_path: Path) -> None:
    async with serve_site(tmp_path) as site:
        await site.site.queued("hostile", check_name="</title><script>document.title=1</script>")
        await site.store.runs.start("hostile", "t", "octocat", "linux/amd64", BEGAN)
        await step(site.store, "hostile", "<b>sh</b>\u202e", 0, 1, [(0.5, HOSTILE)])
        await site.store.runs.end("hostile", "succeeded", None, BEGAN + 1)
        found = await run_scene(scenes.hostile, f"{site.url}/runs/hostile")
    assert found["title"].startswith("✓ </title><script>")
    assert found["alive"] == 0
    assert found["links"] == []
    assert found["rest"].endswith("/raw")
    assert found["bidi"] is False
    assert found["width"] <= 1280
