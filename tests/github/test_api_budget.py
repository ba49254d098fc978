"""The budget: no window has too many points, what keeps others waiting goes first, and nobody is starved."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from bassloop.github.api_budget import PORTIONS, APIBudget, Purpose, Turn, current_turn, spending

PEOPLE, CONCLUDE, START, BACKGROUND = Purpose

WINDOW = 60.0


def spend(budget: APIBudget, wanted: Purpose, points: int, now: float) -> None:
    """Count a request that is answered at once."""
    budget.forget(now)
    budget.begin(wanted, points)
    budget.end(wanted, points, now)


def spend_all(budget: APIBudget, wanted: Purpose, points: int = 5, now: float = 0.0) -> int:
    """Spend for a purpose for as long as it may, and return how many points that were."""
    spent = 0
    while budget.may_spend_at(wanted, points, now) <= now:
        spend(budget, wanted, points, now)
        spent += points
    return spent


def test_what_is_to_be_started_leaves_a_reserve_to_conclusions_and_to_people() -> None:
    budget = APIBudget(1000)
    assert spend_all(budget, START) == 950
    assert spend_all(budget, CONCLUDE) == 20
    assert spend_all(budget, PEOPLE, points=1) == 30


def test_what_waits_keeps_its_share_however_much_the_others_want() -> None:
    budget = APIBudget(1000)
    budget.waiting[START] = 1
    assert spend_all(budget, CONCLUDE) == 770
    assert spend_all(budget, PEOPLE, points=1) == 30
    assert spend_all(budget, START) == 200


def test_when_a_window_is_spent_the_next_may_be_when_the_oldest_is_forgotten() -> None:
    budget = APIBudget(100)
    for at in range(20):
        spend(budget, PEOPLE, 5, float(at))
    assert budget.may_spend_at(PEOPLE, 1, 30.0) == WINDOW
    assert budget.may_spend_at(PEOPLE, 6, 30.0) == WINDOW + 1
    assert budget.may_spend_at(PEOPLE, 1, WINDOW) == WINDOW


def test_while_it_is_closed_nobody_spends_and_the_longest_time_counts() -> None:
    budget = APIBudget(100)
    budget.close(30.0)
    budget.close(5.0)
    assert [budget.may_spend_at(each, 1, 1.0) for each in Purpose] == [30.0] * 4


def test_the_last_calls_of_an_hour_are_for_those_who_go_first() -> None:
    budget = APIBudget(100)
    budget.update(left=200, limit=5000, resets_at=1000.0)
    at = {each: budget.may_spend_at(each, 1, 0.0) for each in Purpose}
    assert at == {PEOPLE: 0.0, CONCLUDE: 0.0, START: 1000.0, BACKGROUND: 1000.0}
    for _ in range(100):
        spend(budget, PEOPLE, 0, 0.0)
    assert budget.may_spend_at(CONCLUDE, 1, 0.0) == 1000.0
    assert budget.may_spend_at(CONCLUDE, 1, 1000.0) == 1000.0  # the next hour


def test_what_an_earlier_process_spent_is_counted_until_its_window_is_over() -> None:
    budget = APIBudget(1000)
    budget.count_earlier([(-WINDOW / 2, 600), (0.0, 200), (-WINDOW, 1000)], 0.0)
    assert spend_all(budget, START) == 170  # of its own share, since people's is kept
    assert spend_all(budget, PEOPLE, points=1) == 30
    assert spend_all(budget, START, now=WINDOW / 2) == 550
    assert budget.spent[None] == 200
    budget = APIBudget(1000)
    budget.count_earlier([(0.0, 880)], 0.0)
    assert spend_all(budget, START, now=WINDOW) == 950


def test_a_request_counts_from_its_begin_until_a_window_after_its_end() -> None:
    budget = APIBudget(100)
    budget.begin(PEOPLE, 80)
    budget.waiting[PEOPLE] = 1
    assert budget.may_spend_at(PEOPLE, 30, 90.0) == 90.0 + WINDOW  # when it ends isn't known
    budget.end(PEOPLE, 80, 100.0)
    assert budget.may_spend_at(PEOPLE, 30, 101.0) == 100.0 + WINDOW
    assert budget.may_spend_at(PEOPLE, 30, 100.0 + WINDOW) == 100.0 + WINDOW
    assert budget.recently_spent(100.0 + WINDOW) == []


def test_many_small_requests_take_no_memory() -> None:
    budget = APIBudget(1_000_000)
    for number in range(10_000):
        spend(budget, START, 1, number / 1000)
    assert len(budget._entries) < 10 / 0.04


def test_a_purpose_holds_for_what_is_done_within() -> None:
    assert current_turn() == Turn(PEOPLE)
    with spending(START, since=7.0):
        with spending(CONCLUDE):
            assert current_turn() == Turn(CONCLUDE)
        assert current_turn() == Turn(START, 7.0)
    assert current_turn() == Turn(PEOPLE)


@settings(max_examples=40)
@given(
    st.sets(st.sampled_from(Purpose), min_size=1),
    st.integers(0, 2**32),
    st.floats(0, 1),
)
def test_no_interleaving_starves_a_purpose_or_spends_too_much(
    greedy: set[Purpose], seed: int, assumed: float
) -> None:
    """Some purposes always have requests of random sizes waiting, and take their turns in a random order."""
    rng = random.Random(seed)
    budget, now, windows = APIBudget(890), 0.0, 6
    budget.count_earlier([(-number, int(40 * assumed)) for number in range(20)], now)
    budget.waiting.update(greedy)
    costs = {each: rng.choice((1, 5)) for each in greedy}
    history: list[tuple[float, int]] = []
    got = Counter[Purpose]()
    while now < windows * WINDOW:
        times = {each: budget.may_spend_at(each, costs[each], now) for each in greedy}
        ready = [each for each, at in times.items() if at <= now]
        if not ready:
            now = min(times.values())
            continue
        each = rng.choice(ready)
        spend(budget, each, costs[each], now)
        history.append((now, costs[each]))
        if now >= WINDOW:
            got[each] += costs[each]
        costs[each] = rng.choice((1, 5))
        now += rng.choice((0.0, 0.0, 0.01, 0.2))
    for each in greedy:
        assert got[each] >= (windows - 2) * (budget.points * PORTIONS[each].share - 10)
    for began, _ in history[:: max(len(history) // 200, 1)]:
        window = sum(points for at, points in history if began <= at < began + WINDOW - 0.1)
        assert window <= budget.points


def test_every_purpose_has_a_portion_and_the_shares_leave_room() -> None:
    assert set(PORTIONS) == set(Purpose)
    assert sum(portion.share for portion in PORTIONS.values()) < 0.6
    ceilings = [PORTIONS[each].ceiling for each in Purpose]
    assert ceilings == sorted(ceilings, reverse=True)
