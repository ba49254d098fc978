"""Reconnecting a runner, with a clock that jumps."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import Backoff
from bassloop.runner.runner import RunnerClient
from bassloop.runner.runner_events import Disconnected, RunnerEvent
from bassloop.runner.ssh_client import DialError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trio.testing import MockClock

BACKOFF = Backoff(first=0.5, longest=60.0, jitter=0.0)


@dataclass
class Loop:
    """A loop that is up, as a runner sees it, at some times and not at others.

    Args:
        up: from when until when, in seconds; a session ends at the second.
        goodbye: its last line.
    """

    up: list[tuple[float, float]]
    goodbye: str = ""
    reached: list[float] = field(default_factory=list)

    @asynccontextmanager
    async def dial(self) -> AsyncGenerator[Loop]:
        now = trio.current_time()
        if not any(since <= now < until for since, until in self.up):
            raise DialError("connection refused")
        yield self

    async def serve(self, on_line: Callable[[str], None]) -> None:
        now = trio.current_time()
        self.reached.append(now)
        on_line("registered")
        await trio.sleep_until(next(until for since, until in self.up if since <= now < until))
        if self.goodbye:
            on_line(self.goodbye)


async def run(loop: Loop, seconds: float) -> list[float]:
    """Run a runner for so long, and return the delays between its attempts."""
    events: list[RunnerEvent] = []
    client = RunnerClient(loop, "loop", events.append, backoff=BACKOFF)
    with trio.move_on_after(seconds):
        await client.run()
    return [event.retry_in for event in events if isinstance(event, Disconnected)]


async def test_a_loop_that_was_never_reached_is_tried_less_and_less_often(
    autojump_clock: MockClock,
) -> None:
    delays = await run(Loop([]), 300)
    assert delays[:9] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_loop_that_is_restarted_is_tried_every_two_seconds(
    autojump_clock: MockClock,
) -> None:
    loop = Loop([(0, 1), (100, 1000)])
    await run(loop, 150)
    assert loop.reached[0] == 0
    assert 100 <= loop.reached[1] <= 102


async def test_quick_losses_in_a_row_do_not_extend_the_delay(autojump_clock: MockClock) -> None:
    loop = Loop([(n, n + 0.5) for n in range(20)])
    assert set(await run(loop, 20)) == {0.5}


async def test_a_loop_that_stays_away_is_tried_less_often_after_some_minutes(
    autojump_clock: MockClock,
) -> None:
    delays = await run(Loop([(0, 1)]), 1200)
    assert max(delays[:90]) == 2
    assert delays[-1] == 60


async def test_a_runner_connects_again_when_the_loop_asks_it_to(autojump_clock: MockClock) -> None:
    loop = Loop([(0, 10), (17, 1000)], "the loop is going down; connect again in 8 s")
    assert (await run(loop, 100))[:1] == [8]
    assert loop.reached == [0, 18]


async def test_a_loop_that_is_not_back_at_its_announced_time_is_tried_every_two_seconds(
    autojump_clock: MockClock,
) -> None:
    loop = Loop([(0, 10), (30, 1000)], "the loop is going down; connect again in 2 s")
    delays = await run(loop, 100)
    assert delays[:4] == [2, 1, 2, 2]
    assert 30 <= loop.reached[1] <= 32


async def test_no_loop_keeps_a_runner_away_for_longer_than_a_minute(
    autojump_clock: MockClock,
) -> None:
    loop = Loop([(0, 10), (17, 1000)], "connect again in 999 s")
    assert (await run(loop, 100))[:1] == [60]
