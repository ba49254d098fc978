"""Deliveries: stored before they are answered, handled once, in order, a bounded number at once."""

from __future__ import annotations

import json
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel
from trio.testing import wait_all_tasks_blocked

from bassloop.deliveries.inbox import Handle, Inbox, Outcome, Slot
from bassloop.deliveries.scheduling import LONGEST_DELAY, MAX_CRASHES
from bassloop.github import GitHubError, RateLimited, sign
from bassloop.lifecycle import DeliveryState
from bassloop.store import Delivery, Recorded, Store, StoreError, open_store
from tests.github.made import check_suite
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

SECRET = b"secret"


def headers(body: bytes, guid: str, **more: str) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "x-github-event": "check_suite",
        "x-github-delivery": guid,
        "x-hub-signature-256": sign(SECRET, body),
        **more,
    }


def body(sha: str = "a" * 40) -> bytes:
    return json.dumps(check_suite(head_sha=sha)).encode()


@asynccontextmanager
async def inbox(
    tmp_path: Path, handle: Handle, **options: Any
) -> AsyncGenerator[tuple[Inbox, Store]]:
    async with open_store(tmp_path / "loop.db", tmp_path / "blobs") as store:
        box = Inbox(store, handle, SECRET, **options)
        async with trio.open_nursery() as nursery:
            await nursery.start(box.run)
            yield box, store
            nursery.cancel_scope.cancel()


@pytest.fixture
def jumping_clock(autojump_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    """A clock that jumps ahead when nothing has happened for longer than the store's thread needs for a write."""
    autojump_clock.autojump_threshold = 1.0
    return autojump_clock


async def done(delivery: Delivery, slot: Slot) -> Outcome:
    return Outcome("done")


async def test_a_delivery_is_on_disk_before_it_is_accepted(tmp_path: Path) -> None:
    handled = trio.Event()

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        handled.set()
        return Outcome("done", "a note")

    async with inbox(tmp_path, handle) as (box, store):
        answer = await box.accept(headers(body(), "g1"), body())
        assert answer.status == 202
        assert (await store.deliveries.get("g1")) is not None
        finished = await box.finished("g1")
        assert (finished.state, finished.error) == ("done", "a note")
        assert handled.is_set()


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"x-github-event": ""}, 400),
        ({"x-github-event": "Not An Event"}, 400),
        ({"x-github-delivery": "../../x"}, 400),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"x-hub-signature-256": ""}, 401),
        ({"x-hub-signature-256": sign(b"another", body())}, 403),
    ],
)
async def test_requests_that_are_not_signed_deliveries_are_refused(
    tmp_path: Path, changed: dict[str, str], status: int
) -> None:
    async with inbox(tmp_path, done) as (box, store):
        answer = await box.accept(headers(body(), "g1", **changed), body())
        assert answer.status == status
        assert await store.deliveries.newest() == []


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff", b"[" * 100_000, b'{"sender": 1}'])
async def test_a_signed_body_that_can_not_be_read_is_answered_with_the_reason(
    tmp_path: Path, text: bytes
) -> None:
    async with inbox(tmp_path, done) as (box, _):
        answer = await box.accept(headers(text, "g1"), text)
        assert answer.status == 400
        assert "can't be read" in answer.message


async def test_a_loop_without_a_secret_takes_no_deliveries(tmp_path: Path) -> None:
    async with open_store(tmp_path / "loop.db", tmp_path / "blobs") as store:
        box = Inbox(store, done, None)
        answer = await box.accept(headers(body(), "g1"), body())
        assert answer.status == 503
        assert "GITHUB_APP_WEBHOOK_SECRET" in answer.message


async def test_the_same_delivery_is_handled_once(tmp_path: Path) -> None:
    handled: list[str] = []

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        handled.append(delivery.guid)
        return Outcome("done")

    async with inbox(tmp_path, handle) as (box, _):
        for _ in range(3):
            assert (await box.accept(headers(body(), "g1"), body())).status == 202
            await box.finished("g1")
    assert handled == ["g1"]


async def test_a_delivery_is_handled_even_if_its_sender_hangs_up_while_it_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inbox(tmp_path, done) as (box, store):
        record, stored = store.deliveries.record, trio.Event()

        async def slow_record(*args: Any, **kwargs: Any) -> bool:
            new = await record(*args, **kwargs)
            stored.set()
            await trio.lowlevel.checkpoint()
            return new

        monkeypatch.setattr(store.deliveries, "record", slow_record)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.accept, headers(body(), "g1"), body())
            await stored.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(200):
            assert (await box.finished("g1")).state == "done"


