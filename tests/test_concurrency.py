"""The promises of `bassloop.concurrency`, under cancellation too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from bassloop.concurrency import (
    AutoResetEvent,
    Backoff,
    KeyedLock,
    SharedCalls,
    TokenBucket,
    TTLCache,
    deferred_cancellation,
    open_flat_nursery,
    outlasting_scope,
    retry,
    shielded,
)

if TYPE_CHECKING:
    import random


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Clock:
    """A clock that is moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


async def _fail(error: BaseException) -> None:
    raise error


class TestFlatNursery:
    async def test_the_error_of_one_task_comes_out_as_itself(self) -> None:
        error = ValueError("x")
        with pytest.raises(ValueError, match="x") as caught:  # noqa: PT012
            async with open_flat_nursery() as nursery:
                nursery.start_soon(_fail, error)
                nursery.start_soon(trio.sleep_forever)
        assert caught.value is error
        assert error.__context__ is None

    async def test_the_error_of_the_body_comes_out_as_itself_and_keeps_its_cause(self) -> None:
        with pytest.raises(ValueError, match="x") as caught:  # noqa: PT012
            async with open_flat_nursery():
                try:
                    raise KeyError("why")
                except KeyError as why:
                    raise ValueError("x") from why
        assert isinstance(caught.value.__cause__, KeyError)

    async def test_one_error_in_nested_nurseries_comes_out_as_itself(self) -> None:
        with pytest.raises(ValueError, match="x"):
            async with open_flat_nursery(), trio.open_nursery(), trio.open_nursery() as nursery:
                nursery.start_soon(_fail, ValueError("x"))

    async def test_several_errors_stay_a_group(self) -> None:
        with pytest.RaisesGroup(ValueError, KeyError):
            async with open_flat_nursery() as nursery:
                nursery.start_soon(_fail, ValueError())
                nursery.start_soon(_fail, KeyError())

    async def test_an_error_wins_over_the_cancelled_of_its_siblings(self) -> None:
        async def fail_late() -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            raise ValueError("x")

        with pytest.raises(ValueError, match="x"), trio.CancelScope() as scope:  # noqa: PT012
            async with open_flat_nursery() as nursery:
                nursery.start_soon(fail_late)
                nursery.start_soon(trio.sleep_forever)
                scope.cancel()

    async def test_cancelled_alone_reaches_the_scope_that_cancelled(self) -> None:
        with trio.CancelScope() as scope:
            async with open_flat_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(trio.sleep_forever)
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught

    async def test_its_own_scope_can_be_cancelled(self) -> None:
        async with open_flat_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.cancel_scope.cancel()
        assert nursery.cancel_scope.cancelled_caught

    async def test_a_keyboard_interrupt_comes_out_as_itself(self) -> None:
        with pytest.raises(KeyboardInterrupt):
            async with open_flat_nursery() as nursery:
                nursery.start_soon(_fail, KeyboardInterrupt())


class TestShielded:
    async def test_a_cancelled_caller_finishes_its_body(self, autojump_clock: object) -> None:
        finished = False
        with trio.CancelScope() as scope:
            scope.cancel()
            with shielded(5):
                await trio.sleep(4)
                finished = True
        assert finished

    async def test_it_has_an_end(self, autojump_clock: object) -> None:
        began = trio.current_time()
        with trio.CancelScope() as scope:
            scope.cancel()
            with shielded(5) as shield:
                await trio.sleep_forever()
        assert shield.cancelled_caught
        assert trio.current_time() - began == pytest.approx(5)


class TestDeferredCancellation:
    async def test_a_cancelled_caller_finishes_its_body(self, autojump_clock: object) -> None:
        finished = False
        with trio.CancelScope() as scope:
            scope.cancel()
            async with deferred_cancellation(5):
                await trio.sleep(4)
                finished = True
        assert finished

    async def test_a_cancelled_caller_waits_no_longer_than_that(
        self, autojump_clock: object
    ) -> None:
        began = trio.current_time()
        with trio.move_on_after(3) as scope:
            async with deferred_cancellation(5):
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() - began == pytest.approx(5)

    async def test_a_caller_that_is_not_cancelled_takes_as_long_as_it_likes(
        self, autojump_clock: object
    ) -> None:
        began = trio.current_time()
        async with deferred_cancellation(5):
            await trio.sleep(100)
        assert trio.current_time() - began == pytest.approx(100)

    async def test_the_error_of_the_body_comes_out_as_itself(self) -> None:
        with pytest.raises(ValueError, match="x"):
            async with deferred_cancellation(5):
                raise ValueError("x")


