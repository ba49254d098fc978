"""Searching a run: all of its logs, page by page, for those who may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from bassloop.store import StepUpdate
from bassloop.web.logs import run_search

from .site import Site, open_site

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def three_logs(site: Site) -> list[int]:
    await site.queued()
    first = await site.step("r", "first", b"error one\nfine\nERROR two\n")
    second = await site.step("r", "second", b"fine\n" * 100_000 + b"an error\n")
    third = await site.step("r", "third", b"no newline at this error")
    return [first, second, third]


async def test_all_logs_of_a_run_are_searched_in_their_order(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        first, second, third = await three_logs(site)
        answer = await site.json("/runs/r/search?q=error")
        assert [(match["vertex"], match["line"]) for match in answer["matches"]] == [
            (first, 0),
            (first, 2),
            (second, 100_000),
            (third, 0),
        ]
        assert answer["matches"][2]["text"] == "an error"
        assert answer["matches"][2]["spans"] == [[3, 8]]
        assert (answer["total"], answer["complete"], answer["more"]) == (4, True, False)
        assert answer["next"] is None


async def test_case_regular_expressions_and_one_step_can_be_requested(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        first, second, _ = await three_logs(site)
        assert (await site.json("/runs/r/search?q=ERROR&case=yes"))["total"] == 1
        assert (await site.json("/runs/r/search?q=^f.*e$&regex=yes"))["total"] == 100_001
        assert (await site.json(f"/runs/r/search?q=error&vertex={first}"))["total"] == 2
        assert (await site.get("/runs/r/search?q=error&vertex=999")).status_code == 404
        assert (await site.get(f"/runs/r/search?q=(&vertex={second}")).status_code == 200


async def test_matches_are_returned_in_pages(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await three_logs(site)
        seen, after = [], ""
        for _ in range(4):
            answer = await site.json(f"/runs/r/search?q=error&limit=1&after={after}")
            seen += [match["text"] for match in answer["matches"]]
            assert answer["total"] == (None if after else 4)
            after = answer["next"]
        assert seen == ["error one", "ERROR two", "an error", "no newline at this error"]
        assert after is None


async def test_the_size_of_a_page_of_matches_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_search, "MAX_LIMIT", 3)
    async with open_site(tmp_path) as site:
        await three_logs(site)
        answer = await site.json("/runs/r/search?q=error&limit=1000000")
        assert (len(answer["matches"]), answer["total"], answer["more"]) == (3, 4, True)


async def test_a_slow_search_says_where_to_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_search, "PROGRESS_SECONDS", 0.0)
    async with open_site(tmp_path) as site:
        await three_logs(site)
        lines = sum(step.lines for step in await site.store.steps.of_run("r"))
        seen, after, answers, searched = [], "", 0, -1
        while after is not None:
            answer = await site.json(f"/runs/r/search?q=error&after={after}")
            assert (answer["searched"] >= searched, answer["lines"]) == (True, lines)
            searched = answer["searched"]
            seen += [match["text"] for match in answer["matches"]]
            after, answers = answer["next"], answers + 1
            assert answer["complete"] is (after is None)
        assert seen == ["error one", "ERROR two", "an error", "no newline at this error"]
        assert answers > 3
        assert searched == lines


async def test_a_page_that_ran_out_of_time_does_not_claim_that_there_are_no_matches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_search, "SEARCH_SECONDS", 0.0)
    async with open_site(tmp_path) as site:
        await three_logs(site)
        page = await site.text("/runs/r/search?q=nowhere")
        assert "No matches so far" in page
        assert "in the first" in page
        assert "Go on searching" in page


async def test_counting_matches_has_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_search, "MAX_COUNT", 1000)
    async with open_site(tmp_path) as site:
        await three_logs(site)
        answer = await site.json("/runs/r/search?q=fine")
        assert 1000 <= answer["total"] < 100_000
        assert (answer["complete"], answer["more"]) == (False, True)


async def test_a_log_is_searched_while_it_is_written(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        row = await site.step("r", "done", b"")
        [step] = await site.store.steps.of_run("r")
        assert step.row == row
        live = (await site.store.steps.put("r", [StepUpdate("v", "v", 1.0)]))["v"].row
        log = await site.store.logs.open("r", live)
        await log.append(b"one\ntwo\n", None, 1, 1.0)
        assert (await site.json("/runs/r/search?q=two"))["total"] == 1
        await log.append(b"two\n", None, 1, 1.0)
        assert (await site.json("/runs/r/search?q=two"))["total"] == 2
        await log.close()


async def test_a_bad_query_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        for path in ("", "?q=", "?q=(&regex=yes", "?q=a&after=nonsense", f"?q={'a' * 501}"):
            assert (await site.get(f"/runs/r/search{path}")).status_code == 400, path


async def test_a_private_run_is_not_searched(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run(public=False)
        assert (await site.get("/runs/r/search?q=one")).status_code == 404


async def test_too_many_searches_are_asked_to_try_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching, enough = trio.Event(), trio.Event()
    through = run_search.RunSearch.run

    async def held(*args: Any) -> None:
        searching.set()
        await enough.wait()
        await through(*args)

    monkeypatch.setattr(run_search, "MAX_SEARCHES", 1)
    monkeypatch.setattr(run_search.RunSearch, "run", held)
    async with open_site(tmp_path) as site, trio.open_nursery() as nursery:
        await three_logs(site)
        codes = []

        async def ask() -> None:
            codes.append((await site.get("/runs/r/search?q=error")).status_code)

        nursery.start_soon(ask)
        await searching.wait()
        await ask()
        assert codes == [503]
        enough.set()
    assert codes == [503, 200]


async def test_search_results_are_shown_without_javascript(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        first, *_ = await three_logs(site)
        page = await site.text("/runs/r/search?q=error&limit=2")
        assert f'href="/runs/r/vertexes/{first}?start=0#L3"' in page
        assert "4 matching lines" in page
        assert 'rel="next" href="/runs/r/search?q=error&amp;after=' in page
        hostile = await site.text("/runs/r/search?q=<script>alert(1)</script>")
        assert "<script>alert" not in hostile
        assert "No matches" in hostile
