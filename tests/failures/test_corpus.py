"""The rules, held to what real tools print when they fail."""

from __future__ import annotations

import random  # noqa: TC003  (hypothesis reads the annotation)
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.failures import Rank, find_failures
from bassloop.failures.failure import MAX_LINE
from bassloop.failures.rules import RULES
from bassloop.failures.scan import MAX_FAILURES

CORPUS = Path(__file__).parent / "corpus"
EXPECTED = tomllib.loads((CORPUS / "expected.toml").read_text())


def log(name: str) -> list[str]:
    return (CORPUS / f"{name}.txt").read_text().splitlines()


def test_every_log_in_the_corpus_has_an_expectation() -> None:
    assert set(EXPECTED) == {path.stem for path in CORPUS.glob("*.txt")}
    assert len(EXPECTED) >= 60


@pytest.mark.parametrize("name", EXPECTED)
def test_the_expected_cause_is_found_in_each_log(name: str) -> None:
    expected, failures = EXPECTED[name], find_failures(log(name))
    cause = failures[0]
    assert cause.test == expected.get("test")
    assert cause.message.partition("\n")[0] == expected["message"]
    assert next(map(str, cause.locations), None) == expected.get("at")
    assert cause.rank.name == expected["rank"]
    assert sum(failure.rank == cause.rank for failure in failures) == expected["failures"]


@pytest.mark.parametrize("name", EXPECTED)
def test_the_cause_is_found_within_other_output(name: str) -> None:
    """A build prints a lot before a failure, and its callers complain after it."""
    before = [f"[{number}/5000] Compiling module_{number}" for number in range(3_000)]
    after = ["make: *** [Makefile:7: test] Error 2", "npm error Lifecycle script `test` failed"]
    cause = find_failures([*before, *log(name), *after])[0]
    alone = find_failures(log(name))[0]
    if alone.rank > Rank.CONSEQUENCE:
        assert (cause.message, cause.test, cause.locations) == (
            alone.message,
            alone.test,
            alone.locations,
        )
        assert cause.first == alone.first + len(before)


@pytest.mark.parametrize("name", ["ansible", "maven-compile", "maven-test"])
def test_failures_that_a_tool_repeats_in_its_summary_are_listed_once(name: str) -> None:
    named = [failure for failure in find_failures(log(name)) if failure.rank > Rank.CONSEQUENCE]
    assert len(named) == EXPECTED[name]["failures"]


@pytest.mark.parametrize(
    ("name", "headline"),
    [
        ("jest", "Expected: 7, Received: 6"),
        ("playwright", "Expected: 4, Received: 3"),
        ("dotnet-test", "Expected: 4, Actual: 3"),
        ("minitest", "Expected: 4, Actual: 3"),
        ("rspec", "expected: 4, got: 3"),
        ("prove", "got: '1', expected: '2'"),
        ("mypy", EXPECTED["mypy"]["message"]),
        ("cargo-test", "assertion `left == right` failed: two prices (left: 3, right: 4)"),
        ("mix-test", "Assertion with == failed (left: 3, right: 4)"),
        ("mocha", "AssertionError [ERR_ASSERTION]: Expected values to be strictly equal: 6 !== 7"),
    ],
)
def test_a_headline_has_both_values_rather_than_their_comparison_or_one_of_them(
    name: str, headline: str
) -> None:
    assert find_failures(log(name))[0].headline == headline


def test_a_headline_does_not_end_with_a_colon_if_more_follows() -> None:
    assert "TypeError: String can't be coerced into Integer" in {
        failure.headline for failure in find_failures(log("rspec"))
    }
    assert find_failures(log("ava"))[0].headline == "Difference (- actual, + expected):"


def test_a_headline_has_the_whole_sentence_of_a_tool_that_breaks_lines() -> None:
    headline = find_failures(log("cmake"))[0].headline
    assert headline.startswith('By not providing "FindNothing.cmake" in CMAKE_MODULE_PATH')
    assert headline.endswith('provided by "Nothing", but CMake did not find one.')


def test_a_headline_has_the_explanation_of_a_tool_that_names_only_a_kind_of_error() -> None:
    assert find_failures(log("terraform-syntax"))[0].headline == (
        "Invalid expression: Expected the start of an expression, but found an invalid expression token."
    )


