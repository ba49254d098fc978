"""The budget: no window has too many points, urgent requests go first, and nobody starves."""

from __future__ import annotations

import math
import random
from collections import Counter
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from bassloop.github.api_budget import PORTIONS, APIBudget, Purpose, Turn, current_turn, spending

PEOPLE, CONCLUDE, START, BACKGROUND = Purpose

WINDOW = 60.0


def spend(
    budget: APIBudget, wanted: Purpose, points: int, now: float, repository: str | None = None
) -> None:
    """Count a request that is answered at once."""
    budget.forget(now)
    budget.begin(wanted, points, repository)
    budget.end(wanted, points, now, repository)


def spend_all(
    budget: APIBudget,
    wanted: Purpose,
    points: int = 5,
    now: float = 0.0,
    repository: str | None = None,
) -> int:
    """Spend for a purpose for as long as it may, and return how many points that were."""
    spent = 0
    while budget.may_spend_at(wanted, points, now, repository) <= now:
        spend(budget, wanted, points, now, repository)
        spent += points
    return spent


def test_new_work_leaves_points_for_conclusions_and_for_people() -> None:
    budget = APIBudget(1000)
    assert spend_all(budget, START) == 950
    assert spend_all(budget, CONCLUDE) == 20
    assert spend_all(budget, PEOPLE, points=1) == 30


def test_waiting_requests_keep_their_share_however_much_others_want() -> None:
    budget = APIBudget(1000)
    budget.waiting[START] = 1
    assert spend_all(budget, CONCLUDE) == 770
    assert spend_all(budget, PEOPLE, points=1) == 30
    assert spend_all(budget, START) == 200


def meet(budget: APIBudget, *repositories: str) -> None:
    """Let a budget know repositories that share it."""
    for repository in repositories:
        budget.wait(START, repository)
        budget.stop_waiting(START, repository)


def test_a_single_repository_leaves_no_points_for_others() -> None:
    budget = APIBudget(1000)
    meet(budget, "only")
    assert spend_all(budget, START, repository="only") == 950
    meet(budget, "newcomer")
    assert budget.may_spend_at(START, 5, 1.0, "only") == WINDOW
    assert spend_all(budget, START, now=WINDOW, repository="only") == 855
    assert budget.may_spend_at(START, 5, WINDOW, "newcomer") == WINDOW


def test_a_repository_leaves_a_part_of_the_window_to_the_others() -> None:
    budget = APIBudget(1000)
    meet(budget, "flood", "calm")
    assert spend_all(budget, START, repository="flood") == 855
    assert spend_all(budget, CONCLUDE, repository="flood") == 15
    assert spend_all(budget, START, repository="calm") == 70
    assert spend_all(budget, PEOPLE, points=1) == 60
    assert spend_all(budget, START, now=WINDOW, repository="flood") == 855
    assert set(budget.spent_for) == {"flood"}


def test_a_repository_leaves_a_part_of_the_hour_to_the_others() -> None:
    budget = APIBudget(1000)
    meet(budget, "flood", "calm")
    budget.update(left=1000, limit=1000, resets_at=1800.0)
    for minute in range(18):  # 50 calls in each
        for _ in range(50):
            if budget.may_spend_at(START, 1, minute * WINDOW, "flood") == minute * WINDOW:
                spend(budget, START, 1, minute * WINDOW, "flood")
        budget.update(budget.calls_left or 0, 1000, 1800.0 + minute / 1000)
    assert budget.may_spend_at(START, 1, 1080.0, "flood") == 1800.017
    assert budget.may_spend_at(START, 1, 1080.0, "calm") == 1080.0
    assert budget.calls_left == 145
    budget.update(left=100, limit=1000, resets_at=5400.0)
    assert budget.may_spend_at(START, 1, 1800.0, "flood") == 1800.0


def test_after_a_spent_window_the_next_request_waits_until_the_oldest_one_expires() -> None:
    budget = APIBudget(100)
    for at in range(20):
        spend(budget, PEOPLE, 5, float(at))
    assert budget.may_spend_at(PEOPLE, 1, 30.0) == WINDOW
    assert budget.may_spend_at(PEOPLE, 6, 30.0) == WINDOW + 1
    assert budget.may_spend_at(PEOPLE, 1, WINDOW) == WINDOW


def test_nothing_is_spent_while_the_budget_is_closed_and_the_longest_closing_counts() -> None:
    budget = APIBudget(100)
    budget.close(30.0)
    budget.close(5.0)
    assert [budget.may_spend_at(each, 1, 1.0) for each in Purpose] == [30.0] * 4


def test_the_last_calls_of_an_hour_are_left_to_the_most_urgent_purposes() -> None:
    budget = APIBudget(100)
    budget.update(left=200, limit=5000, resets_at=1000.0)
    at = {each: budget.may_spend_at(each, 1, 0.0) for each in Purpose}
    assert at == {PEOPLE: 0.0, CONCLUDE: 0.0, START: 1000.0, BACKGROUND: 1000.0}
    for _ in range(100):
        spend(budget, PEOPLE, 0, 0.0)
    assert budget.may_spend_at(CONCLUDE, 1, 0.0) == 1000.0
    assert budget.may_spend_at(CONCLUDE, 1, 1000.0) == 1000.0  # the next hour