class TestOutlastingScope:
    @staticmethod
    async def ended_after(cancelled: float, cleanup: float, limit: float) -> float:
        """Return when a task in the scope ended whose caller was cancelled and took some time to clean up."""
        began, ended = trio.current_time(), [0.0]

        async def serve(scope: trio.CancelScope) -> None:
            with scope:
                await trio.sleep_forever()
            ended[0] = trio.current_time() - began

        with trio.move_on_after(cancelled):
            async with outlasting_scope(limit) as scope, trio.open_nursery() as nursery:
                nursery.start_soon(serve, scope)
                try:
                    await trio.sleep_forever()
                finally:
                    with shielded(cleanup):
                        await trio.sleep_forever()
                    scope.cancel()
        return ended[0]

    async def test_a_task_outlasts_its_cancelled_caller_s_cleanup(
        self, autojump_clock: object
    ) -> None:
        assert await self.ended_after(100, 4, 10) == pytest.approx(104)

    async def test_a_task_ends_at_the_limit_though_the_cleanup_takes_longer(
        self, autojump_clock: object
    ) -> None:
        assert await self.ended_after(100, 50, 10) == pytest.approx(110)

    async def test_a_caller_that_is_not_cancelled_has_no_limit(
        self, autojump_clock: object
    ) -> None:
        with trio.fail_after(200):
            async with outlasting_scope(1) as scope:
                with scope:
                    await trio.sleep(100)
        assert not scope.cancelled_caught


class TestKeyedLock:
    async def test_one_holds_a_key_at_a_time_and_others_hold_theirs(self) -> None:
        lock, holding = KeyedLock[str](), []

        async def hold(key: str, release: trio.Event) -> None:
            async with lock.hold(key):
                holding.append(key)
                await release.wait()
                holding.remove(key)

        first, rest = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, "a", first)
            await wait_all_tasks_blocked()
            nursery.start_soon(hold, "a", rest)
            nursery.start_soon(hold, "b", rest)
            await wait_all_tasks_blocked()
            assert holding == ["a", "b"]
            first.set()
            await wait_all_tasks_blocked()
            assert sorted(holding) == ["a", "b"]
            rest.set()

    async def test_no_key_is_left_however_its_tasks_end(self) -> None:
        lock = KeyedLock[int]()

        async def hold(key: int) -> None:
            async with lock.hold(key):
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            for key in (1, 1, 1, 2):
                nursery.start_soon(hold, key)
            await wait_all_tasks_blocked()
            assert len(lock) == 2
            nursery.cancel_scope.cancel()
        assert len(lock) == 0
        with pytest.raises(ValueError, match="x"):
            async with lock.hold(3):
                raise ValueError("x")
        assert len(lock) == 0

    async def test_a_waiter_that_is_cancelled_leaves_the_key_to_its_holder(self) -> None:
        lock = KeyedLock[int]()
        async with lock.hold(1):
            with trio.move_on_after(0):
                async with lock.hold(1):
                    pytest.fail("two hold one key")
            assert len(lock) == 1
        assert len(lock) == 0


class TestAutoResetEvent:
    async def test_set_before_wait_lets_one_through(self) -> None:
        event = AutoResetEvent()
        event.set()
        event.set()
        await event.wait()
        with trio.move_on_after(0) as scope:
            await event.wait()
        assert scope.cancelled_caught

    async def test_set_wakes_one_waiter(self) -> None:
        event, woken = AutoResetEvent(), []

        async def wait(name: str) -> None:
            await event.wait()
            woken.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "a")
            await wait_all_tasks_blocked()
            nursery.start_soon(wait, "b")
            await wait_all_tasks_blocked()
            event.set()
            await wait_all_tasks_blocked()
            assert woken == ["a"]
            event.set()
        assert woken == ["a", "b"]

    async def test_a_waiter_that_is_cancelled_takes_nothing(self) -> None:
        event = AutoResetEvent()
        event.set()
        with trio.CancelScope() as scope:
            scope.cancel()
            await event.wait()
        assert scope.cancelled_caught
        with trio.fail_after(1):
            await event.wait()

    async def test_a_waiter_cancelled_as_it_is_woken_has_been_woken(self) -> None:
        event, ended = AutoResetEvent(), []

        async def wait(scope: trio.CancelScope) -> None:
            with scope:
                await event.wait()
                ended.append("woken")

        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, scope)
            await wait_all_tasks_blocked()
            event.set()
            scope.cancel()
        assert ended == ["woken"]


