"""Lists of runs: narrowed, paged, and kept as they stand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .site import Site, open_site

if TYPE_CHECKING:
    from pathlib import Path


async def ids(site: Site, path: str) -> list[str]:
    return [run["id"] for run in (await site.json(path))["runs"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["d", "c", "b", "a"]),
        ("repository=Ada/Engine", ["d", "b"]),
        ("branch=topic", ["c"]),
        ("login=ADA", ["b"]),
        ("check=lint", ["d"]),
        ("sha=beef", ["c"]),
        ("state=succeeded", ["b"]),
        ("pull=7", ["d"]),
        ("repository=ada/engine&check=lint", ["d"]),
        ("repository=ada/engine&branch=topic", []),
    ],
)
async def test_runs_can_be_filtered(tmp_path: Path, query: str, expected: list[str]) -> None:
    async with open_site(tmp_path) as site:
        await site.run("a")
        await site.run("b", "succeeded", repository="ada/engine", login="ada")
        await site.run("c", head_branch="topic", head_sha="beef")
        await site.run("d", repository="ada/engine", check_name="lint", pull_request=7)
        assert await ids(site, f"/runs?{query}") == expected
        page = await site.text(f"/runs?{query}")
        assert [run for run in "abcd" if f'data-run="{run}"' in page] == sorted(expected)


@pytest.mark.parametrize("query", ["state=nonsense", "pull=x", "pull=-1", "pull=" + "9" * 30])
async def test_an_unknown_filter_is_reported(tmp_path: Path, query: str) -> None:
    async with open_site(tmp_path) as site:
        assert (await site.get(f"/runs?{query}")).status_code == 400
        async with site.app.test_client().websocket(f"/runs/live?{query}") as socket:
            with pytest.raises(Exception, match="4400"):
                await socket.receive()


async def test_the_link_to_older_runs_keeps_the_filters(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        for number in range(52):
            await site.queued(f"r{number}", head_branch="a/b&c")
        page = await site.text("/runs?branch=a/b%26c")
        assert 'href="/runs?branch=a%2Fb%26c&amp;before=r2"' in page
        older = await site.text("/runs?branch=a%2Fb%26c&before=r2")
        assert 'data-run="r1"' in older
        assert 'data-run="r2"' not in older
        assert 'href="/runs?branch=a%2Fb%26c"' in older
        assert "data-live" not in older


async def test_a_list_of_runs_is_updated_live(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued("a", head_branch="topic")
        async with site.app.test_client().websocket("/runs/live?branch=topic") as socket:
            first = json.loads(await socket.receive())
            assert (first["order"], first["runs"][0]["state"]) == (["a"], "queued")
            assert "waiting for a runner" in first["rows"]["a"]
            await site.store.runs.end("a", "succeeded", None, 101.0)
            site.live_runs.publish("a")
            then = json.loads(await socket.receive())
            assert then["runs"][0]["state"] == "succeeded"
            await site.queued("elsewhere")
            await site.queued("hidden", head_branch="topic", public=False)
            await site.queued("b", head_branch="topic")
            site.live_runs.publish("b")
            last = json.loads(await socket.receive())
            assert last["order"] == ["b", "a"]
            assert list(last["rows"]) == ["b"]


async def test_the_front_page_explains_the_loop_and_how_to_connect(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        page = await site.text("/")
        assert "No runs yet" in page
        assert "bassloop runner YOUR-LOGIN@loop.example.com" in page
        assert "loop.example.com ssh-ed25519 AAAA" in page
        assert "SHA256:AAAA" in page
