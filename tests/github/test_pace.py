"""The pace: writes wait for their points, reads do not, and no minute has too many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from bassloop.github.rate_limits import Pacer

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_a_burst_goes_out_at_once_and_the_rest_when_the_minute_is_over(
    autojump_clock: MockClock,
) -> None:
    pace, at = Pacer(points=50), []
    for _ in range(25):
        await pace.write()
        at.append(trio.current_time())
    assert at[:10] == [0.0] * 10
    assert at[10:20] == [60.0] * 10
    assert at[20:] == [120.0] * 5


async def test_no_window_of_a_minute_has_more_than_its_points(autojump_clock: MockClock) -> None:
    pace, spent = Pacer(points=100), []
    for turn in range(400):
        if turn % 3:
            await pace.write()
            spent.append((trio.current_time(), 5))
        else:
            await trio.sleep(0.31)
    for began, _ in spent:
        assert sum(n for at, n in spent if began <= at < began + 59.9) <= 100


async def test_reads_never_wait_and_are_counted(autojump_clock: MockClock) -> None:
    pace = Pacer(points=10)
    for _ in range(10):
        pace.read()
    assert trio.current_time() == 0
    await pace.write()
    assert trio.current_time() >= 60


async def test_writers_go_first_come_first_served_and_are_counted(
    autojump_clock: MockClock,
) -> None:
    pace, order = Pacer(points=5), []

    async def write(number: int) -> None:
        await pace.write()
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(write, number)
            await trio.testing.wait_all_tasks_blocked()
        assert pace.waiting == 3
        assert repr(pace) == "<Pacer: 5 of 5 points spent, 3 writes waiting>"
    assert order == [0, 1, 2, 3]
    assert pace.waiting == 0


async def test_a_writer_that_is_cancelled_spends_nothing(autojump_clock: MockClock) -> None:
    pace = Pacer(points=5)
    await pace.write()
    with trio.move_on_after(1) as scope:
        await pace.write()
    assert scope.cancelled_caught
    await trio.sleep(60)
    await pace.write()
    assert trio.current_time() == 61


async def test_it_is_closed_for_the_longest_that_was_asked(autojump_clock: MockClock) -> None:
    pace = Pacer()
    pace.close(30)
    pace.close(5)
    assert pace.closed_for() == 30
    await trio.sleep(31)
    assert pace.closed_for() == 0
