"""The delivery queue: fair between repositories, first in, first out, and in order for each head."""

from __future__ import annotations

import math

from bassloop.deliveries.queue import DeliveryQueue, QueuedDelivery

A1, A2, A3 = QueuedDelivery("a1", "a"), QueuedDelivery("a2", "a"), QueuedDelivery("a3", "a")
B1, FREE = QueuedDelivery("b1", "b"), QueuedDelivery("free")


def queue_of(*all: QueuedDelivery) -> DeliveryQueue:
    made = DeliveryQueue()
    for delivery in all:
        made.add(delivery)
    return made


def taken(queue: DeliveryQueue, now: float = 0.0) -> list[str]:
    found = []
    while (delivery := queue.take(now)) is not None:
        found.append(delivery.guid)
    return found


def test_deliveries_of_one_head_wait_for_the_first() -> None:
    queue = queue_of(A1, A2, B1, FREE, A3)
    assert len(queue) == 5
    assert taken(queue) == ["a1", "b1", "free"]
    queue.unblock_next(A1)
    assert taken(queue) == ["a2"]
    queue.unblock_next(A2)
    queue.unblock_next(A2)
    assert taken(queue) == ["a3"]
    queue.unblock_next(A3)
    queue.add(A1)
    assert taken(queue) == ["a1"]


def test_a_delivery_that_is_retried_later_keeps_its_position() -> None:
    queue = queue_of(A1, A2)
    assert taken(queue) == ["a1"]
    queue.add(A1, 10.0)
    assert taken(queue, 9.9) == []
    assert queue.next_time() == 10.0
    assert taken(queue, 10.0) == ["a1"]
    assert queue.next_time() == math.inf
    queue.unblock_next(A1)
    assert taken(queue) == ["a2"]


def test_a_delivery_that_let_others_go_first_comes_after_them() -> None:
    queue = queue_of(A1, A2)
    assert taken(queue) == ["a1"]
    queue.unblock_next(A1)
    queue.add(A1, 10.0)
    assert taken(queue, 20.0) == ["a2"]
    queue.unblock_next(A2)
    assert taken(queue) == ["a1"]


def test_a_cleared_queue_is_empty() -> None:
    queue = queue_of(A1, A2, FREE)
    queue.add(B1, 5.0)
    queue.clear()
    assert len(queue) == 0
    assert taken(queue, 10.0) == []


def test_repositories_take_turns_so_that_a_burst_in_one_does_not_delay_others() -> None:
    burst = [QueuedDelivery(f"bot{n}", None, "acme/bot") for n in range(3)]
    queue = queue_of(*burst, QueuedDelivery("web", None, "acme/web"), FREE)
    assert queue.waiting() == {"acme/bot": 3, "acme/web": 1, None: 1}
    assert taken(queue) == ["bot0", "web", "free", "bot1", "bot2"]
    assert queue.waiting() == {}


def test_deliveries_of_a_rate_limited_installation_wait_and_others_proceed() -> None:
    queue = queue_of(
        QueuedDelivery("a", None, "one/a", 1),
        QueuedDelivery("b", None, "two/b", 2),
        QueuedDelivery("c", None, "one/a", 1),
    )
    first = queue.take(0.0, lambda installation, _: installation != 1)
    assert first is not None
    assert first.guid == "b"
    assert queue.take(0.0, lambda installation, _: installation != 1) is None
    assert taken(queue) == ["a", "c"]


def test_postponed_deliveries_are_resumed_oldest_first_and_in_order_for_each_head() -> None:
    old = [QueuedDelivery(f"old{at}", f"head{at}", "r", received_at=float(at)) for at in range(3)]
    following = QueuedDelivery("following", "head0", "r", received_at=5.0)
    new = QueuedDelivery("new", "new", "r", received_at=9.0)
    queue = DeliveryQueue()
    for delivery, due in zip(old, (300.0, 100.0, 200.0), strict=True):
        queue.add(delivery, due)
    queue.add(new)
    queue.add(following)
    queue.end_delays()
    assert queue.next_time() == math.inf
    assert taken(queue) == ["old0", "old1", "old2", "new"]
    queue.unblock_next(old[0])
    assert taken(queue) == ["following"]
