"""Live updates of a run for all pages that follow it.

A page tells which lines it has. Its websocket's task waits until the run changes, and sends what is new, one message at
a time. A page that reads slowly gets more lines in later messages. One that doesn't read is disconnected, and
reconnects with what it has. Its first message is JSON::

    {"logs": {"12": 300}}     it has 300 lines of the log of step 12, and no lines of other logs
     "lines": "text"          send all lines, with their escape sequences, instead of the last ones as HTML,
                              and how many of the lines that may still change are ended by a newline
     "only": [12]             send no other logs
     "follow": false          send the current state, and end

While nothing changes, the page gets heartbeats, so that it notices a broken connection within ten seconds. Pages answer
heartbeats. One that stops answering is disconnected.

When a run changes, the task that comes first makes a snapshot of it for all. An update depends only on the snapshot and
on what the page already has, so pages in the same state, which most are, share one message. Others share the JSON of
each step. The updates of one run may take a tenth of the loop's time, and those of all runs a quarter; pages of runs
that would take more get their updates later.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import wraps
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec

import quart.wrappers
import trio
from quart import Blueprint, websocket

from bassloop.bridge.metering import TimeBudget
from bassloop.concurrency import deferred_cancellation, open_flat_nursery
from bassloop.store import NotStored, text_size
from bassloop.terminal import render_lines
from bassloop.web import presentation
from bassloop.web.guard import current_run, current_visitor, visible_run
from bassloop.web.logs.run_snapshot import Cursor, ShownScreen, Snapshot, StepJsonCache, Update
from bassloop.web.websocket_limits import TooManyWebsockets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from bassloop.checks.live_runs import Follower, LiveRuns
    from bassloop.store import Run, Step, Store
    from bassloop.web.logs.line_html import LogHtmlCache
    from bassloop.web.web_context import WebContext

P = ParamSpec("P")

LEFT: Final[tuple[type[Exception], ...]] = tuple(
    filter(None, [getattr(quart.wrappers, "ClientDisconnectedError", None)])
)
"""Raised by a websocket whose page has disconnected. Quart before 0.23, which needs Python 3.13, cancels its task."""

MAX_LINES = 1000
"""The maximum number of lines of one log in one message. A page that is further behind gets the last ones, and fetches
the others when it shows them. A client that requests text gets all of them, in several messages."""

MAX_MESSAGE = 4 << 20
"""The number of characters of lines after which the rest is left to the next message."""

MAX_STEPS = 50_000
"""The maximum number of steps in all snapshots but the current one: five runs of the maximum size. A run whose snapshot
was dropped is read again when it changes, or somebody opens its page."""

STEPS_AT_ONCE = 200
"""The maximum number of steps in one message. The rest is left to the next one, and other tasks get a turn."""

MAX_SNAPSHOTS = 500
"""The maximum number of snapshots, for the same reason."""

SNAPSHOT_SECONDS = 10.0
"""How long making a snapshot may take before a page that has left gives it up."""

STEP_SECONDS = 20e-6
"""What it costs to read a step, in seconds of processor time. A thread reads it, which delays the loop's as well."""

RUN_BURST, RUN_RATE = 0.5, 0.1
"""The seconds of processor time that the updates of one run may take at once, and per second."""

UPDATES_BURST, UPDATES_RATE = 1.0, 0.25
"""The same for all runs together. It's what keeps pages from delaying deliveries."""

CHARACTERS_AT_ONCE = 20_000
"""The limit on the text of steps in one message, in characters."""

MAX_HELLO = 64 * 1024
HELLO_SECONDS = 30.0

BATCH_SECONDS = 0.02
"""Changes within this time are combined to one message."""

HEARTBEAT_SECONDS = 4.0
"""The interval of heartbeats while nothing changes. `static/live_feed.js` reconnects after twice this time."""

SILENT_SECONDS = 30.0
"""How long a page that has answered a heartbeat before may leave heartbeats unanswered."""

RECHECK_SECONDS = 5.0
"""The interval at which a visitor's access to the run is checked again."""

GONE = 4404
"""Close code for a run that doesn't exist, or that the visitor may not see."""

TRY_AGAIN = 1013
"""Close code for a websocket that exceeds the limits. A page reconnects after an increasing delay."""


class Subscription(NamedTuple):
    """A page's request: what it already has, and whether it wants later changes."""

    cursor: Cursor = Cursor()
    follow: bool = True


@dataclass(slots=True, eq=False)
class _FollowedRun:
    """A run that pages follow, or followed recently. It's removed once it has neither pages nor a snapshot.

    Args:
        budget: the processor time that its updates may take.
    """

    budget: TimeBudget
    lock: trio.Lock = field(default_factory=trio.Lock)
    pages: int = 0
    snapshot: Snapshot | None = None


