"""A run's page while the run goes on: a websocket that says what is new.

The page says which lines it has; the socket's task sleeps until the run changes, reads what is new
from the store, and sends it. It holds one message at a time. A page that reads slowly gets more lines
at once, later; one that does not read is cut loose, and comes back with its own places.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio
from quart import Blueprint, websocket

from bassloop.terminal import render_lines
from bassloop.web import views
from bassloop.web.guard import visible_run

if TYPE_CHECKING:
    from bassloop.store import Run, Vertex
    from bassloop.web.context import WebContext

MAX_LINES = 1000
MAX_HELLO = 64 * 1024
HELLO_SECONDS = 30.0
QUIET_SECONDS = 0.02
GONE = 4404


def routes(context: WebContext) -> Blueprint:
    """The websockets' routes."""
    blueprint = Blueprint("live", __name__)

    @blueprint.websocket("/runs/<run_id>/live")
    async def live(run_id: str) -> None:
        run = await visible_run(context.store, run_id)
        if run is None:
            await websocket.accept()
            await websocket.close(GONE, "no such run")
            return
        with trio.fail_after(HELLO_SECONDS):
            hello = await websocket.receive()
        places = _places(hello)
        async with context.tail.follow(run_id) as following:
            page = _Page(context, run_id, places)
            while True:
                await following.changed()
                if await page.send_news():
                    return
                # What comes in the same moment goes in the same message.
                await trio.sleep(QUIET_SECONDS)

    return blueprint


@dataclass(eq=False)
class _Page:
    """One open page: which lines of which logs it has, and what it was last told."""

    context: WebContext
    run_id: str
    places: dict[int, int]
    _version: int = 0
    _state: str = ""
    _screens: dict[int, list[bytes]] = field(default_factory=dict)

    async def send_news(self) -> bool:
        """Send what is new, and say whether the run is over and all of it was sent."""
        while True:
            # The run is read first: when it is over by then, all that follows is its last state.
            run = await visible_run(self.context.store, self.run_id)
            if run is None:
                return True
            message = await self._news(run)
            if len(message) == 1 and not run.ended:
                return False
            more = message.pop("more", False)
            await self._send(message)
            if not more:
                if run.ended:
                    await self._send({"end": True})
                    return True
                return False

    async def _news(self, run: Run) -> dict[str, Any]:
        message: dict[str, Any] = {"now": time.time()}
        if run.state != self._state:
            self._state = run.state
            view = views.view_run(run, time.time())
            message["run"] = {
                **views.run_json(run),
                "sign": view.sign,
                "colour": view.colour,
                "word": view.word,
            }
        store = self.context.store
        vertexes = await store.vertexes(self.run_id)
        changed = [vertex for vertex in vertexes if vertex.version > self._version]
        if changed:
            self._version = max(vertex.version for vertex in changed)
            message["vertexes"] = [_vertex(vertex) for vertex in changed]
        logs = []
        for vertex in vertexes:
            news, more = await self._log(vertex)
            logs += news
            if more:
                message["more"] = True
        if logs:
            message["logs"] = logs
        return message

    async def _log(self, vertex: Vertex) -> tuple[list[dict[str, Any]], bool]:
        """What is new in one log: lines from the page's place, and the changing screen."""
        store, row = self.context.store, vertex.row
        place = self.places.get(row, 0)
        screen = self.context.tail.screen(row)
        if vertex.lines <= place and screen == self._screens.get(row, []):
            return [], False
        extent = await store.log_extent(self.run_id, row)
        skipped = max(place, extent.lines - MAX_LINES)
        lines = await store.log_lines(self.run_id, row, skipped, extent.lines)
        end = skipped + len(lines)
        self.places[row] = end
        self._screens[row] = screen
        news = {
            "row": row,
            "start": skipped,
            "total": extent.lines,
            "lines": render_lines(lines),
            "screen": render_lines(screen),
        }
        return [news], end < extent.lines

    async def _send(self, message: dict[str, Any]) -> None:
        with trio.fail_after(self.context.slow_seconds):
            await websocket.send(json.dumps(message))


def _vertex(vertex: Vertex) -> dict[str, Any]:
    view = views.view_vertex(vertex, time.time())
    return {
        **views.vertex_json(vertex),
        "sign": view.sign,
        "note": view.note,
        "hidden": view.hidden,
        "open": view.open,
    }


def _places(hello: str | bytes) -> dict[int, int]:
    """How many lines of which logs a page has; nothing for what is no such thing."""
    if len(hello) > MAX_HELLO:
        return {}
    try:
        given = json.loads(hello)
        return {int(row): max(int(lines), 0) for row, lines in dict(given["logs"]).items()}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
