"""What is new on a run, for all pages that follow it at once.

When a run changes, the first page to look makes a snapshot of it, and the others look at the same one.
What a page is told follows from the snapshot and from what it was told before: pages that are as far
as each other, which most are, are told the same text, made once.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import trio
from quart import Blueprint, websocket

from bassloop.store import NotStored
from bassloop.terminal import render_lines
from bassloop.web import presentation
from bassloop.web.guard import current_run, visible_run

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from bassloop.store import Run, Store, Vertex
    from bassloop.web.context import Following, Tail, WebContext
    from bassloop.web.logs.html_cache import RenderedLogs

MAX_LINES = 1000
"""Lines of one log in one message. A page that is further behind is told the last ones, and asks
for the others when it shows them; who wants text is told all of them, message by message."""

MESSAGE_ROOM = 4 << 20
"""Characters of lines from which on the rest goes in the next message."""

TOLD_ROOM = 16 << 20
"""What may be kept of one snapshot, for pages that are as far as others were: characters of texts, and
what a page says it has and wants, which is anybody's to say."""

_SAID = 256
"""Room for one thing that a page says."""


Lines = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a page wants, and what it was told by now.

    Args:
        text: lines are wanted as they settled, for a terminal, and not as HTML.
        only: the logs of these vertexes are wanted; None: all.
        state: the run's.
        version: of the vertexes.
        places: how many lines of which logs.
        screens: of which logs, as they were.
    """

    text: bool = False
    only: frozenset[int] | None = None
    state: str = ""
    version: int = 0
    places: frozenset[tuple[int, int]] = frozenset()
    screens: frozenset[tuple[int, Lines]] = frozenset()


class News(NamedTuple):
    """A message (None: there is nothing new), what a page that was told it has seen, whether there
    is more to be told at once, and whether the run is over."""

    text: str | None
    seen: Seen
    more: bool
    over: bool


@dataclass(slots=True, eq=False)
class Snapshot:
    """A run at a version of the tail's: read in this order, so that what is read of an ended run is
    its last state. `drawn` has the screens as HTML; `told` what pages were told of it, of which
    `kept` is the size."""

    version: int
    run: Run
    vertexes: tuple[Vertex, ...]
    lines: Mapping[int, int]
    screens: Mapping[int, Lines]
    drawn: Mapping[int, list[str]]
    told: dict[Seen, News] = field(default_factory=dict)
    kept: int = 0

    def keep(self, seen: Seen, news: News) -> None:
        """Keep what a page is told, while there is room. Who reads a whole log is alone with it."""
        alone = seen.text and news.more
        size = len(news.text or "") + _SAID * (1 + len(seen.places) + len(seen.only or ()))
        if not alone and self.kept + size <= TOLD_ROOM:
            self.told[seen] = news
            self.kept += size


@dataclass(slots=True, eq=False)
class _Followed:
    """A run that pages follow; forgotten when the last one leaves."""

    lock: trio.Lock = field(default_factory=trio.Lock)
    pages: int = 0
    snapshot: Snapshot | None = None


class Newsroom:
    """The news of all runs that are followed."""

    def __init__(self, store: Store, tail: Tail, rendered: RenderedLogs) -> None:
        self._store = store
        self._tail = tail
        self._rendered = rendered
        self._runs: dict[str, _Followed] = {}

    @contextmanager
    def open_for(self, run_id: str) -> Generator[None]:
        """For one page's time, which must lie within its following the run: versions are told from
        each other only as long as somebody follows."""
        followed = self._runs.setdefault(run_id, _Followed())
        followed.pages += 1
        try:
            yield
        finally:
            followed.pages -= 1
            if not followed.pages:
                del self._runs[run_id]

    async def news(self, run_id: str, version: int, seen: Seen) -> News:
        """What a page is to be told for which this is open, that may see the run, and that knows of
        the run's change to `version`. Raises NotStored when the run is not there any more."""
        followed = self._runs[run_id]
        async with followed.lock:
            snapshot = followed.snapshot
            if snapshot is None or snapshot.version < version:
                snapshot = followed.snapshot = await self._snapshot(run_id, version, snapshot)
            news = snapshot.told.get(seen)
            if news is None:
                news = await self._tell(snapshot, seen)
                snapshot.keep(seen, news)
        return news

    async def _snapshot(self, run_id: str, version: int, before: Snapshot | None) -> Snapshot:
        run = await current_run(self._store, run_id)
        if run is None:
            raise NotStored(f"there is no run {run_id}")
        vertexes = await self._store.vertexes(run_id)
        lines: dict[int, int] = {}
        screens: dict[int, Lines] = {}
        drawn: dict[int, list[str]] = {}
        for vertex in vertexes:
            row = vertex.row
            lines[row] = vertex.lines
            if self._tail.live(row):
                screens[row] = screen = tuple(self._tail.screen(row))
                lines[row] = (await self._store.log_extent(run_id, row)).lines
                same = before is not None and before.screens.get(row) == screen
                drawn[row] = before.drawn[row] if before and same else render_lines(screen)
        return Snapshot(version, run, tuple(vertexes), lines, screens, drawn)

    async def _tell(self, snapshot: Snapshot, seen: Seen) -> News:
        run = snapshot.run
        message: dict[str, Any] = {"now": time.time()}
        if run.state != seen.state:
            seen = replace(seen, state=run.state)
            message["run"] = _run(run)
        changed = [vertex for vertex in snapshot.vertexes if vertex.version > seen.version]
        if changed:
            seen = replace(seen, version=max(vertex.version for vertex in changed))
            message["vertexes"] = [_vertex(vertex) for vertex in changed]
        logs, seen, more = await self._logs(snapshot, seen)
        if logs:
            message["logs"] = logs
        text = json.dumps(message) if len(message) > 1 else None
        return News(text, seen, more, run.ended)

    async def _logs(
        self, snapshot: Snapshot, seen: Seen
    ) -> tuple[list[dict[str, Any]], Seen, bool]:
        """What is new in the logs, what was seen then, and whether there is more."""
        places, screens = dict(seen.places), dict(seen.screens)
        logs: list[dict[str, Any]] = []
        room = MESSAGE_ROOM
        more = False
        for row, total in snapshot.lines.items():
            place, screen = places.get(row, 0), snapshot.screens.get(row, ())
            wanted = seen.only is None or row in seen.only
            if not wanted or (total <= place and screen == screens.get(row, ())):
                continue
            if room <= 0:
                more = True
                break
            log = await self._log(snapshot, seen, row, place)
            logs.append(log)
            places[row] = log["start"] + len(log["lines"])
            screens[row] = screen
            room -= sum(map(len, log["lines"])) + sum(map(len, log["screen"]))
            if places[row] < total:
                more = True
                if seen.text:
                    # One log after the other: lines of two in turns would be hard to read.
                    break
        some = frozenset((row, screen) for row, screen in screens.items() if screen)
        return logs, replace(seen, places=frozenset(places.items()), screens=some), more

    async def _log(self, snapshot: Snapshot, seen: Seen, row: int, place: int) -> dict[str, Any]:
        """The lines of one log from a place on, and its screen."""
        run_id, total = snapshot.run.id, snapshot.lines[row]
        if seen.text:
            start, stop = min(place, total), min(total, place + MAX_LINES)
            read = await self._store.log_lines(run_id, row, start, stop)
            lines = [line.decode("utf-8", "replace") for line in read]
            screen = [line.decode("utf-8", "replace") for line in snapshot.screens.get(row, ())]
        else:
            start = max(place, total - MAX_LINES)
            lines = await self._rendered.lines(run_id, row, start, total)
            screen = snapshot.drawn.get(row, [])
        return {"row": row, "start": start, "total": total, "lines": lines, "screen": screen}


