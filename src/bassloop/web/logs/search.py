"""Searching all logs of a run.

Blocks of lines are read and gone through in a thread, for a tenth of a second at a time and never more
than two at once for all who search, so that everybody has their turn. Who searches holds one block and the page
of matches that they are given. Those whose turn it can't be for a while are told to come back.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import trio
from quart import Blueprint, Response, abort, jsonify, render_template, request

from bassloop.web import presentation
from bassloop.web.guard import visible_run
from bassloop.web.logs.query import BadQuery, Match, Query, cursor, place_of
from bassloop.web.pages.run_page import PAGE_LINES
from bassloop.web.responses import wants_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import LogText, Store, Vertex
    from bassloop.web.context import WebContext

PAGE = 200
MAX_PAGE = 1000
COUNT_LIMIT = 100_000
"""Lines that are counted in one answer, at most."""

SECONDS = 20.0
"""How long one answer is worked on."""

AT_ONCE = 16
"""Searches that are worked on at the same time."""


def routes(context: WebContext) -> Blueprint:
    """The search's route."""
    blueprint = Blueprint("search", __name__)
    room = trio.Semaphore(AT_ONCE)

    @blueprint.get("/runs/<run_id>/search")
    async def search(run_id: str) -> str | Response:
        """Lines of a run that match `q`, in the order of its vertexes and their lines.

        `regex=yes`: q is a regular expression; `case=yes`: its case counts; `vertex`: in one log
        only; `limit`: matches in the answer; `after`: the `next` of an earlier answer.
        """
        run = await visible_run(context, run_id)
        if run is None:
            abort(404, "there is no such run, or it is not for everyone to see")
        args = request.args
        try:
            query = Query(
                args.get("q", ""),
                regex=args.get("regex") == "yes",
                case=args.get("case") == "yes",
            )
            after = place_of(args["after"]) if args.get("after") else None
        except BadQuery as error:
            abort(400, str(error))
        vertexes = await context.store.vertexes(run_id)
        if wanted := args.get("vertex"):
            vertexes = [vertex for vertex in vertexes if str(vertex.row) == wanted]
            if not vertexes:
                abort(404, "the run has no such vertex")
        limit = max(1, min(args.get("limit", PAGE, int), MAX_PAGE))
        try:
            room.acquire_nowait()
        except trio.WouldBlock:
            abort(503, "too many are searching: try again in a moment")
        try:
            found = _Search(
                context.store, run_id, query, limit, context.scanning, counts=after is None
            )
            await found.through(vertexes, after)
        finally:
            room.release()
        answer = found.json()
        if wants_json():
            return jsonify(answer)
        asked = {name: args[name] for name in ("q", "regex", "case", "vertex") if args.get(name)}
        return await render_template(
            "search.html",
            view=presentation.view_run(run, time.time()),
            asked=asked,
            names={vertex.row: presentation.plain(vertex.name) for vertex in vertexes},
            found=answer,
            page=PAGE_LINES,
            next=urlencode({**asked, "after": answer["next"]}) if answer["next"] else None,
        )

    return blueprint


@dataclass(eq=False)
class _Search:
    """One search and what it has found."""

    store: Store
    run_id: str
    query: Query
    limit: int
    threads: trio.CapacityLimiter
    counts: bool
    matches: list[tuple[int, Match]] = field(default_factory=list)
    count: int = 0
    complete: bool = False
    _reached: tuple[int, int] = (0, 0)

    async def through(self, vertexes: Sequence[Vertex], after: tuple[int, int] | None) -> None:
        """Go through the logs from a place on, as far as an answer needs it and time allows."""
        until = time.perf_counter() + SECONDS
        start = 0
        if after is not None:
            row, start = after[0], after[1] + 1
            places = [index for index, vertex in enumerate(vertexes) if vertex.row == row]
            vertexes = vertexes[places[0] :] if places else []
        for vertex in vertexes:
            if not await self._log(vertex.row, start, until):
                return
            start = 0
        self.complete = True

    async def _log(self, row: int, start: int, until: float) -> bool:
        """Go through one log. False: that was enough."""
        enough = False

        def visit(block: LogText) -> bool:
            nonlocal enough
            room = self.limit - len(self.matches)
            kept, count = self.query.scan(block.text, block.line, room)
            self.matches += [(row, match) for match in kept]
            self.count += count
            self._reached = row, block.line + block.lines - 1
            enough = (
                time.perf_counter() >= until
                or self.count >= COUNT_LIMIT
                or (not self.counts and self.count > self.limit)
            )
            return not enough

        await self.store.scan_log(self.run_id, row, start, visit, self.threads)
        return not enough

    def json(self) -> dict[str, Any]:
        """The answer."""
        more = not self.complete or self.count > len(self.matches)
        following = None
        if more and self.count > len(self.matches):
            row, match = self.matches[-1]
            following = cursor(row, match.line)
        elif more:
            following = cursor(*self._reached)
        return {
            "matches": [{"vertex": row, **asdict(match)} for row, match in self.matches],
            "total": self.count if self.counts else None,
            "complete": self.complete,
            "more": more,
            "next": following,
        }
