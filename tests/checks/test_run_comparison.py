"""Comparing two runs: real differences, and differences that don't count."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.checks.run_comparison import (
    MAX_DIFFERENCES,
    MAX_LINES,
    Difference,
    added_lines,
    normalize_line,
    same_step,
    slower_steps,
    thunk_differences,
)
from tests.records import make_step


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2025-01-02T03:04:05Z done", "2026-11-27 19:00:01.123+01:00 done"),
        ("[12:30:45] start", "[2:30:45.123] start"),
        ("412 passed in 40.12s", "412 passed in 3s"),
        ("at 0x7f3a9c00beef", "at 0x7f00"),
        ("listening on 127.0.0.1:8080", "listening on 10.0.0.7:99"),
        ("HEAD is now at 3b98a1d x", "HEAD is now at 04cb3c790d81f014af4fb1f02107f1464e69f5b1 x"),
        ("id 0b2b1c3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b", "id 9b2b1c3e-1c2d-4e5f-8a9b-0c1d2e3f4a5c"),
        ("wrote /tmp/pip-abc/x", "wrote /tmp/pip-def/y"),
        ("fetched 12.3 MB, 45 %", "fetched 9 KiB, 100%"),
    ],
)
def test_text_that_differs_in_every_run_counts_as_equal(one: str, other: str) -> None:
    assert normalize_line(one) == normalize_line(other) != one


@pytest.mark.parametrize(
    "line",
    ["assert 25 == 26", "src/a.py:12: error", "defaced 7 facades", "exit status 2", "v1.2.3"],
)
def test_meaningful_text_is_not_replaced(line: str) -> None:
    assert normalize_line(line) == line


@given(st.text(max_size=600))
def test_any_text_can_be_compared_as_a_line(line: str) -> None:
    assert normalize_line(line).encode().decode() == normalize_line(line)


def test_new_lines_are_found_with_their_numbers() -> None:
    before = ["start 10:00:00", "compiling a", "compiling b", "ok in 3s"]
    after = ["start 11:30:00", "compiling a", "a.c:1: error: no", "", "compiling b", "failed in 9s"]
    assert added_lines(before, after) == [2, 5]
    assert added_lines([], ["x"] * (MAX_LINES + 5))[0] == 5


def test_repetitive_logs_are_compared_in_linear_time() -> None:
    before = [f"line {number % 7}" for number in range(MAX_LINES)]
    after = [f"line {number % 5}" for number in range(MAX_LINES)]
    began = time.process_time()
    added_lines(before, after)
    assert time.process_time() - began < 5


def test_differing_parts_of_a_thunk_are_named() -> None:
    before = {"image": {"tag": "3.12"}, "args": ["pytest", "-q"], "env": {"A": "1"}, "sha": "aaa"}
    after = {"image": {"tag": "3.13"}, "args": ["pytest"], "env": {"B": "2"}, "sha": "bbb"}
    found = thunk_differences(
        json.dumps(before), json.dumps(after), {"aaa": "<commit>", "bbb": "<commit>"}
    )
    assert found == [
        Difference("args", '["pytest", "-q"]', '["pytest"]'),
        Difference("env.A", "1", None),
        Difference("env.B", None, "2"),
        Difference("image.tag", "3.12", "3.13"),
    ]
    many = json.dumps([str(number) for number in range(200)])
    none = json.dumps([""] * 200)
    assert len(thunk_differences(many, none)) == MAX_DIFFERENCES
    deep = "[" * 100_000 + "]" * 100_000
    assert thunk_differences(deep, "[]") == []


def test_only_steps_that_took_clearly_longer_count_as_slower() -> None:
    def step(row: int, name: str, seconds: float, **changes: object) -> object:
        return make_step(row, name, started_at=100.0, completed_at=100.0 + seconds, **changes)

    before = [step(1, "git checkout aaaaaaa1", 1), step(2, "make", 10), step(3, "lint", 0.1)]
    after = [
        step(7, "git checkout bbbbbbb2", 9),
        step(8, "make", 11),
        step(9, "lint", 1.0),
        step(10, "new", 99),
    ]
    [slower] = slower_steps(before, after)  # type: ignore[arg-type]
    assert (slower.step.row, slower.before, slower.after) == (7, 1, 9)
    cached = step(7, "git checkout bbbbbbb2", 9, cached=True)
    assert slower_steps(before, [cached]) == []  # type: ignore[arg-type, list-item]
    twin = same_step(after[0], before)  # type: ignore[arg-type]
    assert twin is before[0]
