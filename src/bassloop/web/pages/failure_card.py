"""The failure card: what failed, why, and the lines of the log that say so."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from bassloop.checks.failing_step import failing_step
from bassloop.failures import Rank
from bassloop.lifecycle import RunState
from bassloop.web.logs.log_failures import LogFailures, analyze_log
from bassloop.web.presentation import StepView, failure_reason, plain, view_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bassloop.failures import Failure, Location
    from bassloop.store import Run, Step
    from bassloop.web.web_context import WebContext

MAX_FAILURES = 5
"""Failures that a card names."""

MAX_SUMMARIES = 30
MAX_SUMMARY = 200
"""Runs that are summed up on one page, and characters of each summary."""

CARD_LINES = 40
"""Lines of the log in a card."""

LINES_AROUND = 2
"""Lines before and after a failure's own."""

MIN_CARD_LINES = 10
"""Lines in a card of a short failure, if the log has as many."""

SEARCHED_LINES = 2000
"""Lines at the end of a log in which failures are looked for."""


@dataclass(frozen=True, slots=True)
class LogExcerpt:
    """Lines of a log as HTML, the first one being number `start`, from 0."""

    start: int
    lines: list[str]
    total: int

    @property
    def end(self) -> int:
        """The number after the last line's."""
        return self.start + len(self.lines)


@dataclass(frozen=True, slots=True)
class FailureCard:
    """Why a run did not succeed.

    Args:
        reason: the run's message, or the step's error.
        step: the step that failed, if one did.
        failures: at most `MAX_FAILURES`, the most telling first.
        more: the number of further failures.
        excerpt: the lines that tell of the first failure.
        key_lines: the lines among them that hold its message or location.
        links: addresses of source lines on GitHub.
    """

    reason: str
    step: StepView | None
    failures: tuple[Failure, ...] = ()
    more: int = 0
    excerpt: LogExcerpt | None = None
    key_lines: frozenset[int] = frozenset()
    links: Mapping[Location, str] = field(default_factory=dict)

    @property
    def first(self) -> Failure | None:
        """The most telling failure."""
        return self.failures[0] if self.failures else None

    def location(self, failure: Failure) -> Location | None:
        """Return where a failure is: the first location that is in the repository, or else the first one."""
        linked = (each for each in failure.locations if each in self.links)
        return next(linked, failure.locations[0] if failure.locations else None)

    def json(self) -> dict[str, Any]:
        """Return the card as JSON, with lines numbered from 0."""
        return {
            "reason": self.reason,
            "vertex": self.step.record.row if self.step else None,
            "failures": [
                {
                    "tool": failure.tool,
                    "test": failure.test,
                    "message": failure.message,
                    "locations": [
                        {
                            "path": each.path,
                            "line": each.line,
                            "column": each.column,
                            "url": self.links.get(each),
                        }
                        for each in failure.locations
                    ],
                    "first": failure.first,
                    "last": failure.last,
                }
                for failure in self.failures
            ],
            "more": self.more,
        }


async def failure_card(
    context: WebContext, run: Run, steps: Sequence[Step], now: float, *, link: bool = True
) -> FailureCard | None:
    """Return the card of a run that has ended without success, or in which a step has failed; else None.

    Args:
        link: whether to link to source lines, for which GitHub may have to be asked.
    """
    culprit = failing_step(steps)
    reason = failure_reason(run, culprit)
    if culprit is None or run.state == RunState.SUCCEEDED:
        return FailureCard(reason, None) if reason else None
    found = await _log_failures(context, run.id, culprit)
    telling = [failure for failure in found.failures if failure.rank > Rank.CONSEQUENCE]
    failures = telling or list(found.failures[:1])
    excerpt = None
    if failures:
        start, stop = card_range(failures[0], culprit.lines)
        lines = await context.log_html.lines(run.id, culprit.row, start, stop)
        excerpt = LogExcerpt(start, lines, culprit.lines)
    links: Mapping[Location, str] = {}
    if link and context.source_links is not None:
        locations = [each for failure in failures[:MAX_FAILURES] for each in failure.locations]
        links = await context.source_links.urls(run, locations)
    return FailureCard(
        reason,
        view_step(culprit, now),
        tuple(failures[:MAX_FAILURES]),
        max(0, len(failures) - MAX_FAILURES),
        excerpt,
        found.key_lines,
        links,
    )


async def failure_summaries(context: WebContext, runs: Sequence[Run]) -> dict[str, str]:
    """Return why each of the runs failed, in a line, by the run's id."""
    now = time.time()
    summaries: dict[str, str] = {}
    for run in [run for run in runs if run.ended and run.state != RunState.SUCCEEDED][
        :MAX_SUMMARIES
    ]:
        card = await failure_card(
            context, run, await context.store.steps.of_run(run.id), now, link=False
        )
        if card is not None:
            telling = card.first is not None and card.first.rank > Rank.CONSEQUENCE
            reason = card.reason.partition("\n")[0]
            summary = card.first.title if card.first and (telling or not reason) else reason
            summaries[run.id] = plain(summary)[:MAX_SUMMARY]
    return summaries


def card_range(failure: Failure, total: int) -> tuple[int, int]:
    """Return the range of lines that show a failure, of a log with so many lines.

    Of a long failure it is the end, where most tools say what was wrong.
    """
    stop = min(total, failure.last + 1 + LINES_AROUND)
    start = max(0, failure.first - LINES_AROUND, stop - CARD_LINES)
    if stop - start < MIN_CARD_LINES:
        start = max(0, stop - MIN_CARD_LINES)
    return start, stop


async def _log_failures(context: WebContext, run_id: str, step: Step) -> LogFailures:
    """Find the failures at the end of a step's log; the result is cached until the log grows.

    The store returns fewer lines than asked for where they are very long: then later ones are asked for.
    """
    cached = context.log_failures.get((step.row, step.lines))
    if cached is not None:
        return cached
    start = max(0, step.lines - SEARCHED_LINES)
    lines = await context.store.logs.lines(run_id, step.row, start, step.lines)
    while lines and start + len(lines) < step.lines:
        start = (start + step.lines + 1) // 2
        lines = await context.store.logs.lines(run_id, step.row, start, step.lines)
    found = await trio.to_thread.run_sync(analyze_log, start, lines)
    context.log_failures.store((step.row, step.lines), found)
    return found