def _run(run: Run) -> dict[str, Any]:
    view = presentation.view_run(run, time.time())
    return {
        **presentation.run_json(run),
        "sign": view.sign,
        "colour": view.colour,
        "word": view.word,
    }


def _vertex(vertex: Vertex) -> dict[str, Any]:
    view = presentation.view_vertex(vertex, time.time())
    return {
        **presentation.vertex_json(vertex),
        "sign": view.sign,
        "note": view.note,
        "hidden": view.hidden,
        "open": view.open,
    }


MAX_HELLO = 64 * 1024
HELLO_SECONDS = 30.0
QUIET_SECONDS = 0.02
"""What comes in the same moment goes in the same message."""

ASKED_AGAIN = 5.0
"""Seconds after which it is asked again whether a page may still see its run."""

GONE = 4404


class Wish(NamedTuple):
    """What a page has, and whether it stays for what comes later."""

    seen: Seen = Seen()
    follow: bool = True


def routes(context: WebContext) -> Blueprint:
    """The websockets' routes."""
    blueprint = Blueprint("live", __name__)
    newsroom = Newsroom(context.store, context.tail, context.rendered)

    @blueprint.websocket("/runs/<run_id>/live")
    async def live(run_id: str) -> None:
        if await visible_run(context, run_id) is None:
            await websocket.accept()
            await websocket.close(GONE, "no such run")
            return
        with suppress(trio.TooSlowError):  # who does not speak, or read, is not waited for
            with trio.fail_after(HELLO_SECONDS):
                hello = await websocket.receive()
            async with context.tail.follow(run_id) as following:
                with newsroom.open_for(run_id), suppress(NotStored):
                    await _follow(context, newsroom, run_id, following, _wish(hello))

    return blueprint


async def _follow(
    context: WebContext, newsroom: Newsroom, run_id: str, following: Following, wish: Wish
) -> None:
    """Send what is new until the run is over and all of it was sent, or is not to be seen any more."""
    seen = wish.seen
    asked = trio.current_time()
    while True:
        await following.changed()
        more = True
        while more:
            if trio.current_time() >= asked + ASKED_AGAIN:
                if await visible_run(context, run_id) is None:
                    return
                asked = trio.current_time()
            text, seen, more, over = await newsroom.news(run_id, following.version, seen)
            if text is not None:
                await _send(context, text)
        if over or not wish.follow:
            await _send(context, json.dumps({"end": True}))
            return
        await trio.sleep(QUIET_SECONDS)


async def _send(context: WebContext, text: str) -> None:
    with trio.fail_after(context.slow_seconds):
        await websocket.send(text)


def _wish(hello: str | bytes) -> Wish:
    """What a page says it has and wants; what a new page wants for what is no such thing."""
    if len(hello) > MAX_HELLO:
        return Wish()
    try:
        given = json.loads(hello)
        logs = {int(row): max(int(lines), 0) for row, lines in dict(given["logs"]).items()}
        only = frozenset(map(int, given["only"])) if given.get("only") is not None else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return Wish()
    seen = Seen(text=given.get("lines") == "text", only=only, places=frozenset(logs.items()))
    return Wish(seen, follow=given.get("follow") is not False)
