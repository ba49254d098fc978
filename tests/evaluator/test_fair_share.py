"""Slots are shared fairly."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from bassloop.evaluator.fair_share import FairLimiter, HookSlot


async def test_one_key_gets_at_most_half_of_the_slots() -> None:
    limiter = FairLimiter(4)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(limiter.acquire, "busy")
        await trio.testing.wait_all_tasks_blocked()
        assert (limiter.held, limiter.waiting) == (2, 8)
        await limiter.acquire("quiet")
        await limiter.acquire("third")
        assert limiter.held == 4
        nursery.cancel_scope.cancel()
    assert limiter.waiting == 0


async def test_the_key_that_holds_the_fewest_is_next() -> None:
    limiter, order = FairLimiter(2), list[str]()

    async def take(key: str) -> None:
        await limiter.acquire(key)
        order.append(key)

    await take("a")
    await take("b")
    async with trio.open_nursery() as nursery:
        for key in ("a", "a", "b", "c"):
            nursery.start_soon(take, key)
            await trio.testing.wait_all_tasks_blocked()
        for released, expected in (("b", "b"), ("a", "a"), ("b", "c"), ("a", "a")):
            limiter.release(released)
            await trio.testing.wait_all_tasks_blocked()
            assert order[-1] == expected
    assert order == ["a", "b", "b", "a", "c", "a"]


async def test_a_key_gets_a_single_slot_if_there_is_only_one() -> None:
    limiter = FairLimiter(1)
    await limiter.acquire("only")
    limiter.release("only")


async def test_a_slot_is_held_by_one_task_at_a_time() -> None:
    limiter = FairLimiter(4)
    slot = HookSlot(limiter, "a")
    await slot.take()
    await slot.take()
    assert limiter.held == 1
    slot.release()
    slot.release()
    assert limiter.held == 0


async def test_a_cancelled_task_holds_no_slot() -> None:
    limiter = FairLimiter(1)
    await limiter.acquire("a")
    with trio.move_on_after(0):
        await limiter.acquire("b")
    assert (limiter.held, limiter.waiting) == (1, 0)
    limiter.release("a")
    with pytest.raises(AssertionError):
        limiter.release("a")


@settings(max_examples=60)
@given(
    st.integers(1, 6), st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3)), max_size=40)
)
def test_slots_are_never_lost_nor_given_twice(capacity: int, work: list[tuple[str, int]]) -> None:
    async def main() -> None:
        limiter, held = FairLimiter(capacity), list[str]()

        async def use(key: str, rounds: int) -> None:
            with trio.move_on_after(2 if rounds else 0.5):
                await limiter.acquire(key)
                held.append(key)
                try:
                    assert len(held) <= capacity
                    assert held.count(key) <= limiter.per_key
                    await trio.sleep(rounds)
                finally:
                    held.remove(key)
                    limiter.release(key)

        async with trio.open_nursery() as nursery:
            for key, rounds in work:
                nursery.start_soon(use, key, rounds)
        assert (limiter.held, limiter.waiting) == (0, 0)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
