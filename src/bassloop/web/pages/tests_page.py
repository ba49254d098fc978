"""Tests from test reports: all tests of a run, and the history of one test."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from quart import Blueprint, Response, abort, jsonify, render_template, request

from bassloop.terminal import plain, plain_lines
from bassloop.units import format_duration
from bassloop.web.guard import run_or_404, visible_run, visible_runs
from bassloop.web.pages.charts import TimedResult, duration_chart
from bassloop.web.presentation import RunView, abort_not_found, run_json, view_runs, wants_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import ReportedTest, Run
    from bassloop.web.web_context import WebContext

MAX_TESTS = 500
MAX_HISTORY = 100
OUTCOMES = ("failed", "passed", "skipped")
COLOURS = {"failed": "bad", "passed": "ok", "skipped": "waits"}


@dataclass(frozen=True, slots=True)
class TestRun:
    """A test's result in one run."""

    __test__ = False  # it is no test of pytest's

    view: RunView
    result: ReportedTest


@dataclass(frozen=True, slots=True)
class TestCourse:
    """The recent history of a test.

    Args:
        fails: whether its latest result, not counting skips, is a failure.
        since: the first of its latest results in a row with the same outcome.
        before: the last result before these, with the other outcome.
        failed: how many of the results are failures.
    """

    __test__ = False  # it is no test of pytest's

    fails: bool
    since: TestRun
    before: TestRun | None
    failed: int


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("tests_page", __name__)

    @blueprint.get("/runs/<run_id>/tests")
    async def of_run(run_id: str) -> str | Response:
        """List the first 500 tests in a run's reports with an `outcome`, by default those that failed."""
        run = await run_or_404(context, run_id)
        counts = await context.store.tests.counts(run_id)
        outcome = request.args.get("outcome") or next(
            (each for each in OUTCOMES if counts.get(each)), OUTCOMES[0]
        )
        if outcome not in OUTCOMES:
            abort(400, f"outcome is one of {', '.join(OUTCOMES)}")
        results = await context.store.tests.of_run(run_id, outcome, MAX_TESTS)
        if wants_json():
            return jsonify({"counts": counts, "tests": [_json(each) for each in results]})
        [view] = view_runs([run])
        return await render_template(
            "run_tests.html",
            view=view,
            counts=counts,
            outcome=outcome,
            outcomes=OUTCOMES,
            results=results,
            history_url=lambda name: history_url(run, name),
            plain=plain,
            plain_lines=plain_lines,
            format_duration=format_duration,
        )

    @blueprint.get("/repositories/<owner>/<name>/tests")
    async def history(owner: str, name: str) -> str | Response:
        """Show the newest 100 results of a test by its `name` and `check`."""
        full_name, check = f"{owner}/{name}"[:200], request.args.get("check", "")[:255]
        test = request.args.get("name", "")[:500]
        found = await _visible_history(context, full_name, check, test)
        if not found:
            abort_not_found("test")
        if wants_json():
            return jsonify(
                {
                    "results": [
                        {"run": run_json(each.view.run), **_json(each.result)} for each in found
                    ]
                }
            )
        return await render_template(
            "test_history.html",
            repository=found[0].view.run.repository,
            check=check,
            name=test,
            results=found,
            flaky=flaky_thunks(found),
            course=course_of(found),
            outcome_colours=COLOURS,
            bars=duration_chart(
                [
                    TimedResult(
                        each.view.run.id,
                        each.result.outcome,
                        COLOURS[each.result.outcome],
                        each.view.run.created_at,
                        each.result.seconds,
                    )
                    for each in found
                ]
            ),
            plain=plain,
            plain_lines=plain_lines,
            format_duration=format_duration,
        )

    return blueprint


def history_url(run: Run, test: str) -> str:
    """Return the address of a test's page."""
    query = urlencode({"check": run.check_name, "name": test})
    return f"/repositories/{run.repository}/tests?{query}"


async def _visible_history(
    context: WebContext, repository: str, check: str, test: str
) -> list[TestRun]:
    """Return a test's results in visible runs, newest first."""
    newest = await visible_runs(context, 1, repository=repository, check_name=check)
    if not newest.items:
        return []
    history = await context.store.tests.history(
        newest.items[0].repository_id, check, test, MAX_HISTORY
    )
    found = []
    for run_id, result in history:
        run = await visible_run(context, run_id)
        if run is not None:
            found.append(TestRun(view_runs([run])[0], result))
    return found


def flaky_thunks(results: Sequence[TestRun]) -> set[str]:
    """Return the thunks with which the test has both passed and failed, which prove that it is flaky."""
    outcomes: dict[str, set[str]] = {}
    for each in results:
        digest = each.view.run.thunk_digest
        if digest and each.result.outcome != "skipped":
            outcomes.setdefault(digest, set()).add(each.result.outcome)
    return {digest for digest, both in outcomes.items() if len(both) > 1}


def course_of(results: Sequence[TestRun]) -> TestCourse:
    """Return the recent history of a test from its results, newest first. There must be at least one."""
    ended = [each for each in results if each.result.outcome != "skipped"] or list(results)
    current = ended[0].result.outcome
    streak = list(takewhile(lambda each: each.result.outcome == current, ended))
    before = ended[len(streak)] if len(streak) < len(ended) else None
    failed = sum(each.result.outcome == "failed" for each in results)
    return TestCourse(current == "failed", streak[-1], before, failed)


def _json(result: ReportedTest) -> dict[str, Any]:
    return {
        "name": result.name,
        "outcome": result.outcome,
        "seconds": result.seconds,
        "message": result.message,
        "path": result.path,
        "line": result.line,
    }
