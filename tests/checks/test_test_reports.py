"""Test reports: whatever a runner sends, bounded, read and stored, and told beside what the log tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.checks import file_collectors
from bassloop.checks.live_runs import LiveRuns
from bassloop.checks.recorder import recording
from bassloop.checks.run_failure import find_run_failure, with_reported
from bassloop.failures import NOT_IN_LOG, Failure, Location, Rank
from bassloop.store import ReportedTest
from bassloop.wire import progrock_pb2 as progrock
from bassloop.wire.conventions import REPORT_PREFIX

from .test_recorder import open_store_with_run, update

if TYPE_CHECKING:
    from pathlib import Path

JUNIT = b"""<testsuite><testcase classname="shop" name="adds" time="0.5"/>
<testcase classname="shop" name="buys" file="shop.py" line="7"><failure message="no money"/></testcase>
<testcase classname="shop" name="sells"><skipped/></testcase></testsuite>"""


def report(
    path: str, *pieces: bytes, error: str | None = None, complete: bool = True
) -> list[progrock.StatusUpdate]:
    """Return the messages by which a runner sends a report."""
    vertex = progrock.Vertex(id=f"{REPORT_PREFIX}{path}", name="test report", internal=True)
    updates = [update(vertex), *(update(logs=[(vertex.id, piece)]) for piece in pieces)]
    if complete:
        end = progrock.Vertex(id=vertex.id, error=error)
        end.completed.FromSeconds(3)
        updates.append(update(end))
    return updates


async def test_a_report_is_stored_as_results_and_does_not_become_a_step(tmp_path: Path) -> None:
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, LiveRuns(), "r") as recorder:
            for each in report("junit.xml", JUNIT[:50], JUNIT[50:]):
                await recorder.record(each)
        assert await store.steps.of_run("r") == []
        assert await store.tests.of_run("r") == [
            ReportedTest("shop.adds", "passed", 0.5),
            ReportedTest("shop.buys", "failed", None, "no money", "shop.py", 7),
            ReportedTest("shop.sells", "skipped"),
        ]
        assert await store.tests.counts("r") == {"passed": 1, "failed": 1, "skipped": 1}


@pytest.mark.parametrize(
    ("updates", "why"),
    [
        (report("a", b"<testsuite>"), "the XML can't be read"),
        (report("a", error="it has 99 bytes"), "it has 99 bytes"),
        (report("a", b"x" * 60, b"x" * 60), "it is too large"),
        (report("b", b"1..0\nok 1\n") * 3 + report("a", b"TAP version 13\n"), "a run may have 3"),
    ],
)
async def test_unreadable_reports_are_noted_in_a_step(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    updates: list[progrock.StatusUpdate],
    why: str,
) -> None:
    monkeypatch.setattr(file_collectors, "MAX_REPORT", 100)
    monkeypatch.setattr(file_collectors, "MAX_REPORTS", 3)
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, LiveRuns(), "r") as recorder:
            for each in updates:
                await recorder.record(each)
        [step] = await store.steps.of_run("r")
        assert step.name.startswith(f"[loop] the test report a can't be read: {why}")
        assert step.error is None


async def test_reports_that_are_too_large_leave_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_collectors, "MAX_REPORT", 100)
    monkeypatch.setattr(file_collectors, "MAX_REPORTS_SIZE", 200)
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, LiveRuns(), "r") as recorder:
            for path in ("a", "b", "c"):
                for each in report(path, b"x" * 60, b"x" * 60):
                    await recorder.record(each)
            for each in report("d", b"TAP version 13\n1..1\nok 1 - it\n"):
                await recorder.record(each)
        assert await store.tests.counts("r") == {"passed": 1}


async def test_a_missing_report_is_noted_in_a_step(tmp_path: Path) -> None:
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, LiveRuns(), "r") as recorder:
            for each in report("?", error="there is nothing at junit.xml"):
                await recorder.record(each)
        [step] = await store.steps.of_run("r")
        assert step.name == "[loop] test reports are missing: there is nothing at junit.xml"


@pytest.mark.parametrize("is_late", [True, False])
async def test_a_missing_report_of_one_command_is_not_noted_if_another_made_one(
    tmp_path: Path, is_late: bool
) -> None:
    none = report("?", error="there is nothing at junit.xml")
    left = report("junit.xml", JUNIT)
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, LiveRuns(), "r") as recorder:
            for each in [*none, *left] if is_late else [*left, *none]:
                await recorder.record(each)
        assert await store.steps.of_run("r") == []
        assert await store.tests.counts("r") == {"passed": 1, "failed": 1, "skipped": 1}


async def test_an_incomplete_report_is_discarded(tmp_path: Path) -> None:
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, LiveRuns(), "r") as recorder:
            for each in report("a", JUNIT, complete=False):
                await recorder.record(each)
        assert await store.tests.of_run("r") == []


async def test_a_report_that_ends_twice_in_one_message_is_read_once(tmp_path: Path) -> None:
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, LiveRuns(), "r") as recorder:
            *parts, end = report("junit.xml", JUNIT)
            for each in [*parts, update(*end.vertexes, *end.vertexes)]:
                await recorder.record(each)
        assert len(await store.tests.of_run("r")) == 3


async def test_a_failed_test_that_is_not_in_the_log_is_named(tmp_path: Path) -> None:
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, LiveRuns(), "r") as recorder:
            step = progrock.Vertex(id="v", name="make test", error="exit status 1")
            step.completed.FromSeconds(3)
            await recorder.record(update(step, logs=[("v", b"something failed\n")]))
            for each in report("junit.xml", JUNIT):
                await recorder.record(each)
        run = await store.runs.get("r")
        assert run is not None
        found = await find_run_failure(store, run, await store.steps.of_run("r"))
    assert found is not None
    assert found.title == "shop.buys: no money"
    [failure] = found.json()["failures"]
    assert (failure["first"], failure["last"]) == (None, None)
    assert failure["locations"][0]["path"] == "shop.py"


def test_a_test_in_both_the_log_and_the_report_is_listed_once_with_the_lines_of_the_log() -> None:
    in_log = Failure("pytest", Rank.TEST, "", "test_buys", (), 4, 9)
    other = Failure("gcc", Rank.ERROR, "no", None, (), 1, 1)
    reported = [
        ReportedTest("tests.shop.test_buys", "failed", None, "no money", "shop.py", 7),
        ReportedTest("tests.shop.test_sells", "failed"),
    ]
    assert with_reported([in_log, other], reported) == (
        Failure("pytest", Rank.TEST, "no money", "test_buys", (Location("shop.py", 7),), 4, 9),
        Failure("report", Rank.TEST, "", "tests.shop.test_sells", (), NOT_IN_LOG, NOT_IN_LOG),
        other,
    )
