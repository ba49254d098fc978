"""The step to show first, of a run that failed and of one that was stopped."""

from __future__ import annotations

from bassloop.checks.run_failure import failing_step, unfinished_step
from tests.records import make_step


def test_the_failing_step_is_the_one_whose_inputs_did_not_fail() -> None:
    first = make_step(1, "build", error="exit status 2")
    then = make_step(2, "test", error="build failed", inputs=("build",))
    assert failing_step([then, first]) == first
    assert failing_step([make_step(3, "fine")]) is None


def test_one_of_two_that_blame_each_other_is_the_failing_step() -> None:
    one = make_step(1, "one", error="two failed", inputs=("two",))
    two = make_step(2, "two", error="one failed", inputs=("one",))
    assert failing_step([one, two]) == one


def test_the_unfinished_step_is_the_last_one_that_was_running() -> None:
    done, at_work = make_step(1, "build"), make_step(2, "test", completed_at=None)
    assert unfinished_step([done, at_work]) == at_work
    assert unfinished_step([done]) is None
