"""The failure card: what failed, why, the relevant lines of the log, and the history of the check.

The history says since when the check fails, when it last succeeded, and whether it is flaky.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from bassloop.checks.run_failure import (
    MAX_NAMED,
    RunFailure,
    find_run_failure,
    signal_meaning,
)
from bassloop.failures.library_frames import library_frames
from bassloop.lifecycle import RunState
from bassloop.terminal import one_line, strip
from bassloop.web.guard import visible_runs
from bassloop.web.presentation import StepView, view_step, without_command
from bassloop.wire.conventions import as_in_project, unused_images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bassloop.failures import Failure, Location
    from bassloop.failures.library_frames import LibraryFrames
    from bassloop.store import Run, Step
    from bassloop.web.web_context import WebContext


MAX_FOLDED = 60
"""How many lines after an excerpt may be in it because stack frames of libraries are folded."""

MAX_SUMMARIES = 30
MAX_SUMMARY = 200
"""The maximum number of summaries on one page, and the maximum length of each in characters."""

MAX_RUNS = 50
"""The maximum number of earlier runs that are considered for the history."""

FAILURES = frozenset({RunState.FAILED, RunState.TIMED_OUT})
"""The states of runs whose commands failed. A cancelled or interrupted run says nothing about them."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcomes of the very same thunk.

    Args:
        succeeded: the number of runs that succeeded, at most MAX_RUNS.
        failed: the number of runs that failed, at most MAX_RUNS.
        green: the newest run that succeeded, perhaps of another branch, or newer than the run in question.
    """

    succeeded: int = 0
    failed: int = 0
    green: Run | None = None

    @property
    def flaky(self) -> bool:
        """True if the thunk has both failed and succeeded."""
        return bool(self.succeeded and self.failed)


@dataclass(frozen=True, slots=True)
class CheckHistory:
    """The history of a check before a run that did not succeed.

    Args:
        green: the last successful run before it.
        failed: the run and its predecessors that failed since, newest first; empty if it was stopped.
        older: True if runs older than those were not considered.
    """

    green: Run | None = None
    failed: Sequence[Run] = ()
    older: bool = False
    outcomes: Outcomes = field(default_factory=Outcomes)

    @property
    def since(self) -> Run | None:
        """The run with which the check began to fail, if that was an earlier one."""
        return self.failed[-1] if len(self.failed) > 1 else None


@dataclass(frozen=True, slots=True)
class ExcerptPart:
    """Some lines of an excerpt as HTML, from line number `start` (from 0) on.

    Args:
        label: the label of folded lines; "" if they aren't folded.
    """

    start: int
    lines: Sequence[str]
    label: str = ""


@dataclass(frozen=True, slots=True)
class LogExcerpt:
    """Lines of a log as HTML, from line number `start` (from 0) on.

    Args:
        total: the number of lines of the log.
        folds: the stack frames of libraries, with indexes of lines of the excerpt.
    """

    start: int
    lines: list[str]
    total: int
    folds: Sequence[LibraryFrames] = ()

    @property
    def end(self) -> int:
        """The number of the line after the last one."""
        return self.start + len(self.lines)

    @property
    def parts(self) -> list[ExcerptPart]:
        """The lines, with the stack frames of libraries folded."""
        parts, at = [], 0
        for fold in self.folds:
            frames = (
                f"{fold.count} frame{'s' if fold.count > 1 else ''} of {fold.folder or 'libraries'}"
            )
            parts.append(ExcerptPart(self.start + at, self.lines[at : fold.start]))
            folded = self.lines[fold.start : fold.stop]
            parts.append(ExcerptPart(self.start + fold.start, folded, f"… {frames}"))
            at = fold.stop
        parts.append(ExcerptPart(self.start + at, self.lines[at:]))
        return [part for part in parts if part.lines]


@dataclass(frozen=True, slots=True)
class FailureCard:
    """The failure card of a run that did not succeed.

    Args:
        excerpt: the lines about the first failure, or the last lines of a step that was stopped.
        links: URLs of source lines on GitHub.
        unused_images: the images that steps ran without.
        tests: the number of tests in reports with each outcome.
    """

    found: RunFailure
    step: StepView | None
    excerpt: LogExcerpt | None = None
    links: Mapping[Location, str] = field(default_factory=dict)
    unused_images: Sequence[str] = ()
    tests: Mapping[str, int] = field(default_factory=dict)
    history: CheckHistory = field(default_factory=CheckHistory)

    @property
    def reason(self) -> str:
        """The run's message, or the step's error, without the step's name."""
        step = self.found.step
        if step is None:
            return self.found.reason
        return without_command(self.found.reason, one_line(step.name))

    @property
    def signal(self) -> str:
        """The meaning of the exit status in the reason, if it means a signal; otherwise empty."""
        return signal_meaning(self.reason)

    @property
    def failures(self) -> Sequence[Failure]:
        """The failures that the card lists, most informative first."""
        return self.found.failures[:MAX_NAMED]

    @property
    def more(self) -> int:
        """The number of further failures."""
        return max(0, len(self.found.failures) - MAX_NAMED)

    @property
    def key_lines(self) -> frozenset[int]:
        """The lines of the excerpt that contain the first failure's message or location."""
        return self.found.key_lines

    @property
    def first(self) -> Failure | None:
        """The most informative failure in the log."""
        return self.found.shown

    def location(self, failure: Failure) -> Location | None:
        """Return the location of a failure: the first one in the repository, or else the first one."""
        linked = (each for each in failure.locations if each in self.links)
        return next(linked, failure.locations[0] if failure.locations else None)


