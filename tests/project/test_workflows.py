"""What `init` makes of the workflows of GitHub Actions."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bassloop.project import read_checks, write_bass
from bassloop.project.detection import write_declaration
from bassloop.project.workflows import translate_workflow

WORKFLOW = """
on:
  push: {branches: [main]}
  pull_request:
env: {COLOR: 1}
jobs:
  test:
    needs: [lint]
    runs-on: ${{ matrix.os }}
    timeout-minutes: 15
    strategy:
      matrix: {os: [ubuntu-latest, macos-latest], python: ["3.12", "3.13"], include: [{python: "3.14"}]}
    services:
      db: {image: "postgres:17", env: {POSTGRES_PASSWORD: pw}, ports: ["5432:5432"]}
    env:
      API_KEY: ${{ secrets.API_KEY }}
      TOKEN: ${{ secrets.DEPLOY_TOKEN }}
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {python-version: "${{ matrix.python }}", cache: pip}
      - uses: actions/cache@v4
        with: {path: ~/.cache/pre-commit, key: "${{ hashFiles('x') }}"}
      - run: pytest --version=${{ matrix.python }}
        working-directory: pkg
        env: {NAME: "py ${{ matrix.python }}"}
      - run: if [[ -f x ]]; then ./may-fail; fi
        continue-on-error: true
      - uses: codecov/codecov-action@v4
      - if: github.event_name == 'push'
        run: echo pushed
  lint:
    runs-on: ubuntu-latest
    steps: [{run: make lint}]
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/setup-go@v5
        with: {go-version: stable}
      - run: make dist
      - uses: actions/upload-artifact@v4
        with: {name: packages, path: ./dist/}
  smoke:
    needs: build
    runs-on: ubuntu-latest
    steps:
      - uses: actions/download-artifact@v4
        with: {name: packages, path: got}
      - run: ls got
  deploy:
    needs: [test]
    if: github.ref == 'refs/heads/main'
    runs-on: ubuntu-latest
    steps: [{run: ./deploy}]
  windows:
    runs-on: windows-latest
    steps: [{run: dir}]
"""


def test_a_workflow_becomes_checks_and_says_what_it_lost() -> None:
    translated = translate_workflow(WORKFLOW, "ci.yml")
    checks = read_checks(write_declaration(translated.checks).encode())
    assert write_bass(checks)
    assert list(checks) == ["test", "lint", "build", "smoke"]
    test = checks["test"]
    assert test.image == "python:${python}"
    assert test.matrix == {"python": ["3.12", "3.13"]}
    assert test.caches == {"pip": "/root/.cache/pip", "pre-commit": "/root/.cache/pre-commit"}
    assert (test.env, test.secrets) == ({"COLOR": "1"}, ["API_KEY", "DEPLOY_TOKEN"])
    assert (test.needs, test.timeout) == (["lint"], 900)
    assert test.services["db"].run == "docker-entrypoint.sh postgres"
    first, second = test.commands
    assert first == (
        'export TOKEN="$DEPLOY_TOKEN"\nexport NAME="py ${python}"\ncd pkg\npytest --version=${python}'
    )
    assert second == [
        "bash",
        "-ec",
        '(\nexport TOKEN="$DEPLOY_TOKEN"\nif [[ -f x ]]; then ./may-fail; fi\n) || true',
    ]
    assert checks["build"].artifacts == ["dist/**"]
    assert checks["smoke"].uses == ["build"]
    assert checks["smoke"].commands == [
        "mkdir -p got && cp -r artifacts/build/dist/. got",
        "ls got",
    ]
    notes = "\n".join(note for check in translated.checks for note in check.notes)
    for lost in ("macos-latest", "include", "codecov", "echo pushed", "$DB_HOST", "go-version"):
        assert lost in notes
    assert translated.left_out == [
        "ci.yml: job deploy: it only runs if github.ref == 'refs/heads/main'",
        "ci.yml: job windows: it runs on windows-latest",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("on: [schedule, workflow_dispatch]", "runs on schedule, workflow_dispatch, not on"),
        ("a: [", "this is not YAML"),
        ("", "runs on nothing"),
        ("on: push\njobs: {a: {uses: ./x.yml}}", "the reusable workflow ./x.yml"),
        ("on: push\njobs: {a: {environment: live, steps: []}}", "deploys to an environment"),
    ],
)
def test_what_is_no_check_is_left_out_with_the_reason(text: str, reason: str) -> None:
    translated = translate_workflow(text, "x.yml")
    assert not translated.checks
    assert reason in translated.left_out[0]


def test_a_job_without_a_command_fails_rather_than_pass() -> None:
    [check] = translate_workflow("on: push\njobs: {a: {steps: [{uses: x/y@v1}]}}", "x.yml").checks
    assert "exit 1" in check.run[0]


def test_artifacts_of_a_matrix_are_those_of_all_its_checks() -> None:
    text = """
on: push
jobs:
  a:
    strategy: {matrix: {v: [1, 2]}}
    steps: [{run: ls}, {uses: actions/upload-artifact@v4, with: {path: dist}}]
  b:
    needs: a
    steps: [{uses: actions/download-artifact@v4, with: {path: got}}]
"""
    _, check = translate_workflow(text, "x.yml", "x-").checks
    assert (check.name, check.uses, check.needs) == ("x-b", ["x-a"], [])
    assert check.run == ('mkdir -p got && cp -r "artifacts/x-a ("*/dist/. got',)


def test_a_need_that_was_left_out_is_told() -> None:
    text = "on: push\njobs: {a: {if: x, steps: []}, b: {needs: a, steps: [{run: ls}]}}"
    [check] = translate_workflow(text, "x.yml").checks
    assert (check.needs, check.notes[-1]) == ([], "needs a, which was left out")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["run", "uses", "with", "env", "steps", "matrix", "strategy", "if", "path"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(ANYTHING, ANYTHING)
def test_no_workflow_is_too_strange(job: object, step: object) -> None:
    content = {"on": "push", "jobs": {"a": job, "b": {"steps": [step]}}}
    translated = translate_workflow(yaml.safe_dump(content), "x.yml")
    write_declaration(translated.checks)
