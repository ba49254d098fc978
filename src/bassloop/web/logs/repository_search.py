"""Search in the logs of a repository's runs, newest first.

The index of logs excludes logs that can't contain the text. The others are read, as in a search of one run, until
there are enough matches or time is up. So results are exact, and tell how far back they reach.
"""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import trio
from quart import Blueprint, Response, abort, jsonify, render_template, request

from bassloop.store import FilterQuery
from bassloop.web.guard import visible_logs, visible_run, visible_runs
from bassloop.web.logs.run_search import BadQuery, LogQuery, RunSearch, format_cursor, parse_cursor
from bassloop.web.presentation import (
    STEP_PAGE_LINES,
    RunView,
    abort_not_found,
    instant,
    run_json,
    step_title,
    view_runs,
    wants_json,
)

if TYPE_CHECKING:
    from bassloop.store import Run, SearchableRun
    from bassloop.web.logs.run_search import LogMatch
    from bassloop.web.web_context import WebContext

MAX_RUNS = 20
"""The maximum number of runs with matches in one response."""

LINES_PER_RUN = 5
"""The maximum number of lines of one run in a response. The run's own search finds the others."""

SEARCH_SECONDS = 3.0
"""How long one request searches."""

MAX_SEARCHES = 4
"""The maximum number of concurrent searches of repositories."""

_CURSOR = re.compile(r"([A-Za-z0-9_-]{1,64})(?:\.(\d+-\d+))?", re.ASCII)


