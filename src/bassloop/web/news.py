"""What is new on a run, for all pages that follow it at once.

When a run changes, the first page to look makes a snapshot of it, and the others look at the same one.
What a page is told follows from the snapshot and from what it was told before: pages that are as far
as each other, which most are, are told the same text, made once.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from bassloop.store import NotStored
from bassloop.terminal import render_lines
from bassloop.web import views
from bassloop.web.guard import current_run

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from bassloop.store import Run, Store, Vertex
    from bassloop.web.context import Tail
    from bassloop.web.rendered import RenderedLogs

MAX_LINES = 1000
"""Lines of one log in one message. A page that is further behind is told the last ones, and asks
for the others when it shows them."""

MESSAGE_ROOM = 4 << 20
"""Characters of lines from which on the rest goes in the next message."""

TOLD_ROOM = 16 << 20
"""Characters of texts that are kept of one snapshot, for pages that are as far as others were."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a page was told by now: the run's state, the version of its vertexes, how many lines of
    which logs, and their screens."""

    state: str = ""
    version: int = 0
    places: frozenset[tuple[int, int]] = frozenset()
    screens: frozenset[tuple[int, tuple[str, ...]]] = frozenset()


class News(NamedTuple):
    """A message (None: there is nothing new), what a page that was told it has seen, whether there
    is more to be told at once, and whether the run is over."""

    text: str | None
    seen: Seen
    more: bool
    over: bool


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A run at a version of the tail's: read in this order, so that what is read of an ended run is
    its last state. `screens` are as HTML; `told` has what pages were told of it."""

    version: int
    run: Run
    vertexes: tuple[Vertex, ...]
    lines: Mapping[int, int]
    screens: Mapping[int, tuple[str, ...]]
    told: dict[Seen, News] = field(default_factory=dict)

    def keep(self, seen: Seen, news: News) -> None:
        """Keep what a page is told, while there is room."""
        if sum(len(other.text or "") for other in self.told.values()) < TOLD_ROOM:
            self.told[seen] = news


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
        lines = {}
        screens = {}
        for vertex in vertexes:
            row = vertex.row
            lines[row] = vertex.lines
            if self._tail.live(row):
                screen = tuple(render_lines(self._tail.screen(row)))
                lines[row] = (await self._store.log_extent(run_id, row)).lines
                old = before.screens.get(row) if before is not None else None
                screens[row] = old if old == screen and old is not None else screen
        return Snapshot(
            version, run, tuple(vertexes), MappingProxyType(lines), MappingProxyType(screens)
        )

    async def _tell(self, snapshot: Snapshot, seen: Seen) -> News:
        run = snapshot.run
        message: dict[str, Any] = {"now": time.time()}
        more = False
        if run.state != seen.state:
            seen = replace(seen, state=run.state)
            message["run"] = _run(run)
        changed = [vertex for vertex in snapshot.vertexes if vertex.version > seen.version]
        if changed:
            seen = replace(seen, version=max(vertex.version for vertex in changed))
            message["vertexes"] = [_vertex(vertex) for vertex in changed]
        places, screens = dict(seen.places), dict(seen.screens)
        logs = []
        room = MESSAGE_ROOM
        for row, total in snapshot.lines.items():
            place, screen = places.get(row, 0), snapshot.screens.get(row, ())
            if total <= place and screen == screens.get(row, ()):
                continue
            if room <= 0:
                more = True
                break
            start = max(place, total - MAX_LINES)
            lines = await self._rendered.lines(run.id, row, start, total)
            places[row] = start + len(lines)
            screens[row] = screen
            more = more or start + len(lines) < total
            room -= sum(map(len, lines)) + sum(map(len, screen))
            logs.append(
                {"row": row, "start": start, "total": total, "lines": lines, "screen": screen}
            )
        if logs:
            seen = replace(seen, places=frozenset(places.items()), screens=_some(screens))
            message["logs"] = logs
        text = json.dumps(message) if len(message) > 1 else None
        return News(text, seen, more, run.ended)


def _some(screens: dict[int, tuple[str, ...]]) -> frozenset[tuple[int, tuple[str, ...]]]:
    return frozenset((row, screen) for row, screen in screens.items() if screen)


def _run(run: Run) -> dict[str, Any]:
    view = views.view_run(run, time.time())
    return {
        **views.run_json(run),
        "sign": view.sign,
        "colour": view.colour,
        "word": view.word,
    }


def _vertex(vertex: Vertex) -> dict[str, Any]:
    view = views.view_vertex(vertex, time.time())
    return {
        **views.vertex_json(vertex),
        "sign": view.sign,
        "note": view.note,
        "hidden": view.hidden,
        "open": view.open,
    }