def test_points_that_an_earlier_process_spent_count_until_their_window_is_over() -> None:
    budget = APIBudget(1000)
    budget.count_earlier([(-WINDOW / 2, 600), (0.0, 200), (-WINDOW, 1000)], 0.0)
    assert spend_all(budget, START) == 170  # of its own share, since people's is kept
    assert spend_all(budget, PEOPLE, points=1) == 30
    assert spend_all(budget, START, now=WINDOW / 2) == 550
    assert budget.spent[None] == 200
    budget = APIBudget(1000)
    budget.count_earlier([(0.0, 880)], 0.0)
    assert spend_all(budget, START, now=WINDOW) == 950


def test_a_request_counts_from_its_start_until_a_window_after_its_end() -> None:
    budget = APIBudget(100)
    budget.begin(PEOPLE, 80)
    budget.waiting[PEOPLE] = 1
    assert budget.may_spend_at(PEOPLE, 30, 90.0) == 90.0 + WINDOW  # when it ends isn't known
    budget.end(PEOPLE, 80, 100.0)
    assert budget.may_spend_at(PEOPLE, 30, 101.0) == 100.0 + WINDOW
    assert budget.may_spend_at(PEOPLE, 30, 100.0 + WINDOW) == 100.0 + WINDOW
    assert budget.recently_spent(100.0 + WINDOW) == []


def test_the_memory_for_many_small_requests_is_bounded() -> None:
    budget = APIBudget(1_000_000)
    for number in range(10_000):
        spend(budget, START, 1, number / 1000)
    assert len(budget._entries) < 10 / 0.04


def test_a_purpose_applies_to_calls_within_its_context() -> None:
    assert current_turn() == Turn(PEOPLE)
    with spending(START, since=7.0):
        with spending(CONCLUDE):
            assert current_turn() == Turn(CONCLUDE)
        assert current_turn() == Turn(START, 7.0)
        with spending(START, repository="o/r"), spending(CONCLUDE):
            assert current_turn() == Turn(CONCLUDE, 0.0, "o/r")
    assert current_turn() == Turn(PEOPLE)


@settings(max_examples=20)
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


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**32))
def test_no_repository_starves_however_much_the_others_ask_for(floods: int, seed: int) -> None:
    """Floods always have requests of two purposes that wait. One that asks now and then waits for a moment only."""
    rng = random.Random(seed)
    budget, now, windows = APIBudget(890), 0.0, 6
    names = [f"flood {number}" for number in range(floods)]
    for name in names:
        for purpose in (START, CONCLUDE):
            budget.wait(purpose, name)
    costs = {(purpose, name): 5 for name in [*names, "calm"] for purpose in (START, CONCLUDE)}
    got = Counter[str]()
    calm_since, longest = 10.0, 0.0
    while now < windows * WINDOW:
        waiting = list(names)
        if now >= calm_since:
            if not budget.waiting[START] > floods:
                budget.wait(START, "calm")
            waiting.append("calm")
        firsts = [
            (
                purpose,
                min(
                    waiting if purpose is START else names, key=partial(place, budget, purpose, now)
                ),
            )
            for purpose in (START, CONCLUDE)
        ]
        times = {
            (purpose, name): budget.may_spend_at(purpose, costs[purpose, name], now, name)
            for purpose, name in firsts
        }
        ready = [each for each, at in times.items() if at <= now]
        if not ready:
            now = min(min(times.values()), calm_since if calm_since > now else math.inf)
            continue
        purpose, name = rng.choice(ready)
        spend(budget, purpose, costs[purpose, name], now, name)
        costs[purpose, name] = rng.choice((1, 5))
        if name == "calm":
            budget.stop_waiting(START, "calm")
            longest = max(longest, now - calm_since)
            calm_since = now + rng.uniform(5, 20)
        elif now >= WINDOW:
            got[name] += 1
        now += rng.choice((0.0, 0.0, 0.01, 0.2))
    assert longest < (1.0 if floods == 1 else WINDOW)
    assert min(got[name] for name in names) * 2 > max(got.values()), got


def place(
    budget: APIBudget, wanted: Purpose, now: float, repository: str
) -> tuple[tuple[float, int], str]:
    """Return a sort key: the lowest repository goes first, and equal ones are sorted by name."""
    return budget.place(wanted, now, repository), repository


def test_every_purpose_has_a_portion_and_the_reserves_leave_room() -> None:
    assert set(PORTIONS) == set(Purpose)
    assert sum(portion.share for portion in PORTIONS.values()) < 0.6
    ceilings = [PORTIONS[each].ceiling for each in Purpose]
    assert ceilings == sorted(ceilings, reverse=True)
