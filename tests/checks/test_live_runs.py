"""A live run wakes its followers, and holds nothing for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.testing import wait_all_tasks_blocked

from bassloop.checks.live_runs import LiveRuns
from bassloop.terminal import Terminal

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_a_follower_returns_at_once_the_first_time_and_then_waits_for_a_change() -> None:
    live_runs = LiveRuns()
    async with live_runs.follow("run") as following:
        await following.changed()
        with trio.move_on_after(0) as scope:
            await following.changed()
        assert scope.cancelled_caught


async def test_changes_that_come_while_a_follower_is_busy_are_one_change() -> None:
    live_runs = LiveRuns()
    woken = 0

    async def follow() -> None:
        nonlocal woken
        async with live_runs.follow("run") as following:
            while True:
                await following.changed()
                woken += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await wait_all_tasks_blocked()
        for _ in range(100):
            live_runs.publish("run")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert woken == 2


async def test_a_cancelled_wait_loses_no_change(autojump_clock: MockClock) -> None:
    live_runs = LiveRuns()
    async with live_runs.follow("run") as following:
        await following.changed()
        with trio.move_on_after(0):
            await following.changed()
        live_runs.publish("run")
        with trio.fail_after(1):
            await following.changed()


async def test_notifications_of_other_nodes_wake_followers(autojump_clock: MockClock) -> None:
    live_runs = LiveRuns()
    async with live_runs.follow("run") as following, live_runs.follow(None) as everything:
        for said, heard in (
            ("run", (following, everything)),
            (None, (following, everything)),
            ("another", (everything,)),
        ):
            for each in (following, everything):
                with trio.move_on_after(0):
                    await each.changed()
            live_runs.apply_notification(said)
            for each in heard:
                with trio.fail_after(1):
                    await each.changed()


async def test_a_follower_of_all_runs_is_notified_of_each(autojump_clock: MockClock) -> None:
    live_runs = LiveRuns()
    async with live_runs.follow(None) as following:
        await following.changed()
        live_runs.publish("some run")
        with trio.fail_after(1):
            await following.changed()


async def test_a_run_that_nobody_follows_costs_nothing() -> None:
    live_runs = LiveRuns()
    async with live_runs.follow("run"), live_runs.follow("run"):
        assert live_runs.statistics()["followers"] == 2
        assert repr(live_runs) == "<LiveRuns: 2 following 1 runs>"
    live_runs.publish("run")
    assert live_runs.statistics() == {"runs_followed": 0, "followers": 0, "live_screens": 0}


def test_a_screen_is_visible_until_it_is_withdrawn() -> None:
    live_runs, terminal = LiveRuns(), Terminal(rows=3)
    terminal.settle(b"one\ntwo\n\n50 %")
    live_runs.lend_screen(7, terminal)
    assert live_runs.screen(7) == [b"two", b"", b"50 %"]
    live_runs.lend_screen(7, None)
    assert live_runs.screen(7) == []


def test_complete_lines_of_a_screen_are_numbered() -> None:
    live_runs, terminal = LiveRuns(), Terminal(rows=3)
    assert live_runs.whole_lines(7) == (0, [])
    live_runs.lend_screen(7, terminal)
    terminal.settle(b"one\ntwo\n")
    assert live_runs.whole_lines(7) == (0, [b"one", b"two"])
    terminal.settle(b"\n50 %")
    assert live_runs.whole_lines(7) == (1, [b"two", b""])
    assert live_runs.whole_lines(7, ended=True) == (1, [b"two", b"", b"50 %"])
