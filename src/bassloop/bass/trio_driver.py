"""Sessions under Trio: background work and the reading of streams are tasks of one nursery."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from bassloop.bass.errors import BassError
from bassloop.bass.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from bassloop.bass.host import ByteStream, Host
    from bassloop.bass.machine import Budget
    from bassloop.bass.session import SessionEvent, Task


class TrioDriver:
    """A driver that runs background work in a nursery."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()

    def spawn(self, work: Callable[[], Awaitable[None]]) -> Task:
        over = trio.Event()

        async def run() -> None:
            try:
                await work()
            finally:
                over.set()

        self._nursery.start_soon(run)
        return over

    def open(self, stream: ByteStream) -> Callable[[], Awaitable[bytes]]:
        send, receive = trio.open_memory_channel[bytes](0)
        failures: list[BassError] = []

        async def pump() -> None:
            # Closing it without a checkpoint: a cancellation there would replace an error that ends the session.
            with send:
                try:
                    async with stream as pieces:
                        async for piece in pieces:
                            if piece:
                                await send.send(piece)
                except BassError as error:
                    failures.append(error)

        async def pull() -> bytes:
            try:
                return await receive.receive()
            except trio.EndOfChannel:
                if failures:
                    raise failures[0] from None
                return b""

        self._nursery.start_soon(pump)
        return pull

    def event(self) -> SessionEvent:
        return trio.Event()


@asynccontextmanager
async def open_session(host: Host, *, budget: Budget | None = None) -> AsyncGenerator[Session]:
    """Open a session under Trio. Leaving the context cancels its background tasks.

    An exception that is raised inside isn't wrapped in an exception group. If a background task fails while it's
    cancelled because of that, its exception becomes the cause of the first one.
    """
    raised: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield Session(host, TrioDriver(nursery), budget)
            except Exception as error:  # noqa: BLE001 - raised outside the nursery
                raised = error
            nursery.cancel_scope.cancel()
    except ExceptionGroup as failed:
        if raised is None:
            raise
        raise raised from failed
    if raised is not None:
        raise raised