async def test_a_delivery_that_is_stored_while_the_inbox_starts_is_handled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled, going, committed, resumed = list[str](), trio.Event(), trio.Event(), trio.Event()

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        handled.append(delivery.guid)
        await going.wait()
        return Outcome("done")

    async with open_store(tmp_path / "loop.db", tmp_path / "blobs") as store:
        record = store.deliveries.record

        async def slow_record(*args: Any, **kwargs: Any) -> Recorded:
            new = await record(*args, **kwargs)
            committed.set()
            await resumed.wait()
            return new

        monkeypatch.setattr(store.deliveries, "record", slow_record)
        box = Inbox(store, handle, SECRET)
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(box.accept, headers(body(), "g1"), body())
                await committed.wait()
                await nursery.start(box.run)  # it finds the delivery in the store
                await until(lambda: handled)
                resumed.set()
            await wait_all_tasks_blocked(0.01)
            assert box.statistics() == {"handling": 1, "waiting": 0}
            going.set()
            assert (await box.finished("g1")).state == "done"
            await until(lambda: box.statistics() == {"handling": 0, "waiting": 0})
            nursery.cancel_scope.cancel()
    assert handled == ["g1"]


async def test_a_delivery_is_handled_again_if_that_is_requested_while_its_handling_ends(
    tmp_path: Path,
) -> None:
    handled = 0

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        nonlocal handled
        handled += 1
        if handled == 1:
            raise RuntimeError("the first time")
        return Outcome("done")

    async def replay(delivery: Delivery, why: str) -> None:
        assert await box.replay(delivery.guid)

    async with inbox(tmp_path, handle, attempts=1, on_set_aside=replay) as (box, store):
        await box.accept(headers(body(), "g1"), body())

        async def is_done() -> bool:
            delivery = await store.deliveries.get("g1")
            return delivery is not None and delivery.state == "done"

        while not await is_done():
            await box.finished("g1")
    assert handled == 2


async def test_a_delivery_that_was_stored_too_late_for_its_sender_is_queued_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inbox(tmp_path, done) as (box, store):
        record = store.deliveries.record

        async def slow_record(*args: Any, **kwargs: Any) -> Recorded:
            await record(*args, **kwargs)
            with trio.move_on_after(0):
                await trio.sleep_forever()
            raise StoreError("the database took longer than 60 s")

        monkeypatch.setattr(store.deliveries, "record", slow_record)
        assert (await box.accept(headers(body(), "g1"), body())).status == 503
        await wait_all_tasks_blocked(0.01)
        assert box.statistics() == {"handling": 0, "waiting": 0}
        await box.queue_stored_late()
        assert (await box.finished("g1")).state == "done"
        await box.queue_stored_late()
        assert box.statistics() == {"handling": 0, "waiting": 0}


async def test_an_error_while_the_checks_of_one_delivery_are_ended_affects_no_other(
    tmp_path: Path,
) -> None:
    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        if delivery.guid == "g1":
            raise RuntimeError("it can't be handled")
        return Outcome("done")

    async def fail(delivery: Delivery, why: str) -> None:
        raise RuntimeError("its checks can't be ended")

    async with inbox(tmp_path, handle, attempts=1, on_set_aside=fail) as (box, _):
        for guid, sha, state in (("g1", "a" * 40, "set_aside"), ("g2", "b" * 40, "done")):
            await box.accept(headers(body(sha), guid), body(sha))
            assert (await box.finished(guid)).state == state


