"""Why a run failed, and the lines that say so."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hypothesis import given
from hypothesis import strategies as st

from bassloop.checks import run_failure
from bassloop.checks.run_failure import (
    EXCERPT_LINES,
    MIN_EXCERPT_LINES,
    LogFailures,
    analyze_log,
    excerpt_range,
    signal_meaning,
)
from bassloop.failures import Failure, Rank
from bassloop.lifecycle import RunState
from bassloop.store import StepUpdate
from bassloop.web import create_app
from bassloop.wire.bass_pb2 import ImageRef
from bassloop.wire.conventions import step_name

from .site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from bassloop.checks.source_links import SourceLinks
    from bassloop.failures import Location
    from bassloop.store import Run

CORPUS = Path(__file__).parents[1] / "failures" / "corpus"

GCC = [
    b"compiling",
    b"a.c:1:2: error: no",
    b"    1 | int",
    b"a.c:9:2: \x1b[31merror:\x1b[0m neither",
    b"make: *** [all] Error 1",
    b"",
]


async def failed(site: Site, log: bytes, run_id: str = "r") -> int:
    """A failed run whose step wrote this; returns the step's row."""
    await site.queued(run_id)
    row = await site.step(run_id, "make", log, error="exit status 2")
    await site.store.runs.start(run_id, "t", "octocat", "linux/amd64", 100.0)
    await site.store.runs.end(run_id, "failed", "exit status 2", 101.0)
    return row


def test_failures_have_the_line_numbers_of_the_log() -> None:
    found = analyze_log(100, GCC)
    assert [(each.message, each.first) for each in found.failures[:2]] == [
        ("no", 101),
        ("neither", 103),
    ]
    assert str(found.failures[0].locations[0]) == "a.c:1"
    assert found.key_lines == {101}


def test_without_an_error_the_last_line_with_text_is_shown() -> None:
    found = analyze_log(0, [b"one", b"\x1b[1mtwo\x1b[0m", b"", b"  "])
    assert [(each.message, each.first) for each in found.failures] == [("two", 1)]
    assert found.key_lines == {1}


def test_the_line_of_a_failure_in_a_file_of_the_project_is_found_in_the_log() -> None:
    found = analyze_log(0, [b"checking", b"OSError: no such file: '/bass/work/data.txt'"])
    assert found.failures[0].message == "OSError: no such file: 'data.txt'"
    assert found.key_lines == {1}


async def test_the_card_shows_paths_as_the_project_has_them_and_the_log_as_it_is(
    tmp_path: Path,
) -> None:
    async with open_site(tmp_path) as site:
        log = b"/bass/work/src/a.c:1:2: error: \x1b[31mno\x1b[0m, see http://h/bass/work/x\n"
        row = await failed(site, log)
        page = await site.text("/runs/r")
        assert "There may be more failures" not in page
        card = page.partition('class="failure')[2].partition("</section>")[0]
        assert "src/a.c:1:2" in card
        assert "/bass/work/src" not in card
        assert "http://h/bass/work/x" in card
        assert "/bass/work/src/a.c:1:2" in await site.text(f"/runs/r/vertexes/{row}/raw")


def test_a_log_without_text_has_no_failures() -> None:
    assert analyze_log(0, []) == LogFailures()
    assert analyze_log(0, [b"", b" \t"]) == LogFailures()


@given(
    st.integers(0, 500), st.integers(0, 500), st.integers(1, 500), st.sets(st.integers(0, 1_000))
)
def test_the_size_of_an_excerpt_is_bounded(
    first: int, length: int, after: int, key_lines: set[int]
) -> None:
    last = first + length
    total = last + after
    failure = Failure("gcc", Rank.ERROR, "no", None, (), first, last)
    start, stop = excerpt_range(failure, total, key_lines)
    assert 0 <= start < stop <= total
    assert start <= last
    assert stop > first
    assert min(MIN_EXCERPT_LINES, total) <= stop - start <= EXCERPT_LINES
    inside = [line for line in key_lines if first <= line <= last]
    assert not inside or start <= max(inside) < stop


def test_a_long_failure_is_shown_by_its_key_lines_or_by_its_end() -> None:
    failure = Failure("go", Rank.ERROR, "boom", None, (), 100, 300)
    assert excerpt_range(failure, 1_000) == (263, 303)
    assert excerpt_range(failure, 1_000, {100}) == (98, 138)
    assert excerpt_range(failure, 1_000, {100, 200}) == (180, 220)
    assert excerpt_range(failure, 1_000, {290, 300}) == (263, 303)


