"""What runs a session where nothing has to be waited for: no event loop at all, everything at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from bassloop.bass.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from bassloop.bass.budget import Budget
    from bassloop.bass.host import ByteStream, Host
    from bassloop.bass.session import Task

T = TypeVar("T")


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never has to wait. Raises `RuntimeError` if it does."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("this has to wait for something: evaluate it in a session that Trio drives")


class _Done:
    async def wait(self) -> None:
        return


class Immediate:
    """Does at once what is to be done in the background, and reads streams where they are wanted."""

    async def checkpoint(self) -> None:
        return

    def spawn(self, work: Callable[[], Awaitable[None]]) -> Task:
        async def begin() -> None:
            await work()

        run_now(begin())
        return _Done()

    def open(self, stream: ByteStream) -> Callable[[], Awaitable[bytes]]:
        pieces: list[AsyncIterator[bytes]] = []

        async def pull() -> bytes:
            if not pieces:
                pieces.append(await stream.__aenter__())
            async for piece in pieces[0]:
                if piece:
                    return piece
            await stream.__aexit__(None, None, None)
            return b""

        return pull


def immediate_session(host: Host, budget: Budget | None = None) -> Session:
    """A session whose coroutines never wait, if the host's do not: run them with `run_now`."""
    return Session(host, Immediate(), budget)