class LiveFeed:
    """The updates of all runs that pages follow."""

    def __init__(self, store: Store, live_runs: LiveRuns, log_html: LogHtmlCache) -> None:
        self._store = store
        self._live_runs = live_runs
        self._log_html = log_html
        self._runs: dict[str, _FollowedRun] = {}
        self._snapshots: OrderedDict[str, int] = OrderedDict()
        self._budget = TimeBudget(UPDATES_BURST, UPDATES_RATE)
        self._step_json = StepJsonCache()

    @contextmanager
    def open(self, run_id: str) -> Generator[None]:
        """Serve a page until the context ends.

        It must be within a context in which the page follows the run, since the run's versions are
        comparable only while somebody follows.
        """
        followed = self._runs.get(run_id)
        if followed is None:
            followed = self._runs[run_id] = _FollowedRun(TimeBudget(RUN_BURST, RUN_RATE))
            followed.budget.shared = self._budget
        followed.pages += 1
        try:
            yield
        finally:
            followed.pages -= 1
            if not followed.pages:
                # The next page's snapshot needs only what has changed until then.
                if followed.snapshot is None:
                    del self._runs[run_id]
                else:
                    followed.snapshot = followed.snapshot.outdated()

    async def update(self, run_id: str, version: int, cursor: Cursor) -> Update:
        """Return an update, as of `version` or later, for a page with this cursor.

        The caller must have checked that the visitor may see the run. Raises NotStored if it has been deleted.
        Waits while updates have taken too much of the loop's time.
        """
        followed = self._runs[run_id]
        async with followed.lock:
            await trio.sleep(followed.budget.delay())
            snapshot = followed.snapshot
            if snapshot is None or snapshot.version < version:
                # Even if this page leaves meanwhile: pages that come and go would begin it again and again.
                async with deferred_cancellation(SNAPSHOT_SECONDS):
                    snapshot = await self._refresh(followed, run_id, version)
            update = snapshot.updates.get(cursor)
            if update is None:
                update = await self._update(snapshot, cursor, followed.budget)
                snapshot.cache(cursor, update)
        return update

    async def _refresh(self, followed: _FollowedRun, run_id: str, version: int) -> Snapshot:
        snapshot = await self._snapshot(run_id, version, followed.snapshot, followed.budget)
        followed.snapshot = snapshot
        self._drop_others(run_id, len(snapshot.steps))
        return snapshot

    def _drop_others(self, run_id: str, steps: int) -> None:
        """Record this snapshot's size, and drop the least recently used ones if all together have too many steps."""
        self._snapshots[run_id] = steps
        self._snapshots.move_to_end(run_id)
        total = sum(self._snapshots.values())
        while len(self._snapshots) > 1 and (
            total > MAX_STEPS or len(self._snapshots) > MAX_SNAPSHOTS
        ):
            oldest, dropped = self._snapshots.popitem(last=False)
            self._runs[oldest].snapshot = None
            if not self._runs[oldest].pages:
                del self._runs[oldest]
            total -= dropped

    async def _snapshot(
        self, run_id: str, version: int, previous: Snapshot | None, budget: TimeBudget
    ) -> Snapshot:
        run = await current_run(self._store, run_id)
        if run is None:
            raise NotStored(f"there is no run {run_id}")
        steps, lines = await self._steps(run_id, previous, budget)
        screens: dict[int, ShownScreen] = {}
        screen_html: dict[int, list[str]] = {}
        # A growing log doesn't change its step's version.
        for row in self._store.logs.open_rows(steps):
            lines[row] = (await self._store.logs.extent(run_id, row)).lines
        for row in self._live_runs.live_rows(steps):
            screen = tuple(self._live_runs.screen(row))
            screens[row] = ShownScreen(screen, *self._live_runs.whole_count(row))
            before = previous.screens.get(row) if previous is not None else None
            screen_html[row] = (
                previous.screen_html[row]
                if previous is not None and before is not None and before.lines == screen
                else render_lines(screen)
            )
        cursor_lines = frozenset(lines.items())
        if previous is not None and previous.cursor_lines == cursor_lines:
            cursor_lines = previous.cursor_lines
        return Snapshot(
            version, run, tuple(steps.values()), lines, cursor_lines, screens, screen_html
        )

    async def _steps(
        self, run_id: str, previous: Snapshot | None, budget: TimeBudget
    ) -> tuple[dict[int, Step], dict[int, int]]:
        """Return a run's steps, and the lines of their logs, by row. Reads only what has changed."""
        steps: dict[int, Step] = {}
        lines: dict[int, int] = {}
        known = 0
        if previous is not None:
            steps = {step.row: step for step in previous.steps}
            lines = dict(previous.lines)
            known = max((step.version for step in previous.steps), default=0)
        changed = await self._store.steps.of_run(run_id, known)
        budget.charge(len(changed) * STEP_SECONDS)
        for step in changed:
            steps[step.row] = step
            if step.lines:
                lines[step.row] = step.lines
        return steps, lines

    async def _update(self, snapshot: Snapshot, cursor: Cursor, budget: TimeBudget) -> Update:
        run = snapshot.run
        parts = [f'"now": {time.time()!r}']
        more = False
        with budget.charged():
            if run.state != cursor.state:
                cursor = replace(cursor, state=run.state)
                parts.append(f'"run": {json.dumps(_run_json(run))}')
            if steps := self._changed_steps(snapshot, cursor):
                cursor = _after(steps[-1], snapshot, cursor)
                parts.append(f'"vertexes": [{", ".join(map(self._step_json.text, steps))}]')
                more = cursor.position >= 0
        if not more:
            # A page must know a step before it gets the step's log.
            logs, cursor, more = await self._logs(snapshot, cursor)
            if logs:
                with budget.charged():
                    parts.append(f'"logs": {json.dumps(logs)}')
        text = f"{{{', '.join(parts)}}}" if len(parts) > 1 else None
        return Update(text, cursor, more, run.ended)

    def _changed_steps(self, snapshot: Snapshot, cursor: Cursor) -> list[Step]:
        """Return the next steps that have changed since the page got them, by position."""
        changed: list[Step] = []
        room = CHARACTERS_AT_ONCE
        for step in islice(snapshot.steps, cursor.position + 1, None):
            if step.version > cursor.version:
                changed.append(step)
                room -= text_size(step)
                if room < 0 or len(changed) == STEPS_AT_ONCE:
                    break
        return changed

    async def _logs(
        self, snapshot: Snapshot, cursor: Cursor
    ) -> tuple[list[dict[str, Any]], Cursor, bool]:
        """Return what is new in the logs, the cursor afterwards, and whether there is more."""
        known_screens = dict(cursor.screens)
        grown = {row for row, _ in snapshot.cursor_lines - cursor.lines}
        redrawn = {
            row
            for row in {*snapshot.screens, *known_screens}
            if snapshot.screens.get(row) != known_screens.get(row)
        }
        if not grown and not redrawn:
            return [], cursor, False
        known_lines = dict(cursor.lines)
        logs: list[dict[str, Any]] = []
        room = MAX_MESSAGE
        more = False
        for row in sorted(grown | redrawn):
            total = snapshot.lines.get(row, 0)
            known, screen = known_lines.get(row, 0), snapshot.screens.get(row, ShownScreen())
            wanted = cursor.only is None or row in cursor.only
            if not wanted or (total <= known and screen == known_screens.get(row, ShownScreen())):
                continue
            if room <= 0:
                more = True
                break
            log = await self._log(snapshot, cursor, row, known)
            logs.append(log)
            known_lines[row] = log["start"] + len(log["lines"])
            known_screens[row] = screen
            room -= sum(map(len, log["lines"])) + sum(map(len, log["screen"]))
            if known_lines[row] < total:
                more = True
                if cursor.text:
                    # One log after the other, since interleaved logs would be hard to read.
                    break
        screens = frozenset(
            (row, screen) for row, screen in known_screens.items() if screen != ShownScreen()
        )
        # All pages that are up to date share this set.
        lines = snapshot.cursor_lines
        if known_lines != snapshot.lines:
            lines = frozenset(known_lines.items())
        return logs, replace(cursor, lines=lines, screens=screens), more

    async def _log(
        self, snapshot: Snapshot, cursor: Cursor, row: int, known: int
    ) -> dict[str, Any]:
        """Return the new lines of a log, and its screen."""
        run_id, total = snapshot.run.id, snapshot.lines.get(row, 0)
        if cursor.text:
            start, stop = min(known, total), min(total, known + MAX_LINES)
            raw = await self._store.logs.lines(run_id, row, start, stop)
            lines = [line.decode("utf-8", "replace") for line in raw]
            shown = snapshot.screens.get(row, ShownScreen())
            screen = [line.decode("utf-8", "replace") for line in shown.lines]
            extent = {"screen_start": shown.first, "screen_whole": shown.whole}
        else:
            start = max(known, total - MAX_LINES)
            lines = await self._log_html.lines(run_id, row, start, total)
            screen, extent = snapshot.screen_html.get(row, []), {}
        log = {"row": row, "start": start, "total": total, "lines": lines, "screen": screen}
        return log | extent


