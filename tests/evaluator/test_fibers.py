"""Coroutines without an event loop."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from bassloop.evaluator.daemon_link import Fibers, Pending

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator


class Outside:
    """A peer that answers one question each time that nothing can go on."""

    def __init__(self) -> None:
        self.fibers = Fibers(self.wait)
        self.asked: deque[tuple[Pending[int], int | Exception]] = deque()
        self.waited = 0

    async def ask(self, answer: int | Exception) -> int:
        pending: Pending[int] = Pending()
        self.asked.append((pending, answer))
        return await pending

    def wait(self) -> None:
        self.waited += 1
        pending, answer = self.asked.popleft()
        if isinstance(answer, int):
            pending.succeed(answer)
        else:
            pending.fail(answer)
        self.fibers.resume(pending)


def test_a_coroutine_runs_to_its_end() -> None:
    outside = Outside()

    async def main() -> int:
        return await outside.ask(1) + await outside.ask(2)

    assert outside.fibers.run(main()) == 3
    assert outside.waited == 2


def test_an_error_is_raised_where_it_is_awaited() -> None:
    outside = Outside()

    async def main() -> str:
        try:
            await outside.ask(KeyError("nothing"))
        except KeyError:
            return "caught"
        return "not raised"

    assert outside.fibers.run(main()) == "caught"


def test_spawned_work_runs_concurrently_and_is_waited_for() -> None:
    outside, order = Outside(), list[str]()

    async def work(name: str) -> None:
        order.append(f"{name} began")
        await outside.ask(0)
        order.append(f"{name} ended")

    async def main() -> None:
        tasks = [outside.fibers.spawn(lambda name=name: work(name)) for name in "ab"]  # type: ignore[misc]
        for task in tasks:
            await task.wait()
            await task.wait()

    outside.fibers.run(main())
    assert order == ["a began", "b began", "a ended", "b ended"]


def test_waiting_for_a_failed_task_does_not_raise() -> None:
    outside = Outside()

    async def fail() -> None:
        raise ValueError("of its own")

    async def main() -> str:
        task = outside.fibers.spawn(fail)
        await task.wait()
        with pytest.raises(ValueError, match="of its own"):
            task.get()
        return "went on"

    assert outside.fibers.run(main()) == "went on"


def test_a_checkpoint_lets_others_run() -> None:
    outside, order = Outside(), list[int]()

    async def count(number: int) -> None:
        for _ in range(3):
            order.append(number)
            await outside.fibers.checkpoint()

    async def main() -> None:
        other = outside.fibers.spawn(lambda: count(1))
        await count(2)
        await other.wait()

    outside.fibers.run(main())
    assert order == [2, 1, 2, 1, 2, 1]
    assert outside.waited == 0


def test_empty_pieces_of_a_stream_are_skipped() -> None:
    outside = Outside()

    @asynccontextmanager
    async def stream() -> AsyncGenerator[AsyncIterator[bytes]]:
        await outside.ask(0)

        async def pieces() -> AsyncGenerator[bytes]:
            for piece in (b"", b"a", b"", b"b"):
                await outside.ask(0)
                yield piece

        yield pieces()

    async def main() -> list[bytes]:
        pull = outside.fibers.open(stream())
        return [await pull() for _ in range(4)]

    assert outside.fibers.run(main()) == [b"a", b"b", b"", b""]
