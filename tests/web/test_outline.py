"""A log's outline: its folds, its pauses, and the lines that say what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.store import StepUpdate
from bassloop.web.logs import log_endpoints
from bassloop.web.logs import outline as outlining
from bassloop.web.logs.outline import LogGroup, LogOutline

from .site import open_site

if TYPE_CHECKING:
    from pathlib import Path

BAD = """\
::error file=a.py::broken
##[error]Process completed with exit code 1.
src/main.c:3:5: error: expected ';'
error[E0308]: mismatched types
error: could not compile `x`
E   AssertionError: 1 != 2
FAILED tests/test_a.py::test - assert
--- FAIL: TestThing (0.00s)
FAIL\tgithub.com/some/thing
not ok 3 - it works
panic: runtime error: index out of range
thread 'main' panicked at src/main.rs:2:5:
npm ERR! code ELIFECYCLE
npm error code 1
Traceback (most recent call last):
ValueError: no
make: *** [Makefile:2: all] Error 1
fatal: not a git repository
2026-01-01 10:00:00 ERROR something
\x1b[31mError:\x1b[0m in colour
command failed with exit status 3
"""
GOOD = """\
0 errors, 3 warnings
test_error_handling PASSED
collected 12 items, no failures
Compiling thiserror v1.0
an erroneous thing
exit code 0
warning: unused variable
"""


def outline(text: bytes) -> LogOutline:
    found = LogOutline()
    found.scan(text, text.count(b"\n"))
    return found


@pytest.mark.parametrize("line", BAD.splitlines())
def test_failures_are_in_the_outline(line: str) -> None:
    assert outline(b"fine\n" + line.encode() + b"\nfine\n").error_lines() == [1]


@pytest.mark.parametrize("line", GOOD.splitlines())
def test_lines_that_only_look_like_errors_are_not(line: str) -> None:
    assert outline(line.encode() + b"\n").error_lines() == []


def test_groups_can_be_nested_and_end_at_their_markers() -> None:
    found = outline(
        b"before\n::group::One\na\n::endgroup::\n##[group]Two\nb\n::group::Three\nc\n::endgroup::\nx\n"
        b"::endgroup::\n\x1b[1m::group::\x1b[0mFour\n"
    )
    assert found.groups == [
        LogGroup(1, "One", 3),
        LogGroup(4, "Two", 10),
        LogGroup(6, "Three", 8),
        LogGroup(11, "Four", None),
    ]


def test_sections_of_buildkite_end_where_the_next_begins() -> None:
    found = outline(b"--- One\na\n~~~ :docker: Two\nb\n+++ Three\nc\n--- Four\n^^^ +++\nd\n")
    assert found.groups == [
        LogGroup(0, "One", 1),
        LogGroup(2, ":docker: Two", 3),
        LogGroup(4, "Three", 5, open=True),
        LogGroup(6, "Four", None, open=True),
    ]
    found.end()
    assert found.groups[-1].end == 8


def test_a_diff_and_results_of_go_do_not_count_as_sections() -> None:
    diff = b"--- a/one.py\n+++ b/one.py\n@@ -1 +1 @@\n-a\n+b\n"
    found = outline(b"+++ Test\n" + diff + diff + b"--- FAIL: TestIt (0.00s)\n--- \n---\n--- End\n")
    assert found.groups == [LogGroup(0, "Test", 13, open=True), LogGroup(14, "End", None)]
    assert outline(diff).groups == []


def test_the_first_and_the_last_of_many_errors_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlining, "MAX_ERRORS", 2)
    found = LogOutline(_last_errors=outlining.deque(maxlen=2))
    found.scan(b"error: x\n" * 10, 10)
    assert (found.error_lines(), found.errors) == ([0, 1, 8, 9], 10)


@given(
    st.lists(
        st.sampled_from(["x", "error: a", "::group::b", "::endgroup::", "", "--- c", "+++ d"]),
        max_size=30,
    ),
    st.integers(0, 30),
)
def test_an_outline_does_not_depend_on_how_the_log_is_split(lines: list[str], cut: int) -> None:
    whole, pieces = outline("".join(f"{line}\n" for line in lines).encode()), LogOutline()
    for part in (lines[:cut], lines[cut:]):
        pieces.scan("".join(f"{line}\n" for line in part).encode(), len(part))
    assert (pieces.groups, pieces.error_lines()) == (whole.groups, whole.error_lines())
    assert pieces.lines == len(lines)


async def test_reading_a_growing_log_continues(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        row = (await site.store.steps.put("r", [StepUpdate("v", "v", 1.0)]))["v"].row
        path = f"/runs/r/vertexes/{row}/outline"
        log = await site.store.logs.open("r", row)
        await log.append(b"::group::Build\nok\n", None, 1, 100.0)
        assert (await site.json(path))["groups"] == [
            {"line": 0, "end": None, "title": "Build", "open": False}
        ]
        await log.append(b"error: no\n::endgroup::\n", None, 1, 130.5)
        await log.close()
        found = await site.json(path)
        assert found["groups"] == [{"line": 0, "end": 3, "title": "Build", "open": False}]
        assert (found["errors"], found["error_count"]) == ([2], 1)
        assert found["gaps"] == [{"line": 2, "seconds": 30.5}]
        assert (found["lines"], found["total"], found["complete"]) == (4, 4, True)


async def test_an_outline_takes_limited_time_and_continues_with_the_next_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_endpoints, "OUTLINE_SECONDS", 0.0)
    async with open_site(tmp_path) as site:
        await site.queued()
        row = await site.step("r", "v", b"fine\n" * 200_000 + b"error: at the end\n")
        answers = [await site.json(f"/runs/r/vertexes/{row}/outline") for _ in range(6)]
        assert [answer["complete"] for answer in answers] == [False, False, False, True, True, True]
        assert answers[-1]["errors"] == [200_000]


async def test_a_number_that_no_step_can_have_is_not_found(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        for what in ("outline", "lines", "raw", "text"):
            answer = await site.get(f"/runs/r/vertexes/{2**70}/{what}")
            assert answer.status_code == 404