def test_the_line_numbers_of_a_failure_are_correct() -> None:
    lines = log("pytest")
    for failure in find_failures(lines):
        assert failure.test is not None
        assert failure.test in lines[failure.first]
        assert failure.first <= failure.last < len(lines)


def test_a_test_that_failed_only_through_one_within_it_is_left_out() -> None:
    assert [failure.test for failure in find_failures(log("go-test"))][:2] == [
        "TestTotal",
        "TestTable/two",
    ]


def test_the_log_of_a_passing_test_is_not_a_failure() -> None:
    lines = [
        "=== RUN   TestFine",
        "    fine_test.go:3: looking",
        "--- PASS: TestFine (0.00s)",
        "PASS",
    ]
    assert [failure.tool for failure in find_failures(lines)] == ["log"]


def test_an_unknown_tool_is_quoted_by_its_last_line() -> None:
    (only,) = find_failures(["Quuxing", "It is broken", "", "  "])
    assert (only.message, only.first, only.rank) == ("It is broken", 1, Rank.CONSEQUENCE)


@pytest.mark.parametrize(
    ("lines", "telling"),
    [
        (["page 3 is missing its footer", "      ^^^^^^", "3/10"], 0),
        (["the seal doesn't fit", "stopping the press", "took 3.1 s"], 0),
        (["0 errors, no failures", "took 3.1 s"], 1),
        (["------", "100 %"], 1),
    ],
)
def test_the_line_that_looks_like_an_error_is_chosen_for_an_unknown_tool(
    lines: list[str], telling: int
) -> None:
    (only,) = find_failures(lines)
    assert (only.message, only.first) == (lines[telling].strip(), telling)


def test_an_empty_log_has_no_failures() -> None:
    assert find_failures([]) == []
    assert find_failures(["", "   "]) == []


def test_the_number_of_failures_is_bounded() -> None:
    many = [f"src/a.c:{number}:1: error: no" for number in range(1, 5_000)]
    assert len(find_failures(many)) == MAX_FAILURES
    assert len(find_failures(many, limit=3)) == 3


def test_many_messages_do_not_hide_the_test_that_fails_after_them() -> None:
    messages = [f"ERROR: request {number} failed" for number in range(2 * MAX_FAILURES)]
    cause = find_failures([*messages, *log("pytest")])[0]
    assert (cause.rank, cause.test) == (Rank.TEST, EXPECTED["pytest"]["test"])


@given(st.lists(st.text(max_size=200), max_size=60))
def test_no_line_raises_an_error(lines: list[str]) -> None:
    for failure in find_failures(lines):
        assert 0 <= failure.first <= failure.last < len(lines)


@given(st.randoms(use_true_random=False))
def test_no_mixture_of_real_lines_raises_an_error(chance: random.Random) -> None:
    pool = [line for name in EXPECTED for line in log(name)]
    lines = chance.sample(pool, 80)
    for failure in find_failures(lines):
        assert 0 <= failure.first <= failure.last < len(lines)


@pytest.mark.parametrize(
    "line", ["a" * 1_000_000, "_" * 1_000_000, "E " * 500_000, "at (" * 200_000]
)
def test_a_long_line_costs_no_more_than_its_beginning(line: str) -> None:
    began = time.process_time()
    find_failures([line] * 100)
    assert time.process_time() - began < 2
    assert all(len(failure.message) <= MAX_LINE for failure in find_failures([line]))


def test_all_rules_are_well_formed() -> None:
    for rule in RULES:
        assert rule.lines or not rule.within, rule
        assert rule.lines >= 0


def test_paths_in_the_work_folder_are_shown_as_paths_of_the_repository() -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "/bass/work/lib/t.py", line 3, in <module>',
        "    open('/bass/work/data')",
        "FileNotFoundError: [Errno 2] No such file or directory: '/bass/work/data'",
    ]
    [failure] = find_failures(lines)
    assert list(map(str, failure.locations)) == ["lib/t.py:3"]
    assert failure.message == "FileNotFoundError: [Errno 2] No such file or directory: 'data'"
