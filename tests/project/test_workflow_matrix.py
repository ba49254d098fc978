"""Which checks `init` makes of a workflow's matrix."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bassloop.project.workflows.matrix import TooManyCombinationsError, combinations
from bassloop.project.workflows.translation import Workflow, translate_workflow


def translate(matrix: object, *steps: object, runs_on: str = "ubuntu-latest") -> Workflow:
    job = {"runs-on": runs_on, "strategy": {"matrix": matrix}, "steps": steps}
    return translate_workflow(json.dumps({"on": "push", "jobs": {"a": job}}), "x.yml")


TARGETS = [{"name": "gnu", "flags": {"m": 64}}, {"name": "musl", "flags": {"m": 32}}]


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ({}, []),
        ({"a": [1], "b": ["x", "y"]}, [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}]),
        ({"a": [1, 2], "exclude": [{"a": 1}]}, [{"a": 2}]),
        ({"a": [1, 2], "exclude": [{"a": 1, "b": 1}]}, [{"a": 1}, {"a": 2}]),
        (
            {"a": [1, 2], "include": [{"a": 2, "b": True}, {"a": 3}, {"c": "all"}]},
            [
                {"a": 1, "b": None, "c": "all"},
                {"a": 2, "b": True, "c": "all"},
                {"a": 3, "b": None, "c": None},
            ],
        ),
        ({"include": [{"a": 1}, {"a": 2}]}, [{"a": 1}, {"a": 2}]),
        (
            {"target": TARGETS},
            [
                {"target.name": "gnu", "target.flags.m": 64},
                {"target.name": "musl", "target.flags.m": 32},
            ],
        ),
        (
            {"target": TARGETS, "exclude": [{"target": {"name": "gnu"}}]},
            [{"target.name": "musl", "target.flags.m": 32}],
        ),
    ],
)
def test_a_matrix_has_the_same_combinations_as_at_github(
    matrix: dict[str, Any], expected: list[dict[str, Any]]
) -> None:
    assert combinations(matrix) == expected


def test_a_matrix_larger_than_githubs_is_refused_before_it_is_computed() -> None:
    enormous = {f"axis{number}": list(range(100)) for number in range(50)}
    with pytest.raises(TooManyCombinationsError):
        combinations(enormous)
    translated = translate(enormous, {"run": "make"})
    assert not translated.checks
    assert translated.left_out == ["job a of x.yml: its matrix has more than 256 combinations"]


def test_steps_whose_conditions_depend_on_included_values_are_in_the_checks() -> None:
    """Otherwise the check would install a program, run no test with it, and pass."""
    matrix = {
        "name": ["py312", "py313", "win"],
        "include": [
            {"name": "py312", "os": "ubuntu-latest", "tox": "py312", "coverage": True},
            {"name": "py313", "os": "ubuntu-latest", "tox": "py313"},
            {"name": "win", "os": "windows-latest", "tox": "py313"},
        ],
    }
    translated = translate(
        matrix,
        {"run": "pip install tox"},
        {"run": "tox -e ${{ matrix.tox }}", "if": "! matrix.coverage"},
        {"run": "tox -e ${{ matrix.tox }}-coverage", "if": "matrix.coverage"},
        runs_on="${{ matrix.os }}",
    )
    assert [(check.name, check.run) for check in translated.checks] == [
        ("a-py312", ("pip install tox", "tox -e py312-coverage")),
        ("a-py313", ("pip install tox", "tox -e py313")),
    ]
    assert translated.left_out == ["job a of x.yml: it also runs on windows-latest"]


def test_a_product_of_values_is_declared_once() -> None:
    matrix = {
        "platform": [{"os": "ubuntu-latest"}, {"os": "macos-latest"}],
        "node": [22, 24],
        "exclude": [{"platform": {"os": "macos-latest"}, "node": 22}],
    }
    translated = translate(matrix, {"run": "npm test"}, runs_on="${{ matrix.platform.os }}")
    [check] = translated.checks
    assert (check.name, check.matrix) == ("a", {"node": ["22", "24"]})


@pytest.mark.parametrize(
    ("runs_on", "values", "system"),
    [
        ("${{ matrix.os }}-latest", ["Ubuntu", "Windows"], "Windows-latest"),
        ("${{ matrix.os }}", ["ubuntu-24.04", "ubuntu-24.04-arm"], "ubuntu-24.04-arm"),
        ("${{ matrix.os }}", ["ubuntu-24.04", "macos-13"], "macos-13"),
        (
            "${{ matrix.os == 'arm64' && 'ubuntu-arm64' || 'ubuntu-latest' }}",
            ["x64", "arm64"],
            "ubuntu-arm64",
        ),
    ],
)
def test_no_check_is_named_after_a_system_that_it_does_not_run_on(
    runs_on: str, values: list[str], system: str
) -> None:
    translated = translate({"os": values}, {"run": "make"}, runs_on=runs_on)
    [check] = translated.checks
    assert (check.name, check.matrix) == ("a", {})
    assert translated.left_out == [f"job a of x.yml: it also runs on {system}"]


def test_versions_of_ubuntu_are_one_check_that_says_so() -> None:
    matrix = {"os": ["ubuntu-22.04", "ubuntu-24.04"], "simd": ["sse", "avx"]}
    [check] = translate(matrix, {"run": "make"}, runs_on="${{ matrix.os }}").checks
    assert check.matrix == {"simd": ["sse", "avx"]}
    assert check.notes[0] == "it doesn't run on each of ubuntu-22.04, ubuntu-24.04"


def test_channels_of_rust_have_checks_beside_those_of_its_versions() -> None:
    setup = {
        "uses": "dtolnay/rust-toolchain@master",
        "with": {"toolchain": "${{ matrix.rust }}"},
    }
    matrix = {"rust": ["1.63.0", "stable", "beta", "nightly"], "features": ["", "serde"]}
    checks = translate(matrix, setup, {"run": "cargo test"}).checks
    assert [(check.name, check.image, check.run, check.env) for check in checks] == [
        ("a-1.63.0", "rust:1.63.0", ("cargo test",), {}),
        ("a-stable", "rust:1", ("cargo test",), {}),
        (
            "a-beta",
            "rust:1",
            ("rustup toolchain install --profile minimal beta", "cargo test"),
            {"RUSTUP_TOOLCHAIN": "beta"},
        ),
        ("a-nightly", "rustlang/rust:nightly", ("cargo test",), {}),
    ]
    assert all(check.matrix == {"features": ["", "serde"]} for check in checks)


def test_versions_keep_their_spelling_if_a_condition_compares_it() -> None:
    setup = {"uses": "actions/setup-node@v4", "with": {"node-version": "${{ matrix.node }}"}}
    step = {"run": "npm i -g npm", "if": "!startsWith(matrix.node, '22.')"}
    checks = translate({"node": ["22.x", "26.x"]}, setup, step, {"run": "npm test"}).checks
    assert [(check.name, check.image, check.run) for check in checks] == [
        ("a-22.x", "node:22", ("npm test",)),
        ("a-26.x", "node:26", ("npm i -g npm", "npm test")),
    ]


def test_a_truth_value_is_not_mistaken_for_text() -> None:
    """Any text but "" is true, even "false"."""
    checks = translate({"cov": [True, False]}, {"run": "make"}, {"run": "cov", "if": "matrix.cov"})
    assert [(check.name, check.run) for check in checks.checks] == [
        ("a-cov", ("make", "cov")),
        ("a", ("make",)),
    ]


def test_only_the_first_combinations_of_a_long_list_have_checks_and_the_rest_is_listed() -> None:
    include = [{"x": number, "y": -number} for number in range(20)]
    translated = translate({"include": include}, {"run": "make ${{ matrix.x }}"})
    assert len(translated.checks) == 16
    assert translated.left_out == ["job a of x.yml: the 4 combinations of its matrix after 15"]


def test_what_a_workflow_computes_while_it_runs_is_noted() -> None:
    matrix = {"v": "${{ fromJSON(needs.x.outputs.v) }}", "w": [1, 2]}
    [check] = translate(matrix, {"run": "make"}).checks
    assert check.matrix == {"w": ["1", "2"]}
    assert check.notes[0] == "the matrix's v is left out: it's computed when the workflow runs"


def test_a_name_that_a_matrix_lacks_is_empty() -> None:
    matrix = {"target": [{"cc": "gcc", "arch": "x64"}]}
    [check] = translate(
        matrix, {"run": "CC=${{ matrix.target.cc }} SIMD=${{ matrix.simd }} make"}
    ).checks
    assert check.run == ("CC=gcc SIMD= make",)
