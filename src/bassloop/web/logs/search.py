"""Search in all logs of a run.

Blocks of lines are read and scanned in a thread, a tenth of a second at a time, by at most two threads for
all visitors, so that everybody gets a turn. A search holds one block and one page of matches in memory. When
too many are running, further ones are refused.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import trio
from quart import Blueprint, Response, abort, jsonify, render_template, request

from bassloop.terminal import plain
from bassloop.web.guard import visible_run
from bassloop.web.logs.query import BadQuery, LogMatch, LogQuery, format_cursor, parse_cursor
from bassloop.web.presentation import STEP_PAGE_LINES, abort_not_found, view_run, wants_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import LogText, Step, Store
    from bassloop.web.web_context import WebContext

DEFAULT_LIMIT = 200
MAX_LIMIT = 1000

MAX_COUNT = 100_000
"""Matches that are counted in one answer."""

SEARCH_SECONDS = 20.0
"""How long one request searches for a page without JavaScript."""

PROGRESS_SECONDS = 3.0
"""How long one request searches for a script, which shows how far it got, and goes on."""

MAX_SEARCHES = 16
"""Searches that run at the same time."""


def routes(context: WebContext) -> Blueprint:
    """Return the route."""
    blueprint = Blueprint("search", __name__)
    slots = trio.Semaphore(MAX_SEARCHES)

    @blueprint.get("/runs/<run_id>/search")
    async def search(run_id: str) -> str | Response:
        """Return lines of a run that match `q`, in the order of its steps and their lines.

        `regex=yes`: q is a regular expression; `case=yes`: match case; `vertex`: search one step's log
        only; `limit`: matches in the answer; `after`: the `next` of the previous answer.
        """
        run = await visible_run(context, run_id)
        if run is None:
            abort_not_found("run")
        args = request.args
        try:
            query = LogQuery(
                args.get("q", ""),
                regex=args.get("regex") == "yes",
                case=args.get("case") == "yes",
            )
            after = parse_cursor(args["after"]) if args.get("after") else None
        except BadQuery as error:
            abort(400, str(error))
        steps = await context.store.steps.of_run(run_id)
        if wanted := args.get("vertex"):
            steps = [step for step in steps if str(step.row) == wanted]
            if not steps:
                abort(404, "the run has no such step")
        limit = max(1, min(args.get("limit", DEFAULT_LIMIT, int), MAX_LIMIT))
        try:
            slots.acquire_nowait()
        except trio.WouldBlock:
            abort(503, "too many searches are running: try again in a moment")
        try:
            found = RunSearch(
                context.store, run_id, query, limit, context.scan_limiter, counts=after is None
            )
            seconds = PROGRESS_SECONDS if wants_json() else SEARCH_SECONDS
            await found.run(steps, after, time.perf_counter() + seconds)
        finally:
            slots.release()
        answer = found.json()
        if wants_json():
            return jsonify(answer)
        asked = {name: args[name] for name in ("q", "regex", "case", "vertex") if args.get(name)}
        return await render_template(
            "search.html",
            view=view_run(run, time.time()),
            asked=asked,
            names={step.row: plain(step.name) for step in steps},
            found=answer,
            matches=found.matches,
            page_lines=STEP_PAGE_LINES,
            next=urlencode({**asked, "after": answer["next"]}) if answer["next"] else None,
        )

    return blueprint


@dataclass(eq=False)
class RunSearch:
    """One request's search of a run, and what it has found.

    Args:
        counts: whether all matches are counted, and not only whether there are more than the limit.
        position: the step and the line that were searched last.
    """

    store: Store
    run_id: str
    query: LogQuery
    limit: int
    limiter: trio.CapacityLimiter
    counts: bool
    matches: list[tuple[int, LogMatch]] = field(default_factory=list)
    count: int = 0
    complete: bool = False
    searched: int = 0
    lines: int = 0
    position: tuple[int, int] = (0, 0)

    async def run(
        self, steps: Sequence[Step], after: tuple[int, int] | None, deadline: float
    ) -> None:
        """Search the logs from a position on, until the answer is full or time is up."""
        self.lines = sum(step.lines for step in steps)
        first = start = 0
        if after is not None:
            row, start = after[0], after[1] + 1
            indexes = [index for index, step in enumerate(steps) if step.row == row]
            first = indexes[0] if indexes else len(steps)
        before = sum(step.lines for step in steps[:first])
        for step in steps[first:]:
            if not await self._search_log(step.row, start, deadline):
                self.searched = before + self.position[1] + 1
                return
            before += step.lines
            start = 0
        self.complete = True
        self.searched = self.lines

    async def _search_log(self, row: int, start: int, deadline: float) -> bool:
        """Search one log, and return whether to go on."""
        enough = False

        def visit(block: LogText) -> bool:
            nonlocal enough
            room = self.limit - len(self.matches)
            matches, count = self.query.scan(block.text, block.line, room)
            self.matches += [(row, match) for match in matches]
            self.count += count
            self.position = row, block.line + block.lines - 1
            enough = (
                time.perf_counter() >= deadline
                or self.count >= MAX_COUNT
                or (not self.counts and self.count > self.limit)
            )
            return not enough

        await self.store.logs.scan(
            self.run_id, row, start, visit, self.limiter, block_bytes=self.query.block_bytes
        )
        return not enough

    def json(self) -> dict[str, Any]:
        """Return the answer."""
        more = not self.complete or self.count > len(self.matches)
        following = None
        if more and self.count > len(self.matches):
            row, match = self.matches[-1]
            following = format_cursor(row, match.line)
        elif more:
            following = format_cursor(*self.position)
        return {
            "matches": [{"vertex": row, **asdict(match)} for row, match in self.matches],
            "total": self.count if self.counts else None,
            "complete": self.complete,
            "searched": min(self.searched, self.lines),
            "lines": self.lines,
            "more": more,
            "next": following,
        }
