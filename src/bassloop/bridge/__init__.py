"""The one bridge between Trio and asyncio: a loop inside Trio, and the functions that cross between the two.

grpc                gRPC on the channels of an SSH connection, which the loop and the runner both use
http2               one HTTP/2 connection on one channel
metering            limits on the processor time that a peer's bytes can take
memory_channel      channels without SSH, within one process
library_internals   every use of a private name of asyncssh, grpclib and trio-asyncio

asyncssh and grpclib use asyncio, everything else here uses Trio. They meet in one loop, which is opened at the root.
Crossing costs a task switch or two, so cross once for many operations:

    async with open_bridge():                         # at the root, once
        await call_asyncio(connection.wait_closed)    # Trio side: run a coroutine of asyncio
        ...
    await call_trio(store.put, record)                # asyncio side: run a coroutine of Trio
    await hand_over(updates, update)                  # asyncio side: only crosses if the channel is full

Never iterate over an asyncio generator from Trio: that crosses for each item, and has broken Trio itself when it was
cancelled.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

import trio

from bassloop.bridge.library_internals import drop_cancelled_timers, trio_asyncio
from bassloop.concurrency import flat_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

P = ParamSpec("P")
T = TypeVar("T")


@asynccontextmanager
async def open_bridge() -> AsyncIterator[None]:
    """Open the program's only asyncio loop, around everything that crosses.

    Leaving the context cancels the remaining asyncio tasks, and waits for them. An exception of the body isn't wrapped
    in a group.
    """
    with flat_errors():
        async with trio_asyncio.open_loop() as loop:
            drop_cancelled_timers(loop)
            yield


async def call_asyncio(function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a coroutine of asyncio from Trio and return its result.

    Cancelling the Trio scope cancels the asyncio task and waits for its end.
    """
    return cast(T, await trio_asyncio.aio_as_trio(function)(*args, **kwargs))


async def call_trio(function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a coroutine of Trio from asyncio and return its result.

    Cancelling the asyncio task cancels the Trio scope, but doesn't wait for its cleanup. If that matters, wait for it
    by other means.
    """
    return cast(T, await trio_asyncio.trio_as_aio(function)(*args, **kwargs))


async def hand_over(channel: trio.MemorySendChannel[T], item: T) -> bool:
    """Send an item from asyncio to a bounded Trio channel, waiting only if the channel is full.

    Returns whether it had to wait. Raises what `channel.send` does, such as `trio.BrokenResourceError` if all receivers
    are closed.
    """
    try:
        channel.send_nowait(item)
    except trio.WouldBlock:
        await call_trio(channel.send, item)
        return True
    return False
