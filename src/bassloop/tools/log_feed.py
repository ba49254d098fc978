"""A client for the logs of a run, over the websocket of its page.

The feed counts the lines of each log that it has received. After a lost connection, it sends these numbers to the
server, which continues from there, so no line is lost or repeated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio
from trio_websocket import ConnectionClosed, ConnectionRejected

from bassloop.concurrency import Backoff, open_flat_nursery
from bassloop.tools.loop_client import CONNECT_SECONDS, LoopError
from bassloop.websocket_client import CONNECTION_ERRORS, open_websocket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_websocket import WebSocketConnection

    from bassloop.tools.loop_client import RunAddress

NOT_VISIBLE = 4404
"""The server's close code for a run that doesn't exist, or that the client may not see."""

TRY_AGAIN = 1013
"""The server's close code for a websocket beyond the limits; its reason names the limit."""

MAX_MESSAGE = 64 << 20
PING_SECONDS = 30.0
"""Seconds of silence before the server is pinged, and before a ping times out."""

BACKOFF = Backoff(0.5, 15.0)
MAX_ATTEMPTS = 5
"""How many connections in a row may fail if the run isn't followed."""


class _ConnectionLost(Exception):
    """The connection failed, perhaps temporarily; the message says how."""


@dataclass(eq=False)
class LogFeed:
    """The logs of one run, as they are written.

    Args:
        show: called with each message of the server. The logs in it contain only new lines.
        on_lost: called with a sentence when the connection is lost, before the next attempt.
        only: the rows of the steps whose logs to show; None for all.
        follow: stay connected until the run has ended.
        headers: sent with each request, such as a session's.
    """

    address: RunAddress
    show: Callable[[dict[str, Any]], None]
    on_lost: Callable[[str], None]
    only: Sequence[int] | None = None
    follow: bool = False
    headers: Sequence[tuple[str, str]] = ()
    _line_counts: dict[int, int] = field(default_factory=dict)
    _received: bool = False

    async def run(self) -> None:
        """Show the current logs and, if following, everything new until the run has ended.

        Raises LoopError if there is no such run, or if its server can't be reached: at once if nothing was
        ever received, and after some attempts if the run isn't followed.
        """
        failures = 0
        ever_received = False
        while True:
            self._received = False
            try:
                await self._connect_once()
                return
            except _ConnectionLost as error:
                ever_received = ever_received or self._received
                failures = 1 if self._received else failures + 1
                if not ever_received or (not self.follow and failures >= MAX_ATTEMPTS):
                    raise LoopError(f"{self.address.server}: {error}") from error
                delay = BACKOFF.delay(failures)
                self.on_lost(f"{error}; trying again in {delay:.1f} s")
                await trio.sleep(delay)

    async def _connect_once(self) -> None:
        """Serve one connection to its end. Raises LoopError, or _ConnectionLost."""
        try:
            async with (
                open_websocket(
                    self.address.websocket,
                    [(name.encode(), value.encode()) for name, value in self.headers],
                    connect_seconds=CONNECT_SECONDS,
                    max_message=MAX_MESSAGE,
                ) as socket,
                open_flat_nursery() as nursery,
            ):
                nursery.start_soon(_keep_alive, socket)
                await socket.send_message(json.dumps(self._request()))
                await self._receive(socket)
                nursery.cancel_scope.cancel()
        except (ExceptionGroup, *CONNECTION_ERRORS) as error:
            first = _first(error)
            raise (self._explained(first) or first) from error

    async def _receive(self, socket: WebSocketConnection) -> None:
        while True:
            try:
                message = json.loads(await socket.get_message())
                if message.get("end"):
                    return
                for log in message.get("logs", ()):
                    self._drop_known_lines(log)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise LoopError(f"{self.address.page} doesn't answer like a loop") from error
            self._received = True
            self.show(message)

    def _drop_known_lines(self, log: dict[str, Any]) -> None:
        row, start, lines = int(log["row"]), int(log["start"]), log["lines"]
        known = self._line_counts.get(row, 0)
        if start > known:
            raise ValueError(f"lines {known} to {start} are missing")
        log["lines"] = lines[known - start :]
        self._line_counts[row] = max(known, start + len(lines))

    def _request(self) -> dict[str, Any]:
        request: dict[str, Any] = {
            "logs": self._line_counts,
            "lines": "text",
            "follow": self.follow,
        }
        return request if self.only is None else {**request, "only": list(self.only)}

    def _explained(self, error: BaseException) -> Exception | None:
        """Return the error that a closed connection reports, or None if it has another cause."""
        if isinstance(error, LoopError):
            return error
        if isinstance(error, ConnectionRejected):
            status = error.status_code
            if status == 404:
                return LoopError(f"there is no loop at {self.address.server}: it answered 404")
            if status in (401, 403):
                return LoopError(f"{self.address.page}: you may not see it, it answered {status}")
            return _ConnectionLost(f"the server answered {status}")
        if isinstance(error, ConnectionClosed):
            if error.reason is not None and error.reason.code == NOT_VISIBLE:
                return LoopError(
                    f"{self.address.page}: there is no such run, or you don't have access to it"
                )
            if error.reason is not None and error.reason.code == TRY_AGAIN:
                return _ConnectionLost(error.reason.reason or "too many pages are open")
            return _ConnectionLost("the connection was lost")
        if isinstance(error, OSError):
            return _ConnectionLost(f"can't be reached: {error.strerror or error}")
        if isinstance(error, CONNECTION_ERRORS):
            return _ConnectionLost("the server didn't answer")
        return None


async def _keep_alive(socket: WebSocketConnection) -> None:
    """Ping the server, and raise TooSlowError if it doesn't answer."""
    while True:
        await trio.sleep(PING_SECONDS)
        with trio.fail_after(PING_SECONDS):
            await socket.ping()


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
