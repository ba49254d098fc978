"""The one asyncio loop inside Trio, and the ways across."""

from __future__ import annotations

import asyncio

import pytest
import trio

from bassloop.bridge import call_asyncio, call_trio, hand_over, open_bridge


async def test_an_error_of_the_body_is_raised_unchanged():
    with pytest.raises(ValueError, match="as it is"):
        async with open_bridge():
            raise ValueError("as it is")


async def test_cancelling_around_the_bridge_cancels_what_is_in_it():
    with trio.CancelScope() as scope:
        async with open_bridge():
            scope.cancel()
            await call_asyncio(asyncio.sleep, 10)
    assert scope.cancelled_caught


async def test_results_and_errors_cross_in_both_directions():
    async def add(one: int, two: int) -> int:
        await trio.lowlevel.checkpoint()
        return one + two

    async def fail() -> None:
        raise LookupError("not here")

    async def from_asyncio() -> int:
        with pytest.raises(LookupError, match="not here"):
            await call_trio(fail)
        return await call_trio(add, 1, two=2)

    async with open_bridge():
        assert await call_asyncio(from_asyncio) == 3
        with pytest.raises(LookupError, match="not here"):
            await call_asyncio(fail)


async def test_cancelling_a_call_waits_until_its_asyncio_task_has_ended():
    seen = []

    async def reluctant() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            seen.append("ended")

    async with open_bridge():
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call_asyncio, reluctant)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert seen == ["ended"]


async def test_sending_waits_only_while_the_channel_is_full():
    send, receive = trio.open_memory_channel[int](2)
    waited = []

    async def produce() -> None:
        for number in range(4):
            waited.append(await hand_over(send, number))
        send.close()

    async with open_bridge(), trio.open_nursery() as nursery:
        nursery.start_soon(call_asyncio, produce)
        await trio.testing.wait_all_tasks_blocked()
        assert waited == [False, False]
        assert [number async for number in receive] == [0, 1, 2, 3]
    assert waited[2] is True


async def test_sending_without_a_receiver_is_an_error():
    send, receive = trio.open_memory_channel[int](2)
    receive.close()
    async with open_bridge():
        with pytest.raises(trio.BrokenResourceError):
            await call_asyncio(hand_over, send, 1)


async def test_cancelled_timers_are_dropped_and_others_still_fire(autojump_clock):
    came = []

    async def set_and_cancel() -> int:
        loop = asyncio.get_running_loop()
        for number in range(5):
            loop.call_later(number + 1, came.append, number)
        most = 0
        for number in range(20_000):
            loop.call_later(30, came.append, "never").cancel()
            most = max(most, len(loop._timers))
            if number % 10 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(60)
        return most

    async with open_bridge():
        assert await call_asyncio(set_and_cancel) < 2_000
    assert came == [0, 1, 2, 3, 4]
