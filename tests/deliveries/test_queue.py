"""The line of deliveries: first come, first served, but in order for a head."""

from __future__ import annotations

import math

from bassloop.deliveries.queue import DeliveryQueue, QueuedDelivery

A1, A2, A3 = QueuedDelivery("a1", "a"), QueuedDelivery("a2", "a"), QueuedDelivery("a3", "a")
B1, FREE = QueuedDelivery("b1", "b"), QueuedDelivery("free")


def line(*all: QueuedDelivery) -> DeliveryQueue:
    made = DeliveryQueue()
    for waiting in all:
        made.add(waiting)
    return made


def taken(line: DeliveryQueue, now: float = 0.0) -> list[str]:
    found = []
    while (waiting := line.take(now)) is not None:
        found.append(waiting.guid)
    return found


def test_those_of_one_head_wait_behind_the_first() -> None:
    it = line(A1, A2, B1, FREE, A3)
    assert len(it) == 5
    assert taken(it) == ["a1", "b1", "free"]
    it.release(A1)
    assert taken(it) == ["a2"]
    it.release(A2)
    it.release(A2)
    assert taken(it) == ["a3"]
    it.release(A3)
    it.add(A1)
    assert taken(it) == ["a1"]


def test_one_that_is_to_be_tried_later_keeps_its_place() -> None:
    it = line(A1, A2)
    assert taken(it) == ["a1"]
    it.add(A1, 10.0)
    assert taken(it, 9.9) == []
    assert it.next_time() == 10.0
    assert taken(it, 10.0) == ["a1"]
    assert it.next_time() == math.inf
    it.release(A1)
    assert taken(it) == ["a2"]


def test_one_that_had_let_others_ahead_comes_after_them() -> None:
    it = line(A1, A2)
    assert taken(it) == ["a1"]
    it.release(A1)
    it.add(A1, 10.0)
    assert taken(it, 20.0) == ["a2"]
    it.release(A2)
    assert taken(it) == ["a1"]


def test_a_line_that_is_cleared_is_empty() -> None:
    it = line(A1, A2, FREE)
    it.add(B1, 5.0)
    it.clear()
    assert len(it) == 0
    assert taken(it, 10.0) == []