async def test_the_card_has_the_cause_and_its_lines(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        row = await failed(site, b"\n".join(GCC))
        page = await site.text("/runs/r")
        card = page.partition('id="failure"')[2].partition("</section>")[0]
        assert f'href="#v{row}-L2"' in card
        assert "a.c:1" in card
        assert "int</span>" in card
        assert card.count('class="line failing"') == 1
        assert (await site.text("/runs/r/failure")).partition('id="failure"')[2] == (
            f"{card}</section>"
        )
        found = (await site.json("/runs/r/failure"))["failure"]
        assert (found["reason"], found["vertex"], found["more"]) == ("exit status 2", row, 0)
        assert found["failures"][0] == {
            "tool": "compiler",
            "test": None,
            "message": "no",
            "locations": [{"path": "a.c", "line": 1, "column": 2, "url": None}],
            "first": 1,
            "last": 1,
        }
        assert found["excerpt"] == {
            "start": 0,
            "lines": [
                "compiling",
                "a.c:1:2: error: no",
                "    1 | int",
                "a.c:9:2: error: neither",
                "make: *** [all] Error 1",
            ],
        }


async def test_a_run_that_did_not_fail_has_no_card(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        assert '<section class="failure" id="failure"' in await site.text("/runs/r")
        assert (await site.json("/runs/r/failure")) == {"failure": None}
        await site.run("s", state="succeeded")
        assert (await site.json("/runs/s/failure")) == {"failure": None}


async def test_a_failed_step_is_reported_while_its_run_continues(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        await site.store.runs.start("r", "t", "octocat", "linux/amd64", 100.0)
        row = await site.step("r", "make", b"\n".join(GCC), error="exit status 2")
        await site.store.steps.put("r", [StepUpdate("other", "other", 100.0)])
        found = (await site.json("/runs/r/failure"))["failure"]
        assert (found["vertex"], found["failures"][0]["message"]) == (row, "no")


async def test_a_step_that_a_limit_stopped_shows_its_last_lines(
    tmp_path: Path,
) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        await site.store.runs.start("r", "t", "octocat", "linux/amd64", 100.0)
        lines = b"".join(b"error: attempt %d\n" % number for number in range(20))
        await site.step("r", step_name(ImageRef(repository="alpine", tag="3")), b"")
        await site.store.steps.put("r", [StepUpdate("sleep 100", "sleep 100", 101.0)])
        row = (await site.store.steps.of_run("r"))[1].row
        log = await site.store.logs.open("r", row)
        await log.append(lines, None, 1, 101.0)
        await log.close()
        version = 0
        while await site.store.steps.of_run("r", version):
            version += 1
        await site.store.runs.end("r", RunState.TIMED_OUT, "stopped after 6.0 s", 106.0)
        (stopped,) = await site.store.steps.of_run("r", version)
        assert (stopped.row, stopped.cancelled, stopped.completed_at) == (row, True, 106.0)
        found = (await site.json("/runs/r/failure"))["failure"]
        assert (found["reason"], found["vertex"]) == ("stopped after 6.0 s", row)
        assert found["excerpt"]["lines"] == [f"error: attempt {number}" for number in range(10, 20)]
        page = await site.text("/runs/r")
        assert f'href="#v{row}-L20" id="failure-show"' in page
        assert "without the image <code>alpine:3</code>" in page
        assert 'class="step unused"' in page
        assert 'class="step ok"' not in page
        assert "stopped after 6.0 s" in await site.text("/runs")


async def test_long_lines_do_not_hide_the_end_of_the_log(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        text = b"".join(b"%04d %s\n" % (number, b"." * 9000) for number in range(1999))
        row = await failed(site, text + b"error: at last\n")
        page = await site.text("/runs/r")
    assert f'href="#v{row}-L2000"' in page


async def test_a_log_is_analyzed_once_and_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def noted(start: int, lines: Sequence[bytes]) -> LogFailures:
        threads.append(threading.current_thread())
        return analyze_log(start, lines)

    monkeypatch.setattr(run_failure, "analyze_log", noted)
    async with open_site(tmp_path) as site:
        await site.run()
        await site.text("/runs/r")
        await site.text("/runs/r")
    assert len(threads) == 1
    assert threading.main_thread() not in threads


async def test_a_commits_page_says_why_each_check_failed(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await failed(site, b"\n".join(GCC))
        [run] = (await site.store.runs.newest()).items
        page = await site.text(f"/repositories/{run.repository}/commits/{run.head_sha}")
    assert '<span class="reason">no</span>' in page


class FakeLinks:
    """Links to every location."""

    async def urls(self, run: Run, locations: Sequence[Location]) -> dict[Location, str]:
        return {each: f"https://github.test/{each.path}#L{each.line}" for each in locations}

    def known_files(self, run: Run) -> FakeLinks:
        return self

    def url(self, path: str, line: int) -> str | None:
        return None if path.startswith("/") else f"https://github.test/{path}#L{line}"


async def test_a_location_in_the_repository_is_a_link(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await failed(site, b"\n".join(GCC))
        app = create_app(replace(site.context, source_links=cast("SourceLinks", FakeLinks())))
        answer = await app.test_client().get("/runs/r")
        page = await answer.get_data(as_text=True)
    assert 'href="https://github.test/a.c#L1" rel="noopener">a.c:1</a>' in page


async def test_an_excerpt_folds_the_stack_frames_of_libraries_and_shows_what_follows(
    tmp_path: Path,
) -> None:
    async with open_site(tmp_path) as site:
        row = await failed(site, (CORPUS / "cargo-test.txt").read_bytes())
        card = (await site.text("/runs/r")).partition('id="failure"')[2].partition("</section>")[0]
        folded = card.partition(
            '<details class="frames"><summary>… 4 frames of libraries</summary>'
        )
        frames, _, after = folded[2].partition("</details>")
        assert frames.count('class="line"') == 8
        assert "core::panicking::panic_fmt" in frames
        assert f'href="#v{row}-L27"' in after
        assert "shop::tests::adds" in after
        excerpt = (await site.json("/runs/r/failure"))["failure"]["excerpt"]
        assert len(excerpt["lines"]) == 10


async def test_an_excerpt_continues_after_the_cause_and_has_no_empty_ends(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        log = [b"", b"", *GCC[:2], *[b"  more %d" % n for n in range(5)], b"", b"", b"", b"end"]
        await failed(site, b"\n".join(log))
        page = await site.text("/runs/r")
        card = page.partition('id="failure"')[2].partition("</section>")[0]
        numbers = re.findall(r'data-n="(\d+)"', card)
        assert numbers == [str(number) for number in range(3, 10)]


def test_an_exit_status_says_how_a_command_ended() -> None:
    assert "out of memory" in signal_meaning("exit status 137")
    assert signal_meaning("exit status 1") == ""
    assert signal_meaning("exit status 137 of something else") == ""
    assert signal_meaning("") == ""