async def test_several_can_wait_for_the_end_of_a_delivery(tmp_path: Path) -> None:
    ended = list[str]()

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        await going.wait()
        return Outcome("done")

    async def wait() -> None:
        ended.append((await box.finished("g1")).state)

    going = trio.Event()
    async with inbox(tmp_path, handle) as (box, _):
        await box.accept(headers(body(), "g1"), body())
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait)
            await wait_all_tasks_blocked(0.01)
            going.set()
        await wait()
    assert ended == ["done"] * 4


async def test_a_delivery_that_was_changed_from_outside_affects_no_other(tmp_path: Path) -> None:
    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        if delivery.guid == "g1":
            await store.deliveries.set_state("g1", DeliveryState.DONE)
        return Outcome("done")

    async with inbox(tmp_path, handle) as (box, store):
        for guid, sha in (("g1", "a" * 40), ("g2", "b" * 40)):
            await box.accept(headers(body(sha), guid), body(sha))
            assert (await box.finished(guid)).state == "done"


async def test_deliveries_about_the_same_head_keep_their_order(tmp_path: Path) -> None:
    going, order = trio.Event(), []

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        order.append(f"{delivery.guid} begins")
        if delivery.guid == "first":
            await going.wait()
        order.append(f"{delivery.guid} ends")
        return Outcome("done")

    async with inbox(tmp_path, handle) as (box, _):
        await box.accept(headers(body(), "first"), body())
        await box.accept(headers(body(), "second"), body())
        other = body("b" * 40)
        await box.accept(headers(other, "other"), other)
        await box.finished("other")
        assert "second begins" not in order
        going.set()
        await box.finished("second")
    assert order.index("first ends") < order.index("second begins")
    assert order.index("other ends") < order.index("first ends")


async def test_a_bounded_number_of_deliveries_is_handled_at_the_same_time(tmp_path: Path) -> None:
    going, begun = trio.Event(), list[str]()

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        begun.append(delivery.guid)
        await going.wait()
        return Outcome("done")

    async with inbox(tmp_path, handle, at_once=2) as (box, _):
        for number in range(5):
            text = body(f"{number:040x}")
            await box.accept(headers(text, f"g{number}"), text)
        await until(lambda: len(begun) == 2)
        await wait_all_tasks_blocked(0.01)
        assert box.statistics() == {"handling": 2, "waiting": 3}
        assert repr(box) == "<Inbox: 2 handled, 3 waiting>"
        going.set()
        for number in range(5):
            assert (await box.finished(f"g{number}")).state == "done"


class Slow(trio.abc.Instrument):
    """Makes each step of each task last 20 ms by the loop's clock."""

    def __init__(self, clock: trio.testing.MockClock) -> None:
        self.clock = clock

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.clock.jump(0.02)


