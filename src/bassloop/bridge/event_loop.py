"""The one asyncio loop inside Trio, and the few ways across.

asyncssh and grpclib are asyncio programs; everything else here is Trio. They meet in one loop that
is opened at the root. Crossing costs a task switch or two, so cross once for many things:

    async with open_bridge():                         # at the root, once
        await call_asyncio(connection.wait_closed)    # Trio side: run a coroutine of asyncio
        ...
    await call_trio(store.put, record)                # asyncio side: run a coroutine of Trio
    await hand_over(updates, update)                  # asyncio side: free unless Trio is behind

Never iterate over an asyncio generator from Trio: it pays for each item, and under cancellation it
has broken Trio itself.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

import trio

from bassloop.bridge.private import drop_cancelled_timers, trio_asyncio
from bassloop.concurrency import flat_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

P = ParamSpec("P")
T = TypeVar("T")


@asynccontextmanager
async def open_bridge() -> AsyncIterator[None]:
    """Open the asyncio loop. One for the whole program, around everything that crosses.

    On exit the asyncio tasks that are left are cancelled and waited for. An error of the body is
    raised as it is, not wrapped in a group.
    """
    with flat_errors():
        async with trio_asyncio.open_loop() as loop:
            drop_cancelled_timers(loop)
            yield


async def call_asyncio(function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a coroutine of asyncio from Trio and return its result.

    Cancelling the Trio scope cancels the asyncio task, and waits until that has ended.
    """
    return cast(T, await trio_asyncio.aio_as_trio(function)(*args, **kwargs))


async def call_trio(function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a coroutine of Trio from asyncio and return its result.

    Cancelling the asyncio task cancels the Trio scope, but does not wait for its cleanup: what must
    have ended has to be waited for by other means.
    """
    return cast(T, await trio_asyncio.trio_as_aio(function)(*args, **kwargs))


async def hand_over(channel: trio.MemorySendChannel[T], item: T) -> bool:
    """Give one item from asyncio to a bounded Trio channel; wait only when the channel is full.

    Returns whether it had to wait. Raises what `channel.send` raises: `trio.BrokenResourceError`
    when nobody is left to receive.
    """
    try:
        channel.send_nowait(item)
    except trio.WouldBlock:
        await call_trio(channel.send, item)
        return True
    return False