def routes(context: WebContext) -> Blueprint:
    """Return the route."""
    blueprint = Blueprint("repository_search", __name__)
    slots = trio.Semaphore(MAX_SEARCHES)

    @blueprint.get("/repositories/<owner>/<name>/search")
    async def repository_search(owner: str, name: str) -> str | Response:
        """Return the lines of a repository's logs that contain `q`, grouped by runs, newest first.

        `case=yes`: match case; `before`: the `next` of an earlier response, to continue from there.
        """
        full_name = f"{owner}/{name}"[:200]
        newest = await visible_runs(context, 1, repository=full_name)
        if not newest.items:
            abort_not_found("repository")
        args = request.args
        parameters = {key: args[key] for key in ("q", "case") if args.get(key)}
        found = None
        if parameters.get("q") or wants_json():
            text = parameters.get("q", "")
            try:
                query = LogQuery(text, case=parameters.get("case") == "yes")
                begin = _Cursor.parse(args["before"]) if args.get("before") else None
            except BadQuery as error:
                abort(400, str(error))
            try:
                slots.acquire_nowait()
            except trio.WouldBlock:
                abort(503, "too many searches are running: try again in a moment")
            try:
                found = _Search(context, full_name, query, FilterQuery(text), begin)
                await found.run(time.perf_counter() + SEARCH_SECONDS)
            finally:
                slots.release()
        if found is not None and wants_json():
            return jsonify(found.json())
        return await render_template(
            "repository_search.html",
            repository=newest.items[0].repository,
            parameters=parameters,
            found=found,
            reach=instant(found.reach)[:10] if found is not None else "",
            newest=not args.get("before"),
            page_lines=STEP_PAGE_LINES,
            next=urlencode({**parameters, "before": found.next}) if found and found.next else None,
        )

    return blueprint


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run with matching lines.

    Args:
        lines: pairs of a step's row and a matching line.
        steps: the names of the steps by row.
        more: whether the run may have more matching lines.
    """

    run: Run
    lines: list[tuple[int, LogMatch]]
    steps: dict[int, str]
    more: bool

    @property
    def view(self) -> RunView:
        """The view of the run."""
        return view_runs([self.run])[0]


@dataclass(frozen=True, slots=True)
class _Cursor:
    """The position from which a search continues.

    Args:
        run: the run that was searched last.
        after: the step's row and the line that were searched last; None if the run was searched completely.
    """

    run: str
    after: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> _Cursor:
        """Parse the cursor from an earlier response. Raises BadQuery."""
        parts = _CURSOR.fullmatch(text)
        if parts is None:
            raise BadQuery("before must be the next of an earlier response")
        return cls(parts[1], parse_cursor(parts[2]) if parts[2] else None)

    def __str__(self) -> str:
        return self.run if self.after is None else f"{self.run}.{format_cursor(*self.after)}"


@dataclass(eq=False)
class _Search:
    """The search of one request, and its results.

    Args:
        begin: where to begin; None for the newest run.
        found: the runs with matches.
        runs: how many runs were searched.
        read: how many of their logs were read.
        without_filter: how many of those were read because they have no filter.
        reach: when the oldest of the searched runs was created.
        next: where to continue; None if all runs were searched.
    """

    context: WebContext
    repository: str
    query: LogQuery
    filter: FilterQuery
    begin: _Cursor | None
    found: list[FoundRun] = field(default_factory=list)
    runs: int = 0
    read: int = 0
    without_filter: int = 0
    reach: float | None = None
    next: _Cursor | None = None

    async def run(self, deadline: float) -> None:
        """Search until there are enough matches, time is up, or all runs are searched."""
        before = None
        if self.begin is not None:
            before = self.begin.run
            if self.begin.after is not None and not await self._finish_run(self.begin, deadline):
                return
        more = True
        while more:
            index = await visible_logs(self.context, self.repository, self.filter, before)
            more = index.more
            for each in index.runs:
                is_over = len(self.found) >= MAX_RUNS or time.perf_counter() >= deadline
                if each.steps and is_over and self.read and before is not None:
                    self.next = _Cursor(before)
                    return
                if each.steps and not await self._search_run(each, deadline):
                    return
                before, self.reach = each.id, each.created_at
                self.runs += 1
            if more and time.perf_counter() >= deadline and before is not None:
                self.next = _Cursor(before)
                return

    async def _finish_run(self, begin: _Cursor, deadline: float) -> bool:
        """Search the rest of the run in which an earlier request ran out of time. Return whether to continue."""
        run = await visible_run(self.context, begin.run)
        if run is None or run.repository.lower() != self.repository.lower():
            return False
        self.runs += 1
        self.read += 1
        self.reach = run.created_at
        return await self._read(run, None, begin.after, deadline)

    async def _search_run(self, each: SearchableRun, deadline: float) -> bool:
        run = await visible_run(self.context, each.id)
        if run is None:  # pruned meanwhile
            return True
        self.read += len(each.steps)
        self.without_filter += each.without_filter
        return await self._read(run, {*each.steps}, None, deadline)

    async def _read(
        self, run: Run, rows: set[int] | None, after: tuple[int, int] | None, deadline: float
    ) -> bool:
        """Search the logs of a run with these rows, or all of them.

        Returns False, and sets `next`, if time was up before anything was found.
        """
        steps = await self.context.store.steps.of_run(run.id)
        steps = [step for step in steps if rows is None or step.row in rows]
        search = RunSearch(
            self.context.store,
            run.id,
            self.query,
            LINES_PER_RUN,
            self.context.scan_limiter,
            counts=False,
        )
        await search.run(steps, after, deadline)
        if search.matches:
            names = {step.row: step_title(step) for step in steps}
            more = search.count > len(search.matches) or not search.complete
            self.found.append(FoundRun(run, search.matches, names, more))
        elif not search.complete:
            self.next = _Cursor(run.id, search.position)
            return False
        return True

    def json(self) -> dict[str, Any]:
        """Return the results for JSON."""
        return {
            "runs": [
                {
                    "run": run_json(each.run),
                    "matches": [{"vertex": row, **asdict(match)} for row, match in each.lines],
                    "more": each.more,
                }
                for each in self.found
            ],
            "searched": self.runs,
            "since": instant(self.reach) or None,
            "read": self.read,
            "not_indexed": self.without_filter,
            "next": None if self.next is None else str(self.next),
        }