async def test_fewer_deliveries_are_handled_at_the_same_time_while_the_event_loop_is_busy(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    going, begun = trio.Event(), list[str]()

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        begun.append(delivery.guid)
        await going.wait()
        return Outcome("done")

    async def accept(box: Inbox, guid: str) -> None:
        text = body(f"{int(guid):040x}")
        await box.accept(headers(text, guid), text)

    async with inbox(tmp_path, handle, at_once=64) as (box, _):
        slow = Slow(mock_clock)
        trio.lowlevel.add_instrument(slow)
        for number in range(10):
            await accept(box, f"{number}")
        trio.lowlevel.remove_instrument(slow)
        # the limit is halved for each that waits for its turn, and the rest wait until it has grown again
        for number in range(10, 40):
            await accept(box, f"{number}")
        await until(lambda: len(begun) == box.statistics()["handling"])
        assert 4 <= len(begun) < 40
        mock_clock.jump(60.0)
        await until(lambda: len(begun) == 40)
        going.set()
        for number in range(40):
            await box.finished(f"{number}")


async def test_a_delivery_that_fails_is_tried_again_and_then_set_aside(
    tmp_path: Path, jumping_clock: trio.testing.MockClock
) -> None:
    tries = 0

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        nonlocal tries
        tries += 1
        raise ConnectionError("GitHub is on fire")

    async with inbox(tmp_path, handle, attempts=3) as (box, _):
        await box.accept(headers(body(), "g1"), body())
        finished = await box.finished("g1")
        assert finished.state == "set_aside"
        assert finished.attempts == 3
        assert tries == 3


async def test_unfinished_deliveries_are_resumed_at_the_next_start(tmp_path: Path) -> None:
    began = trio.Event()

    async def never(delivery: Delivery, slot: Slot) -> Outcome:
        began.set()
        await trio.sleep_forever()
        raise AssertionError

    async with inbox(tmp_path, never) as (box, _):
        await box.accept(headers(body(), "g1"), body())
        await began.wait()
    async with inbox(tmp_path, done) as (box, _):
        assert (await box.finished("g1")).state == "done"


async def test_a_closed_inbox_ends_its_deliveries_and_accepts_no_more(tmp_path: Path) -> None:
    began, going = trio.Event(), trio.Event()

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        began.set()
        await going.wait()
        return Outcome("done")

    async with open_store(tmp_path / "loop.db", tmp_path / "blobs") as store:
        box = Inbox(store, handle, SECRET)
        async with trio.open_nursery() as nursery:
            await nursery.start(box.run)
            await box.accept(headers(body(), "g1"), body())
            await began.wait()
            box.drain()
            assert (await box.accept(headers(body(), "g2"), body())).status == 503
            going.set()
        delivery = await store.deliveries.get("g1")
        assert delivery is not None
        assert delivery.state == "done"


async def test_a_delivery_that_meets_a_rate_limit_is_postponed_without_counting_and_keeps_its_position(
    tmp_path: Path, jumping_clock: trio.testing.MockClock
) -> None:
    order: list[str] = []

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        order.append(delivery.guid)
        if delivery.guid == "g1" and len(order) <= 7:
            raise RateLimited("enough", 429, 100.0)
        return Outcome("done")

    async with inbox(tmp_path, handle, attempts=3) as (box, _):
        await box.accept(headers(body(), "g1"), body())
        await box.accept(headers(body(), "g2"), body())
        began = trio.current_time()
        await box.finished("g2")
        finished = await box.finished("g1")
        assert (finished.state, finished.attempts, finished.failures) == ("done", 1, 0)
        assert finished.postponed == 7
        assert trio.current_time() - began >= 700
        assert order == ["g1"] * 8 + ["g2"]


async def test_postponed_deliveries_are_tried_at_once_after_an_outage(
    tmp_path: Path, jumping_clock: trio.testing.MockClock
) -> None:
    works = False

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        if not works:
            raise GitHubError("GitHub answered 503", 503, uncertain=True)
        return Outcome("done")

    async with inbox(tmp_path, handle) as (box, _):
        await box.accept(headers(body(), "g1"), body())
        await trio.sleep(1800)
        works = True
        jumping_clock.autojump_threshold = (
            math.inf
        )  # so that no time passes until another attempt is due
        box.retry_now()
        assert (await box.finished("g1")).state == "done"


async def test_a_delivery_that_is_postponed_for_a_day_is_tried_again_after_two_hours(
    tmp_path: Path, jumping_clock: trio.testing.MockClock
) -> None:
    """The wall clock may have been set back since."""
    tries = list[float]()

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        tries.append(trio.current_time())
        if len(tries) == 1:
            raise RateLimited("enough", 429, 86_400.0)
        return Outcome("done")

    async with inbox(tmp_path, handle) as (box, _):
        await box.accept(headers(body(), "g1"), body())
        assert (await box.finished("g1")).state == "done"
    first, second = tries
    assert second - first >= LONGEST_DELAY


async def test_a_postponed_delivery_does_not_delay_others(tmp_path: Path) -> None:
    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        if delivery.guid == "limited":
            raise RateLimited("enough", 429, 1000.0)
        return Outcome("done")

    async with inbox(tmp_path, handle, at_once=1) as (box, store):
        await box.accept(headers(body(), "limited"), body())
        other = body("b" * 40)
        await box.accept(headers(other, "other"), other)
        assert (await box.finished("other")).state == "done"
        limited = await store.deliveries.get("limited")
        assert limited is not None
        assert (limited.state, limited.error) == ("received", "RateLimited: enough")
        assert limited.not_before is not None


async def test_a_postponed_delivery_waits_for_the_rest_of_its_time_after_a_restart(
    tmp_path: Path, jumping_clock: trio.testing.MockClock
) -> None:
    async def limited(delivery: Delivery, slot: Slot) -> Outcome:
        raise RateLimited("enough", 429, 1000.0)

    async with inbox(tmp_path, limited) as (box, store):
        await box.accept(headers(body(), "g1"), body())
        while (found := await store.deliveries.get("g1")) is None or not found.postponed:
            await trio.lowlevel.checkpoint()
    began = trio.current_time()
    async with inbox(tmp_path, done) as (box, _):
        assert (await box.finished("g1")).state == "done"
        assert trio.current_time() - began > 900


async def test_a_delivery_that_waits_for_a_runner_lets_others_begin_but_not_those_of_its_head(
    tmp_path: Path,
) -> None:
    rested, going, order = trio.Event(), trio.Event(), []

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        order.append(delivery.guid)
        if delivery.guid == "first":
            slot.free()
            rested.set()
            await going.wait()
            slot.unblock_head()
            await trio.sleep_forever()
        return Outcome("done")

    async with inbox(tmp_path, handle, at_once=1) as (box, _):
        await box.accept(headers(body(), "first"), body())
        await box.accept(headers(body(), "second"), body())
        await rested.wait()
        other = body("b" * 40)
        await box.accept(headers(other, "other"), other)
        await box.finished("other")
        assert order == ["first", "other"]
        going.set()
        await box.finished("second")


async def test_a_shutdown_does_not_count_as_an_attempt_and_a_crash_only_if_a_hook_was_being_evaluated(
    tmp_path: Path,
) -> None:
    began = trio.Event()

    async def never(delivery: Delivery, slot: Slot) -> Outcome:
        began.set()
        await trio.sleep_forever()
        raise AssertionError

    async with inbox(tmp_path, never) as (box, _):
        await box.accept(headers(body(), "g1"), body())
        await began.wait()
    async with open_store(tmp_path / "loop.db", tmp_path / "blobs") as store:
        delivery = await store.deliveries.get("g1")
        assert delivery is not None
        assert (delivery.state, delivery.attempts) == ("received", 0)
        for _ in range(3 * MAX_CRASHES):
            await store.deliveries.set_state("g1", "handling")
    began = trio.Event()
    async with inbox(tmp_path, never):
        await began.wait()  # however often the loop ended while it only waited
    async with open_store(tmp_path / "loop.db", tmp_path / "blobs") as store:
        for _ in range(MAX_CRASHES):
            await store.deliveries.begin_evaluation("g1")
    async with inbox(tmp_path, never) as (box, _):
        finished = await box.finished("g1")
        assert finished.state == "set_aside"
        assert "ended 10 times while it evaluated" in (finished.error or "")
        assert await box.replay("g1")
        again = await box.store.deliveries.get("g1")
        assert again is not None
        assert again.evaluations == 0


async def test_a_replay_handles_only_deliveries_that_were_set_aside(tmp_path: Path) -> None:
    broken = True

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        if broken:
            raise ValueError("no")
        return Outcome("done")

    async with inbox(tmp_path, handle, attempts=1) as (box, _):
        await box.accept(headers(body(), "g1"), body())
        assert (await box.finished("g1")).error == "ValueError: no"
        broken = False
        assert await box.replay("g1")
        assert (await box.finished("g1")).state == "done"
        assert not await box.replay("g1")
        assert not await box.replay("unknown")


async def test_a_delivery_that_is_skipped_while_it_waits_is_not_handled(tmp_path: Path) -> None:
    handled: list[str] = []
    going_on = trio.Event()

    async def handle(delivery: Delivery, slot: Slot) -> Outcome:
        handled.append(delivery.guid)
        await going_on.wait()
        return Outcome("done")

    async with inbox(tmp_path, handle, at_once=1) as (box, store):
        for guid in ("first", "skipped", "last"):
            await box.accept(headers(body(), guid), body())
        await trio.testing.wait_all_tasks_blocked()
        assert await store.deliveries.skip(("skipped",)) == ["skipped"]
        going_on.set()
        assert (await box.finished("last")).state == "done"
        assert (await box.finished("skipped")).state == "ignored"
    assert handled == ["first", "last"]
