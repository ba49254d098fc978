"""A repository's pages, badge and feed: what they count, and who may see them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from bassloop.web.feeds import BADGES, atom_feed, badge_svg
from bassloop.web.presentation import overall_state
from tests.records import make_run

from .site import Site, open_site

if TYPE_CHECKING:
    from pathlib import Path

ATOM = "{http://www.w3.org/2005/Atom}"
HERE = "/repositories/octocat/hello"


async def some_runs(site: Site) -> None:
    await site.run("old", check_name="test", created_at=1.0)
    await site.run("new", "succeeded", check_name="test", head_sha="beef", created_at=2.0)
    await site.run("lint", "timed_out", check_name="lint", head_branch="topic", created_at=3.0)
    await site.run("pull", check_name="test", pull_request=7, head_sha="c0de", created_at=4.0)
    await site.run("pull2", "succeeded", check_name="e2e", pull_request=7, head_sha="c0de")
    await site.run("other", check_name="test", repository="ada/engine")


async def test_a_repository_shows_each_check_of_the_newest_push(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await some_runs(site)
        found = await site.json("/repositories/Octocat/Hello")
        assert [check["id"] for check in found["checks"]] == ["lint", "new"]
        assert (found["repository"], found["state"]) == ("octocat/hello", "timed_out")
        assert [run["id"] for run in found["runs"]] == ["pull2", "pull", "lint", "new", "old"]
        topic = await site.json(f"{HERE}?branch=topic")
        assert [check["id"] for check in topic["checks"]] == ["lint"]
        page = await site.text(HERE)
        assert "https://loop.example.com/repositories/octocat/hello/badge.svg" in page
        assert f'href="{HERE}?branch=topic"' in page


async def test_a_commits_page_has_all_checks_of_its_head(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await some_runs(site)
        found = await site.json(f"{HERE}/commits/c0de")
        assert [check["id"] for check in found["checks"]] == ["pull2", "pull"]
        assert (found["state"], found["pull_request"]) == ("failed", 7)
        page = await site.text(f"{HERE}/commits/c0de")
        assert 'data-run="pull"' in page
        rows = page.partition("<h2>Checks</h2>")[2]
        assert "exit status 1" in rows
        assert "/commits/" not in rows
        assert (await site.get(f"{HERE}/commits/none")).status_code == 404


async def test_a_pull_requests_page_has_all_checks_of_its_newest_head(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await some_runs(site)
        await site.run("again", "succeeded", check_name="test", pull_request=7, head_sha="cafe")
        found = await site.json(f"{HERE}/pulls/7")
        assert [check["id"] for check in found["checks"]] == ["again"]
        assert found["head_sha"] == "cafe"
        assert (await site.get(f"{HERE}/pulls/8")).status_code == 404


async def test_a_rerun_replaces_the_run_that_it_repeats(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await some_runs(site)
        await site.run("rerun", "succeeded", check_name="test", pull_request=7, head_sha="c0de")
        found = await site.json(f"{HERE}/commits/c0de")
        assert [check["id"] for check in found["checks"]] == ["pull2", "rerun"]
        assert "Earlier runs" in await site.text(f"{HERE}/commits/c0de")


async def test_a_badge_shows_the_state_of_pushes(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await some_runs(site)
        for query, words in (
            ("", "checks: timed out"),
            ("?check=test", "test: passing"),
            ("?branch=main", "checks: passing"),
            ("?branch=topic&check=lint", "lint: timed out"),
        ):
            assert f"<title>{words}</title>" in await site.text(f"{HERE}/badge.svg{query}"), query
        assert (await site.get(f"{HERE}/badge.svg?check=e2e")).status_code == 404


async def test_a_badge_is_sent_again_only_if_it_has_changed(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await some_runs(site)
        first = await site.get(f"{HERE}/badge.svg")
        assert first.headers["Content-Type"] == "image/svg+xml"
        assert first.headers["Cache-Control"] == "no-cache"
        again = await site.get(f"{HERE}/badge.svg", **{"If-None-Match": first.headers["ETag"]})
        assert again.status_code == 304


@pytest.mark.parametrize("state", BADGES)
def test_every_badge_is_xml_that_names_check_and_state(state: str) -> None:
    picture = ElementTree.fromstring(badge_svg('a<b>&"' + "x" * 99, state))
    assert picture.attrib["aria-label"].startswith('a<b>&"xxx')
    assert picture.attrib["aria-label"].endswith(f"…: {BADGES[state][0]}")


def test_a_badge_shows_the_worst_check() -> None:
    states = ["succeeded", "running", "failed"]
    assert [overall_state([make_run(state=state) for state in states[:n]]) for n in range(4)] == [
        "none",
        "succeeded",
        "running",
        "failed",
    ]


async def test_a_commit_with_nothing_to_do_does_not_wait_for_a_runner(tmp_path: Path) -> None:
    """This is the state of a notice that the repository has no hook."""
    async with open_site(tmp_path) as site:
        await site.queued("r", head_sha="beef")
        await site.store.runs.end("r", "neutral", "add a hook", 101.0)
        page = f"{HERE}/commits/beef"
        assert (await site.json(page))["state"] == "neutral"
        assert "nothing to do" in await site.text(page)
        assert "waiting for a runner" not in await site.text(page)


async def test_a_feed_has_the_failures_newest_first(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await some_runs(site)
        answer = await site.get(f"{HERE}/failures.atom")
        assert answer.headers["Content-Type"].startswith("application/atom+xml")
        found = ElementTree.fromstring(await answer.get_data())
        assert [entry.findtext(f"{ATOM}id") for entry in found.iter(f"{ATOM}entry")] == [
            f"https://loop.example.com/runs/{run}" for run in ("pull", "lint", "old")
        ]
        topic = ElementTree.fromstring(await site.text(f"{HERE}/failures.atom?branch=topic"))
        assert topic.findtext(f"{ATOM}entry/{ATOM}title") == "lint timed out on topic"
        again = await site.get(f"{HERE}/failures.atom", **{"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304


async def test_a_feed_lists_failures(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued("r")
        await site.step("r", "make", b"a.c:1:2: error: no such type\n", error="exit status 2")
        await site.store.runs.start("r", "t", "octocat", "linux/amd64", 100.0)
        await site.store.runs.end("r", "failed", "exit status 2", 101.0)
        [run] = (await site.store.runs.newest()).items
        found = ElementTree.fromstring(
            await site.text(f"/repositories/{run.repository}/failures.atom")
        )
    summary = found.findtext(f"{ATOM}entry/{ATOM}summary") or ""
    assert summary.startswith("no such type\n")


def test_a_feed_is_xml_whatever_is_in_it() -> None:
    odd = '\x00\x1b[31m<b>&\ud800]]>\ufffe"'
    run = make_run(state="failed", check_name=odd, message=odd, head_branch=odd, login=odd)
    found = ElementTree.fromstring(
        atom_feed(run, [run], {}, f"/x?a={odd}&", "https://x.test").encode()
    )
    assert len(found.findall(f"{ATOM}entry")) == 1


@pytest.mark.parametrize(
    "path",
    ["", "/commits/c0de", "/pulls/7", "/badge.svg", "/badge.svg?check=test", "/failures.atom"],
)
async def test_a_private_repository_is_answered_like_a_missing_one(
    tmp_path: Path, path: str
) -> None:
    async with open_site(tmp_path) as site:
        await site.run("a", public=False, check_name="test")
        await site.run("b", public=False, check_name="test", head_sha="c0de", pull_request=7)
        hidden = await site.get(f"{HERE}{path}")
        none = await site.get(f"/repositories/no/such{path}")
        assert (hidden.status_code, none.status_code) == (404, 404)
        assert await hidden.get_data() == await none.get_data()


async def test_the_record_of_spot_checks_is_shown(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run("plain", check_name="a")
        assert "Spot checks" not in await site.text("/repositories/octocat/hello")
        for number, state in enumerate(("succeeded", "failed", "action_required", None)):
            sha, name = f"{number:040}", f"spot{number}"
            await site.store.heads.draw_spot_check(2, sha, "a", state is not None)
            if state in ("succeeded", "failed"):
                await site.run(name, state, check_name="a (trusted)", head_sha=sha)
            elif state is not None:
                await site.queued(name, check_name="a (trusted)", head_sha=sha)
        found = (await site.json("/repositories/octocat/hello"))["spot_checks"]
        assert found == {
            "passed": 4,
            "drawn": 3,
            "verified": 1,
            "differs": 1,
            "not_verified": 1,
        }
        page = await site.text("/repositories/octocat/hello")
        assert "3 of 4 checks that passed were drawn" in page
        assert "<strong>1 differing</strong>" in page
        assert page.index("/runs/spot1") > page.index("Spot checks")
