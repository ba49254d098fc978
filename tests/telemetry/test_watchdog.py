"""The heartbeat is on time while the event loop runs, and measures how long a task holds it up.

The watchdog notes what holds the loop, with its stack, and nothing else.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio
import trio.testing
from structlog.testing import capture_logs

from bassloop.telemetry import watchdog
from bassloop.telemetry.counters import Histogram, Tally
from bassloop.telemetry.watchdog import LOGGED_AT_ONCE, LOGGED_PER_MINUTE, Heart, Watchdog

if TYPE_CHECKING:
    import pytest


async def test_a_heartbeat_is_on_time_while_the_event_loop_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    heart, beats = Heart(), []
    with trio.move_on_after(10.1):
        await heart.beat(lambda: beats.append(trio.current_time()))
    assert len(beats) == 40
    assert heart.lag.buckets[0] == 40


async def test_a_task_that_blocks_the_event_loop_is_noticed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    heart, beats = Heart(), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heart.beat, lambda: beats.append(1))
        await trio.sleep(0.3)
        before = len(beats)
        autojump_clock.jump(0.8)
        assert len(beats) == before
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert len(beats) == before + 1, "it does not make up for the beats that it missed"
    late = heart.lag.bounds.index(0.25)
    assert sum(heart.lag.buckets[late:]) == 1


async def test_a_process_that_was_stopped_reports_it(mock_clock: trio.testing.MockClock) -> None:
    pauses: list[float] = []
    # The watchdog would say that the machine is busy.
    heart = Heart(watchdog=Watchdog(3600.0), on_pause=lambda: pauses.append(trio.current_time()))
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heart.beat)
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(60.25)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    [line] = lines
    assert (line["event"], line["seconds"]) == ("nothing ran", 60.0)
    assert pauses == [60.25]


async def test_a_machine_that_slept_is_noticed_although_trios_clock_stood_still(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([100.0, 100.25, 100.25, 400.5])
    monkeypatch.setattr(watchdog, "sleepless_time", lambda: next(times, 400.5))
    pauses: list[float] = []
    # The watchdog would say that the machine is busy.
    heart = Heart(watchdog=Watchdog(3600.0), on_pause=lambda: pauses.append(trio.current_time()))
    with capture_logs() as lines, trio.move_on_after(1.0):
        await heart.beat()
    assert [line["seconds"] for line in lines] == [300.0]
    assert pauses == [0.5]


def test_a_duration_is_counted_at_the_first_bound_that_is_no_less() -> None:
    histogram = Histogram((1.0, 2.0))
    for seconds in (0.5, 1.0, 1.5, 2.5):
        histogram.add(seconds)
    assert (histogram.buckets, histogram.count, histogram.sum) == ([2, 1, 1], 4, 5.5)


def test_runs_that_never_began_have_no_duration() -> None:
    tally = Tally()
    tally.add("cancelled", None)
    tally.add("succeeded", 3.0)
    assert (dict(tally.outcomes), tally.seconds.count) == ({"cancelled": 1, "succeeded": 1}, 1)


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
