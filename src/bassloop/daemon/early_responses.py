"""Requests that are answered before all of their body has arrived: the rest of it is dropped, and nothing waits.

An endpoint may refuse a request by its headers, and a client may send its body all the same. In Hypercorn, the rest
of the body is put in the queue of an application that doesn't read any more. Once that is full, the task that reads
the connection waits forever, and stays in memory even after the connection has been closed. On HTTP/2, a body that
arrives after its response ends the connection, with the responses to all other requests.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.protocol.events import Body
from hypercorn.trio import tcp_server
from hypercorn.trio.task_group import TaskGroup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config
    from hypercorn.protocol.events import Event

DROPPED_BYTES = 32 << 20
"""The limit on bytes of bodies that arrive on an HTTP/2 connection after their responses. A webhook's body fits."""

LEAST_BYTES = 1 << 10
"""The number of bytes that a smaller frame counts as, because the smallest ones cost the most."""

ENDS = ("http.disconnect", "websocket.disconnect")
"""The types of an application's last message."""


class DroppedBodies:
    """In place of the streams that an HTTP/2 connection has forgotten: drops what arrives for them."""

    def __init__(self) -> None:
        self._left = DROPPED_BYTES

    async def handle(self, event: Event) -> None:
        """Drop a part of a body. Raises BrokenResourceError if there have been too many."""
        await trio.lowlevel.checkpoint()
        if isinstance(event, Body):
            self._left -= max(LEAST_BYTES, len(event.data))
            if self._left < 0:
                raise trio.BrokenResourceError("it goes on sending what has been answered")


class Streams(dict[int, Any]):
    """The streams of an HTTP/2 connection by their numbers, with `DroppedBodies` for those that have ended."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped = DroppedBodies()

    def __missing__(self, stream_id: int) -> DroppedBodies:
        return self._dropped


class EndingTaskGroup(TaskGroup):
    """Hypercorn's tasks of a connection, but an application's queue ends when its request does.

    Putting a message in it waits while it's full, but not any longer than the request takes. After what is in it,
    the application receives that its client has left.
    """

    async def spawn_app(
        self, app: Any, config: Config, scope: Any, send: Any
    ) -> Callable[[Any], Awaitable[None]]:
        """Start the application of one request, and return the function that puts messages in its queue."""
        to_app, messages = trio.open_memory_channel[Any](config.max_app_queue_size)
        last: dict[str, Any] = {}

        async def put(message: Any) -> None:
            if message["type"] in ENDS:
                last.update(message)
                to_app.close()
            with suppress(trio.ClosedResourceError):
                await to_app.send(message)

        async def next_message() -> Any:
            try:
                return await messages.receive()
            except trio.EndOfChannel:
                return dict(last)

        async def run(scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any) -> None:
            await app(scope, next_message, send, sync_spawn, call_soon)

        await super().spawn_app(run, config, scope, send)
        return put


def drop_late_bodies() -> None:
    """Make Hypercorn use `EndingTaskGroup`. It has no setting for that."""
    tcp_server.TaskGroup = EndingTaskGroup  # type: ignore[attr-defined]
