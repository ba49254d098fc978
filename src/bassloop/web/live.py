"""A run's page while the run goes on: a websocket that says what is new.

The page says which lines it has; the socket's task sleeps until the run changes, and sends what is new
since then (see `news`). It holds one message at a time. A page that reads slowly gets more lines at
once, later; one that does not read is cut loose, and comes back with its own places.

    {"logs": {"12": 300}}     it has 300 lines of the log of vertex 12, and none of any other
     "lines": "text"          it wants all lines, with their escape sequences, instead of the last as HTML
     "only": [12]             it wants no other log
     "follow": false          it wants what there is, and the end
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import trio
from quart import Blueprint, websocket

from bassloop.store import NotStored
from bassloop.web.guard import visible_run
from bassloop.web.news import Newsroom, Seen

if TYPE_CHECKING:
    from bassloop.web.context import Following, WebContext

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
