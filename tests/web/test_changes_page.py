"""Changes since the last green run, proofs of flakiness, and tests over time."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from bassloop.checks.source_links import SourceLinks
from bassloop.store import ReportedTest, StepUpdate, ThunkRecord
from bassloop.terminal import plain_lines
from bassloop.web import create_app
from bassloop.web.pages import failure_card
from bassloop.web.pages.tests_page import TestRun, course_of
from bassloop.web.presentation import view_runs
from tests.records import make_run

from .site import HOSTILE, Site, open_site

if TYPE_CHECKING:
    from pathlib import Path

GREEN, RED = "a" * 39 + "1", "b" * 39 + "2"


async def ended(site: Site, run_id: str, state: str, log: bytes = b"ok\n", **changes: Any) -> None:
    """A run of one step that has ended."""
    await site.queued(run_id, **changes)
    error = "exit status 1" if state == "failed" else None
    await site.step(run_id, "make", log, error=error)
    await site.store.runs.start(run_id, "t", "octocat", "linux/amd64", 100.0)
    await site.store.runs.end(run_id, state, error, 101.0)  # type: ignore[arg-type]


def since_when(page: str) -> str:
    """The sentence of a page's failure card that says since when the check fails."""
    [sentence] = re.findall(r"<span>((?:<b>Flaky|First|Failing|last green).*?)</span>", page, re.S)
    return re.sub(r"<[^>]*>", "", sentence)


async def two_runs(site: Site) -> None:
    """A green run and a red one, of thunks that differ in a tag."""
    for digest, tag, sha in (("ONE", "3.12", GREEN), ("TWO", "3.13", RED)):
        json = f'{{"tag": "{tag}", "sha": "{sha}"}}'
        await site.store.thunks.put(ThunkRecord(digest, digest, json, b"", "make", 1.0))
    log = b"start 10:00:00\ncompiled\n"
    await ended(site, "green", "succeeded", log, head_sha=GREEN, thunk_digest="ONE")
    log = f"start 11:00:00\na.c:1:2: error: no\n{HOSTILE}\n".encode()
    await ended(site, "red", "failed", log, head_sha=RED, thunk_digest="TWO")