async def failure_card(
    context: WebContext, run: Run, steps: Sequence[Step], now: float
) -> FailureCard | None:
    """Return the card of a run that has ended without success, or in which a step has failed; else None."""
    found = await find_run_failure(context.store, run, steps, context.log_failures)
    if found is None:
        return None
    culprit = found.step
    card = FailureCard(
        found,
        None,
        unused_images=unused_images(step.name for step in steps),
        history=await check_history(context, run),
    )
    if culprit is None:
        return card
    links: Mapping[Location, str] = {}
    if context.source_links is not None:
        named = found.failures[:MAX_NAMED]
        locations = [each for failure in named for each in failure.locations]
        links = await context.source_links.urls(run, locations)
    excerpt = await _excerpt(context, run, found)
    tests = await context.store.tests.counts(run.id)
    return replace(card, step=view_step(culprit, now), excerpt=excerpt, links=links, tests=tests)


async def _excerpt(context: WebContext, run: Run, found: RunFailure) -> LogExcerpt | None:
    """Return the lines that show a failure, without blank ones at both ends. Folded lines make room for others."""
    if found.step is None or found.lines is None:
        return None
    row, total = found.step.row, found.step.lines
    start, stop = found.lines
    wider = min(total, stop + MAX_FOLDED)
    texts = [strip(line) for line in await context.store.logs.lines(run.id, row, start, wider)]
    folds = library_frames(texts, {line - start for line in found.key_lines})
    room, end, shown = stop - start, 0, 0
    while end < len(texts) and shown < room:
        fold = next((fold for fold in folds if fold.start == end), None)
        end = fold.stop if fold is not None else end + 1
        shown += 1
    with_text = [index for index in range(end) if texts[index].strip()]
    first, end = (with_text[0], with_text[-1] + 1) if with_text else (0, end)
    lines = await context.log_lines(run, row, start + first, start + end)
    folds = [
        replace(fold, start=fold.start - first, stop=fold.stop - first)
        for fold in folds
        if fold.stop <= end
    ]
    return LogExcerpt(start + first, [as_in_project(line) for line in lines], total, folds)


async def failure_summaries(context: WebContext, runs: Sequence[Run]) -> dict[str, str]:
    """Return one line for each of the runs on why it failed, by the run's id."""
    summaries: dict[str, str] = {}
    for run in [run for run in runs if run.ended and run.state != RunState.SUCCEEDED][
        :MAX_SUMMARIES
    ]:
        steps = await context.store.steps.of_run(run.id)
        found = await find_run_failure(context.store, run, steps, context.log_failures)
        if found is not None:
            summaries[run.id] = found.title[:MAX_SUMMARY]
    return summaries


async def check_history(context: WebContext, run: Run) -> CheckHistory:
    """Return the history of a run's check, as far as the visitor may see it."""
    green = await last_green(context, run)
    outcomes = await outcomes_of_thunk(context, run)
    if run.ended and run.state not in FAILURES:
        return CheckHistory(green, outcomes=outcomes)
    since_green = await _runs_since(context, run, green)
    failed = [run, *(each for each in since_green if each.state in FAILURES)]
    return CheckHistory(green, failed, len(since_green) == MAX_RUNS, outcomes)


async def last_green(context: WebContext, run: Run) -> Run | None:
    """Return the last successful run of the same check before this one, or None.

    A run of the same branch comes first, then one of any push, and then one of the very same thunk.
    """
    succeeded = {"repository": run.repository, "state": RunState.SUCCEEDED}
    same_check = {**succeeded, "check_name": run.check_name}
    searches: list[dict[str, Any]] = [{**same_check, "pushed": True}]
    if run.head_branch is not None:
        searches.insert(0, {**same_check, "head_branch": run.head_branch})
    if run.thunk_digest:
        searches.append({**succeeded, "thunk_digest": run.thunk_digest})
    for filters in searches:
        found = await visible_runs(context, 1, run.id, **filters)
        if found.items:
            return found.items[0]
    return None


async def outcomes_of_thunk(context: WebContext, run: Run) -> Outcomes:
    """Return how often the run's thunk has succeeded and failed."""
    if not run.thunk_digest:
        return Outcomes()
    found = await visible_runs(context, MAX_RUNS, thunk_digest=run.thunk_digest)
    runs = [each for each in found.items if each.repository_id == run.repository_id]
    green = [each for each in runs if each.state == RunState.SUCCEEDED]
    failed = [each for each in runs if each.state == RunState.FAILED]
    return Outcomes(len(green), len(failed), green[0] if green else None)


async def _runs_since(context: WebContext, run: Run, green: Run | None) -> Sequence[Run]:
    """Return the runs of the same check and branch between a green run, if any, and this one, newest first."""
    filters: dict[str, Any] = {"repository": run.repository, "check_name": run.check_name}
    if run.head_branch is not None:
        filters["head_branch"] = run.head_branch
    else:
        filters["pull_request"] = run.pull_request
    earlier = await visible_runs(context, MAX_RUNS, run.id, **filters)
    return [*takewhile(lambda each: green is None or each.id != green.id, earlier.items)]
