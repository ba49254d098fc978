"""The event loop for scripts that wait: Trio, with the bridge to asyncio. Imported when it's needed."""

from __future__ import annotations

import contextvars
import os
import signal
import types
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from bassloop.bass.trio_driver import TrioDriver
from bassloop.bridge import open_bridge
from bassloop.concurrency import open_flat_nursery
from bassloop.tools.local.late_driver import READ_SIZE, Interrupted

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

    from bassloop.tools.local.late_driver import LateDriver

T = TypeVar("T")


def take_over(driver: LateDriver, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that is already waiting to its end, and return its result. Raises Interrupted."""
    return trio.run(_take_over, driver, coroutine)


async def read(descriptor: int) -> bytes:
    """Return the next bytes from a file descriptor, b"" at its end. If cancelled, the read continues in its thread."""
    return await trio.to_thread.run_sync(os.read, descriptor, READ_SIZE, abandon_on_cancel=True)


async def _take_over(driver: LateDriver, coroutine: Coroutine[Any, Any, T]) -> T:
    ended: list[T] = []
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_bridge(), open_flat_nursery() as nursery:

            async def interrupt() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(interrupt)
            driver.attach(TrioDriver(nursery), nursery, contextvars.copy_context())
            ended.append(await _resumed(coroutine))
            nursery.cancel_scope.cancel()
    if not ended:
        raise Interrupted
    return ended[0]


@types.coroutine
def _resumed(coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await a coroutine that has already started, which `await` refuses to do."""
    try:
        request = coroutine.send(None)
        while True:
            try:
                answer = yield request
            except BaseException as error:  # noqa: BLE001 - raised inside the coroutine
                request = coroutine.throw(error)
            else:
                request = coroutine.send(answer)
    except StopIteration as done:
        value: T = done.value
        return value