class TestRetry:
    def test_delays_grow_to_a_bound(self) -> None:
        backoff = Backoff(1, 10, jitter=0)
        assert [backoff.delay(failures) for failures in (1, 2, 3, 4, 5, 10_000)] == [
            1, 2, 4, 8, 10, 10,
        ]  # fmt: skip

    @given(st.integers(1, 100), st.floats(0, 1))
    def test_jitter_stays_within_its_share(self, failures: int, chance: float) -> None:
        delay = Backoff(1, 60, jitter=0.2, random=lambda: chance).delay(failures)
        middle = Backoff(1, 60, jitter=0).delay(failures)
        assert middle * 0.8 <= delay <= middle * 1.2 + 1e-9

    async def test_an_operation_is_tried_until_it_succeeds(self, autojump_clock: object) -> None:
        failures: list[Exception] = [ValueError("a"), ValueError("b")]
        waits: list[float] = []

        async def operation() -> str:
            if failures:
                raise failures.pop(0)
            return "done"

        began = trio.current_time()
        result = await retry(
            operation,
            Backoff(1, 10, jitter=0),
            retry_after=lambda error: 5.0 if str(error) == "b" else 0.0,
            on_retry=lambda _, delay: waits.append(delay),
        )
        assert result == "done"
        assert waits == [1, 5]
        assert trio.current_time() - began == pytest.approx(6)

    async def test_a_permanent_error_and_the_last_attempts_come_out(
        self, autojump_clock: object
    ) -> None:
        async def operation() -> None:
            nonlocal calls
            calls += 1
            raise ValueError("x")

        calls = 0
        with pytest.raises(ValueError, match="x"):
            await retry(operation, Backoff(1, 10), retry_after=lambda _: None)
        assert calls == 1
        with pytest.raises(ValueError, match="x"):
            await retry(operation, Backoff(1, 10), retry_after=lambda _: 0, attempts=3)
        assert calls == 4

    async def test_an_event_wakes_it_before_its_delay_is_over(self, autojump_clock: object) -> None:
        reachable = trio.Event()

        async def operation() -> str:
            if not reachable.is_set():
                raise ConnectionError
            return "done"

        async def reach() -> None:
            await trio.sleep(2)
            reachable.set()

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reach)
            result = await retry(
                operation,
                Backoff(1000, 1000, jitter=0),
                retry_after=lambda _: 0,
                wake=reachable.wait,
            )
        assert result == "done"
        assert trio.current_time() - began == pytest.approx(2)

    async def test_cancelled_it_ends_at_once(self, autojump_clock: object) -> None:
        async def operation() -> None:
            raise ValueError

        began = trio.current_time()
        with trio.move_on_after(30) as scope:
            await retry(operation, Backoff(1000, 1000, jitter=0), retry_after=lambda _: 0)
        assert scope.cancelled_caught
        assert trio.current_time() - began == pytest.approx(30)