async def test_a_run_is_compared_with_the_last_green_one(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await two_runs(site)
        found = await site.json("/runs/red/changes")
        assert found["green"]["id"] == "green"
        assert found["inputs"] == [{"where": "tag", "before": "3.12", "after": "3.13"}]
        assert [each["line"] for each in found["added"]] == [1, 2]
        assert found["compare"] is None
        page = await site.text("/runs/red/changes")
        assert "a.c:1:2: error: no" in page
        assert "<script>alert" not in page
        links = SourceLinks(site.store, None, "https://github.test/")  # type: ignore[arg-type]
        app = create_app(replace(site.context, source_links=links))
        answer = await app.test_client().get("/runs/red/changes")
        assert f"https://github.test/octocat/hello/compare/{GREEN}...{RED}" in (
            await answer.get_data(as_text=True)
        )


async def test_the_card_says_when_the_check_was_last_green(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await two_runs(site)
        page = await site.text("/runs/red")
        assert f'last green at <a href="/runs/green" class="sha">{GREEN[:7]}</a>' in page
        assert 'href="/runs/red/changes"' in page
        assert "First failure" in page
        assert "Flaky" not in page
        await ended(site, "stopped", "cancelled", head_sha="d" * 40)
        await ended(site, "redder", "failed", head_sha="c" * 40)
        assert since_when(await site.text("/runs/redder")) == (
            f"Failing since {RED[:7]}, 1970-01-01 00:01 UTC (2 runs) · "
            f"last green at {GREEN[:7]}, 1970-01-01 00:01 UTC"
        )


async def test_the_card_says_that_a_check_has_never_been_green(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await ended(site, "red", "failed", head_sha=RED)
        assert since_when(await site.text("/runs/red")) == "First failure · no green run before"
        await ended(site, "redder", "failed")
        assert since_when(await site.text("/runs/redder")) == (
            f"Failing since {RED[:7]}, 1970-01-01 00:01 UTC (2 runs) · no green run before"
        )


async def test_the_card_names_the_branch_of_a_green_run_if_it_is_another(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await two_runs(site)
        await ended(site, "topic", "failed", head_branch="topic", thunk_digest="TWO")
        assert since_when(await site.text("/runs/topic")) == (
            f"First failure · last green at {GREEN[:7]} on main, 1970-01-01 00:01 UTC"
        )


async def test_a_stopped_run_does_not_count_as_a_failure_of_its_check(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await two_runs(site)
        await site.queued("stopped", thunk_digest="TWO")
        await site.store.runs.start("stopped", "t", "octocat", "linux/amd64", 100.0)
        await site.store.runs.end("stopped", "interrupted", "the runner was lost", 101.0)
        page = await site.text("/runs/stopped")
        assert since_when(page) == f"last green at {GREEN[:7]}, 1970-01-01 00:01 UTC"


async def test_the_beginning_of_a_long_series_of_failures_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure_card, "MAX_RUNS", 2)
    async with open_site(tmp_path) as site:
        for number in range(4):
            await ended(site, f"red{number}", "failed", head_sha=f"{number}" * 40)
        assert since_when(await site.text("/runs/red3")) == (
            "Failing since before 1111111, 1970-01-01 00:01 UTC (3 and more runs) · "
            "no green run before"
        )


async def test_without_a_green_run_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await ended(site, "red", "failed")
        await ended(site, "later", "succeeded")
        await ended(site, "other", "succeeded", check_name="lint")
        assert await site.json("/runs/red/changes") == {"green": None}
        assert "No earlier run" in await site.text("/runs/red/changes")


async def test_the_runs_own_branch_comes_before_others(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await ended(site, "mine", "succeeded", head_branch="topic")
        await ended(site, "main", "succeeded", head_branch="main")
        await ended(site, "red", "failed", head_branch="topic")
        await ended(site, "fork", "failed", head_branch=None, pull_request=3)
        assert (await site.json("/runs/red/changes"))["green"]["id"] == "mine"
        assert (await site.json("/runs/fork/changes"))["green"]["id"] == "main"


async def test_two_outcomes_of_one_thunk_prove_that_a_check_is_flaky(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await ended(site, "one", "succeeded", head_sha=GREEN)
        await ended(site, "two", "failed", head_sha=GREEN)
        await ended(site, "three", "failed", head_sha=GREEN)
        assert since_when(await site.text("/runs/three")) == (
            "Flaky, proven: the very same thunk failed 2 times and succeeded once, "
            f"last at {GREEN[:7]}, 1970-01-01 00:01 UTC"
        )


async def test_a_flaky_check_never_lacks_a_green_run(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        more = {"head_branch": None, "event": "pull_request"}
        await ended(site, "before", "succeeded", check_name="old-name", pull_request=1, **more)
        await ended(site, "red", "failed", pull_request=2, **more)
        page = await site.text("/runs/red")
        assert since_when(page).startswith("Flaky, proven: the very same thunk failed once")
        assert "no green run before" not in page
        assert (await site.json("/runs/red/changes"))["green"]["id"] == "before"


async def test_a_thunk_that_succeeds_later_is_flaky_too(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await ended(site, "red", "failed")
        await ended(site, "later", "succeeded", head_sha=GREEN)
        page = await site.text("/runs/red")
        assert since_when(page).endswith(
            f"succeeded once, last at {GREEN[:7]}, 1970-01-01 00:01 UTC"
        )
        assert "What changed?" not in page


async def test_tests_of_a_run_link_to_their_history(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await ended(site, "one", "succeeded", head_sha=GREEN)
        await ended(site, "two", "failed", head_sha=RED)
        await site.store.tests.put("one", [ReportedTest("a & b", "passed", 0.5)])
        failure = ReportedTest("a & b", "failed", 1.5, HOSTILE, "a.py", 3)
        await site.store.tests.put("two", [failure, ReportedTest("c", "passed")])
        assert '<a href="/runs/two/tests">1 failed, 1 passed</a>' in await site.text("/runs/two")
        page = await site.text("/runs/two/tests")
        assert "a &amp; b" in page
        assert "a.py:3" in page
        address = "/repositories/octocat/hello/tests?check=test&name=" + quote("a & b")
        assert address.replace("%20", "+").replace("&", "&amp;") in page.replace("%20", "+")
        assert "<script>alert" not in page
        found = await site.json(address)
        assert [(each["run"]["id"], each["outcome"]) for each in found["results"]] == [
            ("two", "failed"),
            ("one", "passed"),
        ]
        history = await site.text(address)
        assert "It fails since" in history
        assert "and passed last at" in history
        assert "Of the last 2 results, 1 is a failure." in history
        assert history.count('<rect class="bar') == 2
        assert "the very same thunk both passed and failed it" in history
        assert "<script>alert" not in history
        passed = await site.json("/runs/two/tests?outcome=passed")
        assert [each["name"] for each in passed["tests"]] == ["c"]
        assert (await site.get("/runs/two/tests?outcome=odd")).status_code == 400
        assert (
            await site.get("/repositories/octocat/hello/tests?check=test&name=x")
        ).status_code == 404


@pytest.mark.parametrize(
    ("outcomes", "fails", "since", "before", "failed"),
    [
        ("f", True, 0, None, 1),
        ("ppp", False, 2, None, 0),
        ("fsfp", True, 2, 3, 2),
        ("ppfpf", False, 1, 2, 2),
        ("ss", False, 1, None, 0),
    ],
)
def test_the_history_of_a_test_starts_with_the_newest_result(
    outcomes: str, fails: bool, since: int, before: int | None, failed: int
) -> None:
    words = {"f": "failed", "p": "passed", "s": "skipped"}
    results = [
        TestRun(view_runs([make_run(id=str(n))])[0], ReportedTest("t", words[each]))
        for n, each in enumerate(outcomes)
    ]
    course = course_of(results)
    assert (course.fails, course.failed) == (fails, failed)
    assert course.since is results[since]
    assert course.before is (None if before is None else results[before])


def test_line_breaks_in_a_message_are_kept() -> None:
    assert plain_lines("\x1b[31ma\x1b[0m\nb\n") == "a\nb"


async def test_a_run_without_reports_says_how_to_declare_one(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await ended(site, "one", "failed")
        assert "No test report came with this run" in await site.text("/runs/one/tests")


async def test_a_step_that_took_longer_than_usual_says_so(tmp_path: Path) -> None:
    async def took(run_id: str, seconds: float, state: str = "succeeded", **changes: Any) -> None:
        await site.queued(run_id, **changes)
        commit = f"{len(run_id)}{ord(run_id[-1]):x}0a1b2c3d"
        made = StepUpdate("d", f"make {commit}", 100.0, 100.0 + seconds)
        await site.store.steps.put(run_id, [made])
        await site.store.runs.start(run_id, "t", "octocat", "linux/amd64", 100.0)
        await site.store.runs.end(run_id, state, None, 100.0 + seconds)  # type: ignore[arg-type]

    async with open_site(tmp_path) as site:
        for number, seconds in enumerate((2.0, 4.0, 90.0)):
            await took(f"a{number}", seconds)
        await took("bad", 90.0, "failed")
        await took("lint", 90.0, check_name="lint")
        await took("slow", 8.0)
        await took("fine", 4.5)
        earlier = await site.store.steps.earlier_durations("slow")
        assert sorted(seconds for _, seconds in earlier) == [2.0, 4.0, 90.0]
        assert ">usually 4.0 s</span>" in await site.text("/runs/slow")
        assert "usually" not in await site.text("/runs/fine")
