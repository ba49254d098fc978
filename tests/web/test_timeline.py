"""The timeline of a run, as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.web.pages.charts import (
    MAX_BARS,
    MAX_THICK,
    MIN_WIDTH,
    critical_path,
    lay_out_timeline,
)
from tests.records import make_step

if TYPE_CHECKING:
    from bassloop.store import Step


def test_a_timeline_has_a_bar_for_each_step_that_began() -> None:
    drawn = lay_out_timeline(
        [
            make_step(1, "a", started_at=100.0, completed_at=105.0),
            make_step(2, "b", started_at=105.0, completed_at=110.0, error="x"),
            make_step(3, "c", started_at=None, completed_at=None),
            make_step(4, "d", started_at=107.5, completed_at=None),
            make_step(5, "e", internal=True),
        ],
        100.0,
        110.0,
    )
    assert [(bar.x, bar.width, bar.state) for bar in drawn.bars] == [
        (0, 50, "ok"),
        (50, 50, "bad"),
        (75, 25, "runs"),
    ]
    assert drawn.ticks == ("0.0 s", "2.5 s", "5.0 s", "7.5 s", "10 s")
    assert [bar.label for bar in drawn.bars] == ["right", "left", "left"]


def test_a_step_without_duration_is_visible_and_stays_within_the_timeline() -> None:
    [bar] = lay_out_timeline(
        [make_step(1, "a", started_at=110.0, completed_at=110.0)], 100.0, 110.0
    ).bars
    assert (bar.x, bar.width) == (100 - MIN_WIDTH, MIN_WIDTH)


def test_a_label_is_placed_where_there_is_room_for_it() -> None:
    name = "x" * 30
    bars = lay_out_timeline(
        [
            make_step(1, name, started_at=100.0, completed_at=120.0),
            make_step(2, name, started_at=180.0, completed_at=200.0),
            make_step(3, name, started_at=105.0, completed_at=198.0),
        ],
        100.0,
        200.0,
    ).bars
    assert [bar.label for bar in bars] == ["right", "left", "inside"]


def test_a_bar_is_connected_to_the_steps_that_it_waited_for() -> None:
    first = make_step(1, "a", started_at=100.0, completed_at=105.0)
    then = make_step(2, "b", started_at=106.0, completed_at=110.0, inputs=("a", "elsewhere"))
    [edge] = lay_out_timeline([first, then], 100.0, 110.0).edges
    assert (edge.x, edge.to_x) == (50, 60)
    assert edge.y < edge.to_y


def test_many_rows_are_low_and_more_are_left_out() -> None:
    some = lay_out_timeline([make_step(row, str(row)) for row in range(MAX_THICK)], 100.0, 101.0)
    many = lay_out_timeline([make_step(row, str(row)) for row in range(10_000)], 100.0, 101.0)
    assert not some.labelled
    assert many.pitch < some.pitch
    assert many.height < 2000


def test_the_critical_path_consists_of_the_steps_that_the_end_waited_for() -> None:
    def step(row: int, start: float, end: float | None, *inputs: str) -> Step:
        return make_step(
            row, f"s{row}", digest=f"s{row}", started_at=start, completed_at=end, inputs=inputs
        )

    steps = [step(1, 0, 5), step(2, 0, 9), step(3, 9, 12, "s1", "s2"), step(4, 5, 6, "s1")]
    assert critical_path(steps) == {2, 3}
    assert [bar.critical for bar in lay_out_timeline(steps, 0, 12).bars] == [
        False,
        True,
        True,
        False,
    ]
    assert critical_path([]) == critical_path([step(1, 0, 5)]) == frozenset()
    assert critical_path([step(1, 0, 5), step(2, 5, None, "s1")]) == frozenset()
    circle = [step(1, 0, 5, "s2"), step(2, 5, 9, "s1"), step(3, 0, 1)]
    assert critical_path(circle) == {1, 2}


def test_the_failed_and_the_longest_of_too_many_steps_are_drawn() -> None:
    steps = [make_step(row, str(row), completed_at=100.5) for row in range(1000)]
    steps[998] = make_step(998, "the longest", completed_at=150.0)
    steps[999] = make_step(999, "short", completed_at=100.1, error="exit status 1")
    drawn = lay_out_timeline(steps, 100.0, 200.0)
    assert (len(drawn.bars), drawn.started) == (MAX_BARS, 1000)
    assert [bar.row for bar in drawn.bars[-2:]] == [998, 999]
    assert not drawn.edges