class TestTTLCache:
    def test_values_expire(self, clock: Clock) -> None:
        cache = TTLCache[str, int](10, 60, clock=clock)
        cache.store("a", 1)
        cache.store("b", 2, seconds=5)
        clock.now += 10
        assert (cache.get("a"), cache.get("b"), cache.get("b", 0)) == (1, None, 0)
        clock.now += 50
        assert "a" not in cache
        assert cache.keys() == []

    def test_the_value_used_longest_ago_gives_way(self, clock: Clock) -> None:
        cache = TTLCache[str, int](2, clock=clock)
        cache.store("a", 1)
        cache.store("b", 2)
        cache.get("a")
        cache.store("c", 3)
        assert sorted(cache.keys()) == ["a", "c"]

    def test_sizes_are_counted(self, clock: Clock) -> None:
        cache = TTLCache[str, bytes](10, clock=clock, size_of=len)
        cache.store("a", b"12345")
        cache.store("b", b"12345")
        cache.store("c", b"1")
        assert cache.keys() == ["b", "c"]
        cache.store("b", b"12345678901")
        assert cache.keys() == ["c"]
        assert cache.current_size == 1

    def test_an_answer_that_a_forget_overtook_is_not_cached(self, clock: Clock) -> None:
        cache = TTLCache[str, int](2, clock=clock)
        before = cache.generation
        cache.forget("a")
        cache.store("a", 1, generation=before)
        assert "a" not in cache
        cache.store("a", 1, generation=cache.generation)
        assert "a" in cache
        before = cache.generation
        cache.clear()
        cache.store("a", 1, generation=before)
        assert len(cache) == 0

    def test_all_whose_keys_match_are_forgotten(self, clock: Clock) -> None:
        cache = TTLCache[int, str](9, clock=clock)
        for key in range(4):
            cache.store(key, "x")
        before = cache.generation
        cache.forget_where(lambda key: key % 2 == 1)
        cache.store(5, "late", generation=before)
        assert cache.keys() == [0, 2]

    @given(st.randoms(use_true_random=False))
    def test_it_never_holds_more_than_its_size(self, chance: random.Random) -> None:
        cache = TTLCache[int, int](20, 50, clock=(clock := Clock()), size_of=lambda value: value)
        for _ in range(200):
            cache.store(chance.randrange(10), chance.randrange(1, 25))
            clock.now += chance.randrange(10)
            assert cache.current_size <= 20


class TestTokenBucket:
    def test_so_many_at_once_and_then_so_many_a_second(self, clock: Clock) -> None:
        bucket = TokenBucket(3, 2, clock=clock)
        assert [bucket.take() for _ in range(4)] == [True, True, True, False]
        assert bucket.seconds_until() == pytest.approx(0.5)
        clock.now += 1
        assert [bucket.take() for _ in range(3)] == [True, True, False]
        clock.now += 1000
        assert bucket.tokens == 3
        assert bucket.seconds_until(3) == 0
        assert bucket.seconds_until(4) == math.inf

    def test_debts_are_paid_back_first(self, clock: Clock) -> None:
        bucket = TokenBucket(3, 2, clock=clock)
        bucket.charge(5)
        assert not bucket.take(0.1)
        assert bucket.seconds_until(0) == pytest.approx(1)
        clock.now += 1.5
        assert bucket.take()
        assert not bucket.take()

    @given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 5)), max_size=50))
    def test_never_more_than_its_capacity_and_its_rate(
        self, takes: list[tuple[float, float]]
    ) -> None:
        bucket = TokenBucket(5, 2, clock=(clock := Clock()))
        began, taken = clock.now, 0.0
        for pause, tokens in takes:
            clock.now += pause
            if bucket.take(tokens):
                taken += tokens
            assert taken <= 5 + 2 * (clock.now - began) + 1e-6


async def test_a_shared_call_is_made_once_and_everybody_gets_its_result_or_its_error() -> None:
    calls, made = SharedCalls[str, int](), []
    going = trio.Event()

    async def answer() -> int:
        made.append(1)
        await going.wait()
        if len(made) > 1:
            raise ValueError("no")
        return 42

    async def ask(into: list[object]) -> None:
        try:
            into.append(await calls.share("key", answer))
        except ValueError as error:
            into.append(str(error))

    for expected in (42, "no"):
        got: list[object] = []
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask, got)
            await wait_all_tasks_blocked()
            going.set()
        assert got == [expected] * 3
        going = trio.Event()
    assert len(made) == 2


async def test_when_the_caller_of_a_shared_call_is_cancelled_another_makes_it() -> None:
    calls, made = SharedCalls[str, int](), []
    going = trio.Event()

    async def answer() -> int:
        made.append(1)
        await going.wait()
        return 42

    async def first() -> None:
        with scope:
            await calls.share("key", answer)

    async def second() -> None:
        got.append(await calls.share("key", answer))

    scope, got = trio.CancelScope(), list[int]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await wait_all_tasks_blocked()
        nursery.start_soon(second)
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        assert len(made) == 2
        going.set()
    assert got == [42]