def counted(
    context: WebContext,
) -> Callable[[Callable[P, Awaitable[None]]], Callable[P, Awaitable[None]]]:
    """Return a decorator for websocket handlers that closes excess websockets of a visitor."""

    def decorate(handler: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
        @wraps(handler)
        async def counting(*args: P.args, **values: P.kwargs) -> None:
            visitor = await current_visitor(context)
            try:
                with context.websockets.one_more(
                    websocket.remote_addr or "", visitor.id if visitor is not None else None
                ):
                    await handler(*args, **values)
            except TooManyWebsockets as error:
                await websocket.accept()
                await websocket.close(TRY_AGAIN, str(error))

        return counting

    return decorate


def routes(context: WebContext) -> Blueprint:
    """Return the websocket's route."""
    blueprint = Blueprint("live_feed", __name__)
    feed = LiveFeed(context.store, context.live_runs, context.log_html)

    @blueprint.websocket("/runs/<run_id>/live")
    @counted(context)
    async def live(run_id: str) -> None:
        """Send updates of a run until it has ended."""
        if await visible_run(context, run_id) is None:
            await websocket.accept()
            await websocket.close(GONE, "there is no such run")
            return
        with suppress(
            trio.TooSlowError, *LEFT
        ):  # A page that doesn't send or read anything is disconnected.
            with trio.fail_after(HELLO_SECONDS):
                hello = await websocket.receive()
            async with context.live_runs.follow(run_id) as following:
                with feed.open(run_id), suppress(NotStored):
                    async with open_flat_nursery() as nursery:
                        nursery.start_soon(cancel_if_silent, nursery.cancel_scope)
                        subscription = _parse_hello(hello)
                        await _send_updates(context, feed, run_id, following, subscription)
                        nursery.cancel_scope.cancel()

    return blueprint


async def _send_updates(
    context: WebContext,
    feed: LiveFeed,
    run_id: str,
    following: Follower,
    subscription: Subscription,
) -> None:
    """Send updates until the run has ended and everything is sent, or the visitor loses access to it."""
    cursor = subscription.cursor
    checked_at = trio.current_time()
    while True:
        with trio.move_on_after(HEARTBEAT_SECONDS) as idle:
            await following.changed()
        if idle.cancelled_caught:
            if await visible_run(context, run_id) is None:
                return
            await _send(context, heartbeat())
            continue
        more = True
        while more:
            if trio.current_time() >= checked_at + RECHECK_SECONDS:
                if await visible_run(context, run_id) is None:
                    return
                checked_at = trio.current_time()
            message, cursor, more, ended = await feed.update(run_id, following.version, cursor)
            if message is not None:
                await _send(context, message)
        if ended or not subscription.follow:
            await _send(context, json.dumps({"end": True}))
            return
        await trio.sleep(BATCH_SECONDS)


def _after(step: Step, snapshot: Snapshot, cursor: Cursor) -> Cursor:
    """Return a page's cursor after it has got the changed steps up to this one.

    Steps that change before it has got all of them are sent again afterwards.
    """
    next_version = cursor.next_version
    if cursor.position < 0:
        next_version = max(each.version for each in snapshot.steps)
    if all(each.version <= cursor.version for each in snapshot.steps[step.position + 1 :]):
        return replace(cursor, version=next_version, next_version=0, position=-1)
    return replace(cursor, next_version=next_version, position=step.position)


def heartbeat() -> str:
    """Return a heartbeat message."""
    return json.dumps({"now": time.time(), "heartbeat": True})


async def cancel_if_silent(scope: trio.CancelScope) -> None:
    """Cancel a scope when the page of this websocket stops answering heartbeats."""
    await websocket.receive()  # Other clients never answer, and needn't.
    while True:
        with trio.move_on_after(SILENT_SECONDS) as silence:
            await websocket.receive()
        if silence.cancelled_caught:
            scope.cancel()
            return


async def _send(context: WebContext, message: str) -> None:
    with trio.fail_after(context.slow_seconds):
        await websocket.send(message)


def _parse_hello(hello: str | bytes) -> Subscription:
    """Parse a page's first message. Return the subscription of a new page if it is malformed."""
    if len(hello) > MAX_HELLO:
        return Subscription()
    try:
        message = json.loads(hello)
        lines = {int(row): max(int(count), 0) for row, count in dict(message["logs"]).items()}
        only = frozenset(map(int, message["only"])) if message.get("only") is not None else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return Subscription()
    cursor = Cursor(text=message.get("lines") == "text", only=only, lines=frozenset(lines.items()))
    return Subscription(cursor, follow=message.get("follow") is not False)


def _run_json(run: Run) -> dict[str, Any]:
    label = presentation.RUN_LABELS[run.state]
    return {
        **presentation.run_json(run),
        "verdict": presentation.verdict(run),
        "sign": label.sign,
        "colour": label.colour,
        "word": label.word,
    }
