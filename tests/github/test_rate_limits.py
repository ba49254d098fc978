"""The pacer: requests wait for their turn, in order for each purpose, and no minute has too many points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
import trio.testing

from bassloop.github.api_budget import APIBudget, Purpose, Turn
from bassloop.github.pacing import Pacer

if TYPE_CHECKING:
    from trio.testing import MockClock

PEOPLE, CONCLUDE, START = Purpose.PEOPLE, Purpose.CONCLUDE, Purpose.START


async def spend(pacer: Pacer, turn: Turn, points: int) -> None:
    """Make a request that is answered at once."""
    async with pacer.admit(turn, points):
        pass


async def test_a_burst_is_sent_at_once_and_the_rest_after_the_minute(
    autojump_clock: MockClock,
) -> None:
    pacer, at = Pacer(APIBudget(50)), []
    for _ in range(25):
        await spend(pacer, Turn(PEOPLE), 5)
        at.append(trio.current_time())
    assert at[:10] == [0.0] * 10
    assert at[10:20] == [60.0] * 10
    assert at[20:] == [120.0] * 5


async def test_no_window_of_a_minute_has_more_points_than_allowed(
    autojump_clock: MockClock,
) -> None:
    pacer, spent = Pacer(APIBudget(100)), []
    for turn in range(400):
        if turn % 3:
            points = 5 if turn % 2 else 1
            await spend(pacer, Turn(PEOPLE), points)
            spent.append((trio.current_time(), points))
        else:
            await trio.sleep(0.31)
    for began, _ in spent:
        assert sum(n for at, n in spent if began <= at < began + 59.9) <= 100


async def test_new_work_waits_while_a_persons_request_is_served(
    autojump_clock: MockClock,
) -> None:
    pacer, order = Pacer(APIBudget(300)), []

    async def spend_for(purpose: Purpose) -> None:
        await spend(pacer, Turn(purpose), 5)
        order.append((trio.current_time(), purpose))

    async with trio.open_nursery() as nursery:
        for _ in range(58):
            nursery.start_soon(spend_for, START)
        await trio.sleep(1)
        assert [at for at, _ in order] == [0.0] * 57  # 285 of 300
        assert pacer.waiting == 1
        nursery.start_soon(spend_for, CONCLUDE)
        nursery.start_soon(spend_for, PEOPLE)
    assert sorted(order[57:]) == [(1.0, PEOPLE), (1.0, CONCLUDE), (60.0, START)]


async def test_requests_of_each_purpose_are_served_in_order_and_counted(
    autojump_clock: MockClock,
) -> None:
    pacer, order = Pacer(APIBudget(5)), []

    async def spend_for(number: int) -> None:
        await spend(pacer, Turn(PEOPLE), 5)
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(spend_for, number)
            await trio.testing.wait_all_tasks_blocked()
        assert pacer.waiting == 3
        assert repr(pacer) == "<Pacer: <APIBudget: 5 of 5 points spent, 3 waiting>>"
    assert order == [0, 1, 2, 3]
    assert pacer.waiting == 0


async def test_the_request_that_has_waited_longest_goes_first(autojump_clock: MockClock) -> None:
    idle: list[Purpose] = []
    pacer, order = Pacer(APIBudget(50), idle.append), []

    async def spend_for(since: float) -> None:
        await spend(pacer, Turn(START, since), 40)
        order.append(since)

    async with trio.open_nursery() as nursery:
        for since in (9.0, 8.0, 3.0, 5.0):
            nursery.start_soon(spend_for, since)
            await trio.testing.wait_all_tasks_blocked()
        assert idle == [START]  # the first didn't wait
        await trio.sleep(61)
        nursery.start_soon(spend_for, 1.0)
    assert order == [9.0, 3.0, 1.0, 5.0, 8.0]
    assert idle == [START, START]


async def test_the_repository_that_has_spent_the_least_goes_first(
    autojump_clock: MockClock,
) -> None:
    pacer, order = Pacer(APIBudget(100)), []

    async def spend_for(repository: str, since: float) -> None:
        await spend(pacer, Turn(START, since, repository), 5)
        order.append((repository, since))

    await spend(pacer, Turn(START, 0.0, "calm"), 0)  # so that it's known
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(spend_for, "flood", float(number))
            await trio.testing.wait_all_tasks_blocked()
        assert len(order) == 17  # of 19, which the purpose may have
        assert not pacer.is_waiting(START, "calm")
        nursery.start_soon(spend_for, "calm", 100.0)
        await trio.testing.wait_all_tasks_blocked()
        assert order[17:] == [("calm", 100.0)]
        for number in range(5):
            nursery.start_soon(spend_for, "calm", 101.0 + number)
        await trio.testing.wait_all_tasks_blocked()
        assert pacer.is_waiting(START, "calm")
        del order[:]
        await trio.sleep_until(61)
        assert order[:8] == [
            each
            for number in range(4)
            for each in (("flood", 17.0 + number), ("calm", 101.0 + number))
        ]
        nursery.cancel_scope.cancel()
    assert pacer.waiting == 0


async def test_a_repository_that_has_used_its_part_of_the_hour_goes_last(
    autojump_clock: MockClock,
) -> None:
    pacer, done = Pacer(APIBudget(1000)), []
    pacer.budget.update(left=100, limit=100, resets_at=3000.0)

    async def spend_for(repository: str, since: float) -> None:
        await spend(pacer, Turn(START, since, repository), 1)
        done.append((repository, trio.current_time()))

    async with trio.open_nursery() as nursery:
        await spend_for("calm", 0.0)
        for number in range(90):
            nursery.start_soon(spend_for, "flood", float(number))
        await trio.sleep(61)
        assert pacer.is_waiting(START, "flood")
        del done[:]
        nursery.start_soon(spend_for, "calm", 1000.0)
        await trio.sleep(1)
        assert done == [("calm", 61.0)]
        nursery.cancel_scope.cancel()


async def test_a_cancelled_request_spends_nothing_and_lets_the_next_one_go(
    autojump_clock: MockClock,
) -> None:
    pacer, done = Pacer(APIBudget(5)), []
    await spend(pacer, Turn(PEOPLE), 5)

    async def next_one() -> None:
        await spend(pacer, Turn(PEOPLE), 5)
        done.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1) as scope:
            nursery.start_soon(next_one)
            await trio.testing.wait_all_tasks_blocked()
            await spend(pacer, Turn(PEOPLE), 5)
        assert scope.cancelled_caught
    await spend(pacer, Turn(PEOPLE), 5)
    assert done == [60.0]
    assert trio.current_time() == 120


async def test_the_longest_requested_waiting_time_counts(autojump_clock: MockClock) -> None:
    pacer = Pacer()
    await pacer.close(30)
    await pacer.close(5)
    assert pacer.closed_for(Turn(PEOPLE)) == 30
    await spend(pacer, Turn(PEOPLE), 1)
    assert trio.current_time() == 30
    assert pacer.closed_for(Turn(PEOPLE)) == 0


async def test_githubs_headers_determine_the_rest_of_the_hour(autojump_clock: MockClock) -> None:
    pacer = Pacer()
    headers = {
        "x-ratelimit-limit": "5000",
        "x-ratelimit-remaining": "200",
        "x-ratelimit-reset": "99999999999",  # a clock that is wrong
    }
    pacer.update(headers)
    assert pacer.closed_for(Turn(PEOPLE)) == 0
    assert pacer.closed_for(Turn(START)) == 3700
