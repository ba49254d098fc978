"""The watchdog notes what holds the loop, with its stack, and nothing else."""

from __future__ import annotations

import time

import trio
from structlog.testing import capture_logs

from bassloop.telemetry.heartbeat import LOGGED_AT_ONCE, LOGGED_PER_MINUTE, Watchdog


def hold_the_loop(seconds: float) -> None:
    """Use so many seconds of processor time: on a busy machine, the watching thread comes to look nevertheless."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def test_a_task_that_blocks_the_event_loop_is_counted_and_logged_with_its_stack() -> None:
    watchdog = Watchdog(0.1)
    with watchdog.watching(), capture_logs() as lines:
        await trio.lowlevel.checkpoint()
        hold_the_loop(0.5)
        await trio.lowlevel.checkpoint()
    assert sum(watchdog.count.values()) >= 1
    assert max(watchdog.longest.values()) >= 0.5
    [line] = [each for each in lines if "hold_the_loop" in each["stack"]]
    assert line["seconds"] >= 0.5
    assert "test_a_task_that_blocks" in line["task"]


async def test_a_task_that_sleeps_is_reported_as_waiting_and_not_as_computing() -> None:
    watchdog = Watchdog(0.1)
    with watchdog.watching(), capture_logs():
        await trio.lowlevel.checkpoint()
        time.sleep(0.3)  # noqa: ASYNC251  (that is the point)
        await trio.lowlevel.checkpoint()
    assert watchdog.count["waiting"] >= 1
    assert watchdog.count["computing"] == 0


async def test_waiting_does_not_count_as_a_delay() -> None:
    watchdog = Watchdog(100)
    with watchdog.watching():
        await trio.sleep(0.3)
    assert watchdog.count == {"computing": 0, "waiting": 0}


async def test_delays_are_logged_at_a_bounded_rate_and_all_are_counted() -> None:
    watchdog, began = Watchdog(0.001), time.monotonic()
    with watchdog.watching(), capture_logs() as lines:
        for _ in range(3 * LOGGED_AT_ONCE):
            await trio.lowlevel.checkpoint()
            hold_the_loop(0.002)
        await trio.lowlevel.checkpoint()
    assert sum(watchdog.count.values()) >= 3 * LOGGED_AT_ONCE
    elapsed = time.monotonic() - began
    assert len(lines) <= LOGGED_AT_ONCE + 1 + elapsed * LOGGED_PER_MINUTE / 60
