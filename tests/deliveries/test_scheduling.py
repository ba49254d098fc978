"""The limit on concurrent deliveries follows the event loop's delay."""

from __future__ import annotations

import math

from bassloop.deliveries.scheduling import GROWTH_SECONDS, LONG_DELAY, MIN_LIMIT, AdaptiveLimit

LONG = 2 * LONG_DELAY


def test_the_limit_is_at_its_maximum_while_tasks_run_without_delay() -> None:
    limit = AdaptiveLimit(64)
    limit.note_delay(LONG_DELAY / 2, 1.0)
    assert limit.at(1.0) == 64
    assert limit.next_time(1.0) == math.inf


def test_each_long_delay_halves_the_limit_but_not_below_the_minimum() -> None:
    limit = AdaptiveLimit(64)
    seen = []
    for number in range(6):
        now = 1.0 + number * GROWTH_SECONDS * 1.01
        limit.note_delay(LONG, now)
        limit.note_delay(LONG, now + GROWTH_SECONDS / 2)  # the same congestion
        seen.append(limit.at(now + GROWTH_SECONDS / 2))
    assert seen == [32, 16, 8, MIN_LIMIT, MIN_LIMIT, MIN_LIMIT]


def test_a_maximum_below_the_minimum_is_used_unchanged() -> None:
    limit = AdaptiveLimit(2)
    limit.note_delay(LONG, 1.0)
    assert limit.at(1.0) == 2


def test_the_limit_grows_to_its_maximum_again_without_long_delays() -> None:
    limit = AdaptiveLimit(10)
    now = 1.0
    limit.note_delay(LONG, now)
    seen = []
    while (next_time := limit.next_time(now)) < math.inf:
        assert limit.at(next_time - GROWTH_SECONDS / 2) == limit.at(now)
        now = next_time + GROWTH_SECONDS / 100
        seen.append(limit.at(now))
    assert seen == [6, 7, 8, 9, 10]
