"""Searching the logs of a repository's runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from bassloop.store import FilterBuilder
from bassloop.web.logs import repository_search

from .site import HOSTILE, Site, open_site

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

HERE = "/repositories/octocat/hello"


async def logged(site: Site, run_id: str, *texts: bytes, index: bool = True) -> list[int]:
    """A run with logs; returns its steps' rows."""
    await site.queued(run_id)
    rows = [await site.step(run_id, f"step {n}", text) for n, text in enumerate(texts)]
    if index:
        for row, text in zip(rows, texts, strict=True):
            builder = FilterBuilder()
            builder.add(text)
            await site.store.log_index.put([(row, builder.filter())])
    return rows


async def test_lines_are_found_by_their_runs_newest_first(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        old, _ = await logged(site, "old", b"fine\nconnection REFUSED\n", b"other\n")
        await logged(site, "between", b"nothing of it\n")
        _, new = await logged(site, "new", b"other\n", b"Connection refused\n" * 9)
        await logged(site, "written", b"it says: connection refused", index=False)
        found = await site.json(f"{HERE}/search?q=connection%20refused")
        assert [each["run"]["id"] for each in found["runs"]] == ["written", "new", "old"]
        written, newer, older = found["runs"]
        assert [(each["vertex"], each["line"]) for each in older["matches"]] == [(old, 1)]
        assert older["matches"][0]["spans"] == [[0, 18]]
        assert [(each["vertex"], each["line"]) for each in newer["matches"]] == [
            (new, line) for line in range(5)
        ]
        assert [each["more"] for each in (written, newer, older)] == [False, True, False]
        assert (found["searched"], found["read"], found["not_indexed"]) == (4, 3, 1)
        assert found["next"] is None
        cased = await site.json(f"{HERE}/search?q=connection%20REFUSED&case=yes")
        assert [each["run"]["id"] for each in cased["runs"]] == ["old"]
        page = await site.text(f"{HERE}/search?q=connection%20refused")
        assert "1 log isn&#39;t in the index" in page or "1 log isn't in the index" in page
        assert "/runs/new/search?q=connection" in page
        assert f'href="{HERE}/search"' in await site.text(HERE)


async def test_a_search_continues_where_its_time_ran_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository_search, "SEARCH_SECONDS", 0.0)
    async with open_site(tmp_path) as site:
        await logged(site, "oldest", b"the needle\n")
        await logged(site, "long", b"hay\n" * 300_000 + b"needle here\n", index=False)
        await logged(site, "newest", b"hay with a needle in it\n")
        seen, cursor, asked = [], "", 0
        while True:
            found = await site.json(f"{HERE}/search?q=needle{cursor}")
            seen += [each["run"]["id"] for each in found["runs"]]
            asked += 1
            if found["next"] is None:
                break
            cursor = f"&before={found['next']}"
        assert seen == ["newest", "long", "oldest"]
        assert asked > 3
        page = await site.text(f"{HERE}/search?q=needle")
        assert f'href="{HERE}/search?q=needle&amp;before=newest"' in page
        assert "back to" in page


async def test_a_response_covers_a_limited_number_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository_search, "MAX_RUNS", 1)
    async with open_site(tmp_path) as site:
        for run_id in ("one", "two"):
            await logged(site, run_id, b"a needle\n")
        found = await site.json(f"{HERE}/search?q=needle")
        assert ([each["run"]["id"] for each in found["runs"]], found["next"]) == (["two"], "two")
        found = await site.json(f"{HERE}/search?q=needle&before=two")
        assert ([each["run"]["id"] for each in found["runs"]], found["next"]) == (["one"], None)


async def test_too_many_searches_are_asked_to_try_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching, enough = trio.Event(), trio.Event()
    visible_logs = repository_search.visible_logs

    async def held(*args: Any) -> Any:
        searching.set()
        await enough.wait()
        return await visible_logs(*args)

    monkeypatch.setattr(repository_search, "MAX_SEARCHES", 1)
    monkeypatch.setattr(repository_search, "visible_logs", held)
    async with open_site(tmp_path) as site, trio.open_nursery() as nursery:
        await logged(site, "one", b"a needle\n")
        codes = []

        async def ask() -> None:
            codes.append((await site.get(f"{HERE}/search?q=needle")).status_code)

        nursery.start_soon(ask)
        await searching.wait()
        await ask()
        assert codes == [503]
        enough.set()
    assert codes == [503, 200]


async def test_mistakes_in_a_query_are_reported(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await logged(site, "one", HOSTILE.encode())
        assert (await site.get("/repositories/octocat/none/search?q=a")).status_code == 404
        assert (await site.get(f"{HERE}/search", accept="application/json")).status_code == 400
        assert (await site.get(f"{HERE}/search?q=a&before=.;")).status_code == 400
        assert (await site.get(f"{HERE}/search?q={'a' * 501}")).status_code == 400
        assert "Match case" in await site.text(f"{HERE}/search")
        page = await site.text(f"{HERE}/search?q=script")
        assert "<script>alert" not in page
        assert "<mark>script</mark>" in page
        found = await site.json(f"{HERE}/search?q=a&before=none")
        assert (found["runs"], found["searched"]) == ([], 0)


async def test_private_logs_are_searched_for_readers_only(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await logged(site, "open", b"a needle\n")
        await site.queued("hidden", public=False)
        await site.step("hidden", "step", b"a needle\n")
        answer = await site.json(f"{HERE}/search?q=needle")
        assert [each["run"]["id"] for each in answer["runs"]] == ["open"]
        for cursor in ("hidden", "hidden.1-0", "hidden.99-1"):
            answer = await site.json(f"{HERE}/search?q=needle&before={cursor}")
            assert (answer["runs"], answer["searched"]) == ([], 0)
        reader = await site.signed_in(7, "hubot", r2="read")
        found = await site.get(f"{HERE}/search?q=needle", accept="application/json", **reader)
        runs = (await found.get_json())["runs"]
        assert [each["run"]["id"] for each in runs] == ["hidden", "open"]
