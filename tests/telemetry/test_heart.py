"""The heartbeat is on time while the event loop runs, and measures how long a task holds it up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
import trio.testing
from structlog.testing import capture_logs

from bassloop.telemetry import heartbeat
from bassloop.telemetry.counters import Histogram, Tally
from bassloop.telemetry.heartbeat import Heart, Watchdog

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
    monkeypatch.setattr(heartbeat, "sleepless_time", lambda: next(times, 400.5))
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
