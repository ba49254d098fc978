"""The pool: connected runtimes, and the choice among them."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio

from bassloop.bridge import open_bridge
from bassloop.runtimes import NoRuntime, Platform, Pool, RunnerWait, Runtime, RuntimeLost
from bassloop.runtimes.pool import AGAIN, TRIED_AT_ONCE
from bassloop.runtimes.runtime import SILENT_SECONDS
from bassloop.wire import bass_pb2

LINUX = Platform("linux", "amd64")
MAC = Platform("darwin", "arm64")


def runtime(name: str, *, user: int = 1, on: Platform = LINUX, priority: int = 0, at: float = 0.0):
    async def nowhere(session_factory: object) -> object:
        raise ConnectionError("nowhere")

    return Runtime(name, user, f"user{user}", on, priority, at, nowhere)


async def test_a_runtime_is_offered_while_its_registration_lasts():
    pool, mine = Pool(), runtime("a")
    async with pool.registered(mine):
        assert pool.candidates(1) == [mine]
        assert repr(pool) == "<Pool: 1 connected of 1 users, 0 calls active, 0 waiting>"
    assert pool.candidates(1) == []
    assert repr(mine) == (
        "<Runtime a: user1's runner for linux/amd64, priority 0, "
        "lost: user1's runner for linux/amd64 disconnected>"
    )


async def test_a_cancelled_registration_ends_too():
    pool = Pool()
    with trio.CancelScope() as scope:
        async with pool.registered(runtime("a")):
            scope.cancel()
            await trio.sleep_forever()
    assert pool.snapshot() == []


async def test_each_runtime_has_a_name_of_its_own():
    pool = Pool()
    async with pool.registered(runtime("a")):
        with pytest.raises(ValueError, match="a runtime a is registered already"):
            async with pool.registered(runtime("a")):
                pass
        assert len(pool.candidates(1)) == 1


@pytest.mark.parametrize(
    ("wanted", "serves"),
    [
        (None, True),
        (Platform(), True),
        (Platform("linux"), True),
        (Platform("linux", "amd64"), True),
        (Platform("", "amd64"), True),
        (Platform("linux", "arm64"), False),
        (Platform("darwin"), False),
    ],
)
def test_a_platform_serves_equal_and_less_specific_ones(wanted, serves):
    assert LINUX.serves(wanted) is serves


async def test_the_best_priority_is_first_then_the_longest_connected():
    pool = Pool()
    young, old = runtime("young", at=2.0), runtime("old", at=1.0)
    best, strange = runtime("best", priority=5, at=3.0), runtime("strange", user=2, priority=9)
    async with (
        pool.registered(young),
        pool.registered(old),
        pool.registered(best),
        pool.registered(strange),
    ):
        assert pool.candidates(1) == [best, old, young]
        assert [each.id for each in pool.snapshot()] == ["strange", "old", "young", "best"]


async def test_a_runtime_that_did_not_answer_lately_comes_after_all_others(autojump_clock):
    pool, best, other = Pool(), runtime("best", priority=5), runtime("other")
    async with pool.registered(best), pool.registered(other), open_bridge():
        with pytest.raises(RuntimeLost):
            await best.resolve(bass_pb2.ImageRef(), {})
        assert pool.candidates(1) == [other, best]
        await trio.sleep(SILENT_SECONDS)
        assert pool.candidates(1) == [best, other]


async def test_only_runtimes_of_the_user_and_platform_are_candidates():
    pool = Pool()
    async with pool.registered(runtime("a")), pool.registered(runtime("b", on=MAC)):
        assert [each.id for each in pool.candidates(1, MAC)] == ["b"]
        assert pool.candidates(2) == []


async def test_waiting_ends_as_soon_as_a_runtime_is_registered(autojump_clock):
    pool, mine = Pool(), runtime("a", on=MAC)

    async def connect_later() -> None:
        await trio.sleep(5)
        async with pool.registered(runtime("other")):
            await trio.sleep(5)
            async with pool.registered(mine):
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connect_later)
        assert await pool.wait_for(1, MAC, timeout=60) is mine
        assert trio.current_time() == 10
        nursery.cancel_scope.cancel()
    assert pool.statistics() == {
        "runtimes": 0,
        "users": 0,
        "calls": 0,
        "waiting": 0,
        "registered": 2,
    }


async def test_a_timeout_reports_the_actual_state(autojump_clock):
    pool = Pool()
    with pytest.raises(NoRuntime, match=r"^no runner is connected after 60 s$"):
        await pool.wait_for(1, LINUX, timeout=60)
    async with pool.registered(runtime("a", on=MAC)):
        with pytest.raises(
            NoRuntime, match=r"^no runner for linux/amd64 is connected, only for darwin/arm64$"
        ):
            await pool.wait_for(1, LINUX, timeout=0)


async def test_a_wait_of_zero_seconds_still_finds_a_connected_runtime():
    pool, mine = Pool(), runtime("a")
    async with pool.registered(mine):
        assert await pool.wait_for(1, LINUX, timeout=0) is mine


async def test_time_in_which_runners_cannot_connect_does_not_count_and_is_reported(autojump_clock):
    pool = Pool()

    async def tried_in_vain() -> None:
        await trio.sleep(20)
        pool.note_lookup(False)
        await trio.sleep(30)
        pool.note_lookup(False)
        await trio.sleep(10)
        pool.note_lookup(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tried_in_vain)
        with pytest.raises(
            NoRuntime,
            match=r"^no runner is connected after 60 s \(not counting 40 s in which GitHub did not say",
        ):
            await pool.wait_for(1, LINUX, timeout=60)
    assert trio.current_time() == 100


async def test_time_counts_again_once_no_runner_tries_to_connect(autojump_clock):
    pool = Pool()
    pool.note_lookup(False)
    with pytest.raises(NoRuntime, match="not counting 120 s"):
        await pool.wait_for(1, LINUX, timeout=60)
    assert trio.current_time() == 180


async def test_a_runtime_that_was_lost_is_tried_again_after_a_while(autojump_clock):
    pool, mine, wait = Pool(), runtime("a"), RunnerWait(60)
    async with pool.registered(mine):
        assert pool.first([1], LINUX, wait) is mine
        wait.note_lost(mine, 30, "it did not answer", pool)
        assert pool.first([1], LINUX, wait) is None
        assert await pool.wait_for_any(lambda: [1], LINUX, wait) is mine
        shortest, longest = (AGAIN.first * (1 + sign * AGAIN.jitter) for sign in (-1, 1))
        assert shortest <= trio.current_time() <= longest


async def test_a_runtime_that_connects_is_tried_before_the_lost_one(autojump_clock):
    pool, mine, wait = Pool(), runtime("a", priority=5), RunnerWait(60)
    async with pool.registered(mine):
        wait.note_lost(mine, 0, "it did not answer", pool)
        async with pool.registered(runtime("b")):
            assert (await pool.wait_for_any(lambda: [1], LINUX, wait)).id == "b"


async def test_attempts_at_a_runtime_that_never_answers_end_with_the_reason(autojump_clock):
    pool, mine, wait = Pool(), runtime("a"), RunnerWait(600)
    tried = 0

    async def try_for_ever() -> None:
        nonlocal tried
        while await pool.wait_for_any(lambda: [1], LINUX, wait) is mine:
            await trio.sleep(30)
            wait.note_lost(mine, 30, "it is silent", pool)
            tried += 1

    async with pool.registered(mine):
        with pytest.raises(NoRuntime, match=r"^no runner has answered after 600 s: it is silent$"):
            await try_for_ever()
    assert 599 <= trio.current_time() <= 630
    assert 8 <= tried <= 14


async def test_after_a_few_failures_the_other_runtimes_of_the_user_are_not_tried_either(
    autojump_clock,
):
    pool, wait = Pool(), RunnerWait(60)
    lost = [runtime(f"{number}") for number in range(2 * TRIED_AT_ONCE)]
    async with AsyncExitStack() as stack:
        for each in lost:
            await stack.enter_async_context(pool.registered(each))
        for _ in range(TRIED_AT_ONCE):
            found = pool.first([1], LINUX, wait)
            assert found is not None
            wait.note_lost(found, 0, "it did not answer", pool)
        assert pool.first([1], LINUX, wait) is None
        async with pool.registered(runtime("new")):
            assert pool.first([1], LINUX, wait).id == "new"


async def test_the_time_of_a_wait_that_is_cancelled_and_continued_counts(autojump_clock):
    pool, wait = Pool(), RunnerWait(60)
    for _ in range(2):
        with trio.move_on_after(25):
            await pool.wait_for_any(lambda: [1], LINUX, wait)
    began = trio.current_time()
    with pytest.raises(NoRuntime, match="after 60 s"):
        await pool.wait_for_any(lambda: [1], LINUX, wait)
    assert trio.current_time() - began == pytest.approx(10)


async def test_without_waiting_the_error_says_why_the_only_runtime_was_lost(autojump_clock):
    pool, mine, wait = Pool(), runtime("a"), RunnerWait(0)
    async with pool.registered(mine):
        wait.note_lost(mine, 1, "it did not answer", pool)
        with pytest.raises(NoRuntime, match=r"^no runner has answered: it did not answer$"):
            await pool.wait_for_any(lambda: [1], LINUX, wait)
