"""What `init` makes of the workflows of GitHub Actions."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bassloop.project import read_checks, write_bass
from bassloop.project.proposals import write_declaration
from bassloop.project.workflows.conditions import evaluate, event_cases
from bassloop.project.workflows.translation import translate_workflow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bassloop.project.proposals import Proposal

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
      matrix:
        os: [ubuntu-latest, macos-latest]
        python: ["3.12", "3.13"]
        include: [{os: ubuntu-latest, python: "3.14"}]
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


def test_a_workflow_becomes_checks_with_a_list_of_what_is_not_translated() -> None:
    translated = translate_workflow(WORKFLOW, "ci.yml")
    checks = read_checks(write_declaration(translated.checks).encode())
    assert write_bass(checks)
    assert list(checks) == ["test", "lint", "build", "smoke", "deploy"]
    assert (checks["deploy"].when.events, checks["deploy"].when.branches) == (["push"], ["main"])
    test = checks["test"]
    assert test.image == "python:${python}"
    assert test.matrix == {"python": ["3.12", "3.13", "3.14"]}
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
    for lost in ("codecov", "echo pushed", "$DB_HOST", "go-version"):
        assert lost in notes
    assert translated.left_out == [
        "job test of ci.yml: it also runs on macos-latest",
        "job windows of ci.yml: it runs on windows-latest",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("on: [schedule, workflow_dispatch]", "runs on schedule, workflow_dispatch, not on"),
        ("a: [", "this is not YAML"),
        ("on: {push: {tags: ['*']}}", "it runs for tags alone"),
        ("", "runs on nothing"),
        ("on: push\njobs: {a: {uses: ./x.yml}}", "the reusable workflow ./x.yml"),
        ("on: push\njobs: {a: {environment: live, steps: []}}", "deploys to an environment"),
    ],
)
def test_jobs_that_are_not_checks_are_left_out_with_the_reason(text: str, reason: str) -> None:
    translated = translate_workflow(text, "x.yml")
    assert not translated.checks
    assert reason in translated.left_out[0]


@pytest.mark.parametrize(
    ("condition", "when"),
    [
        ("github.ref == 'refs/heads/main'", {"events": ["push"], "branches": ["main"]}),
        (
            "github.event_name == 'push' && (github.ref_name == 'main' || github.ref_name == 'dev')",
            {"events": ["push"], "branches": ["main", "dev"]},
        ),
        ("startsWith(github.ref, 'refs/heads/r/')", {"events": ["push"], "branches": ["r/**"]}),
        ("github.event_name == 'push'", {"events": ["push"]}),
        ("github.event_name != 'push'", {"events": ["pull_request"]}),
        ("github.base_ref == 'main'", {"events": ["pull_request"], "branches": ["main"]}),
    ],
)
def test_a_condition_on_events_and_branches_becomes_a_when_table(
    condition: str, when: dict[str, list[str]]
) -> None:
    text = f'on: [push, pull_request]\njobs: {{a: {{if: "{condition}", steps: [{{run: a}}]}}}}'
    translated = translate_workflow(text, "x.yml")
    assert [check.when for check in translated.checks] == [when]
    assert (
        read_checks(write_declaration(translated.checks).encode())["a"].when.model_dump(
            exclude_none=True
        )
        == when
    )


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("startsWith(github.ref, 'refs/tags/')", "which no push and no pull request meets"),
        ("github.repository == 'a/b' && github.ref_name == 'main'", "which `when` can't say; test"),
    ],
)
def test_a_job_that_is_left_out_for_its_condition_is_listed_with_what_to_do(
    condition: str, reason: str
) -> None:
    text = f'on: [push, pull_request]\njobs: {{a: {{if: "{condition}", steps: [{{run: a}}]}}}}'
    translated = translate_workflow(text, "x.yml")
    assert not translated.checks
    assert reason in translated.left_out[0]


@pytest.mark.parametrize(
    "condition",
    [
        "github.event_name == 'pull_request' || github.ref == 'refs/heads/x'",
        "github.ref != 'refs/heads/x'",
    ],
)
def test_a_check_that_runs_more_often_than_its_job_is_noted(condition: str) -> None:
    text = f'on: [push, pull_request]\njobs: {{a: {{if: "{condition}", steps: [{{run: a}}]}}}}'
    [check] = translate_workflow(text, "x.yml").checks
    assert f"the check also runs where `if: {condition}` may not hold" in check.notes


def test_a_schedule_is_listed_with_what_to_do() -> None:
    text = "on: {push: , schedule: [{cron: 0 3 * * *}]}\njobs: {a: {steps: [{run: a}]}}"
    translated = translate_workflow(text, "x.yml")
    assert [check.name for check in translated.checks] == ["a"]
    [told] = translated.left_out
    assert told.startswith("x.yml: it also runs on a schedule (0 3 * * *)")
    assert "repository_dispatch" in told


def test_variables_and_folders_of_the_path_reach_the_next_commands(tmp_path: Path) -> None:
    text = r"""
on: push
jobs:
  a:
    steps:
      - run: |
          echo "COLOR=dark red" >> $GITHUB_ENV
          echo "$HOME/bin" >> "$GITHUB_PATH"
          mkdir ~/bin && printf '#!/bin/sh\necho "$COLOR"' > ~/bin/paint && chmod +x ~/bin/paint
      - run: echo "n=1" >> "$GITHUB_OUTPUT"; echo done >> $GITHUB_STEP_SUMMARY
      - run: "[ \"${{ env.COLOR }}\" = 'dark red' ] && [ \"$(paint)\" = 'dark red' ]"
"""
    [check] = translate_workflow(text, "x.yml").checks
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    for command in check.run:
        assert isinstance(command, str)
        subprocess.run(["sh", "-ec", command], env=environment, cwd=tmp_path, check=True)


def test_a_command_that_uses_an_output_of_another_step_gets_a_note() -> None:
    text = "on: push\njobs: {a: {steps: [{run: 'echo ${{ steps.x.outputs.y }}'}]}}"
    [check] = translate_workflow(text, "x.yml").checks
    assert any("steps.x.outputs.y" in note and "fails as it is" in note for note in check.notes)


def test_a_job_without_a_command_is_not_a_check() -> None:
    text = "on: push\njobs: {a: {steps: [{uses: actions/checkout@v4}, {uses: x/y@v1}]}}"
    translated = translate_workflow(text, "x.yml")
    assert not translated.checks
    assert translated.left_out == [
        "job a of x.yml: no step has a command that could be translated (x/y)"
    ]


def test_conditions_are_evaluated_if_possible() -> None:
    text = """
on: [push, pull_request]
jobs:
  ours:
    if: "!contains(github.event.head_commit.message, '[ci skip]')"
    runs-on: ${{ matrix.os }}
    strategy: {matrix: {os: [ubuntu-latest, windows-latest], node: [22, 24]}}
    steps:
      - run: tests
        if: matrix.os != 'windows-latest' && !(matrix.node == 24 && matrix.os == 'ubuntu-latest')
      - run: dir
        if: runner.os == 'Windows'
      - run: coverage
        if: ${{ matrix.node == 24 }}
      - run: cat log
        if: failure()
      - run: upload
        if: github.repository == 'us/it'
  tagged:
    if: startsWith(github.ref, 'refs/tags/')
    steps: [{run: publish}]
"""
    translated = translate_workflow(text, "x.yml")
    [check] = translated.checks
    assert check.run == (
        """case "${node}" in '22')\ntests\n;; esac""",
        """case "${node}" in '24')\ncoverage\n;; esac""",
    )
    assert check.notes[:2] == [
        "step 'cat log' only runs if failure(); it is left out",
        "step 'upload' only runs if github.repository == 'us/it'; it is left out",
    ]
    assert translated.left_out == [
        "job ours of x.yml: it also runs on windows-latest",
        "job tagged of x.yml: it only runs if startsWith(github.ref, 'refs/tags/'), "
        "which no push and no pull request meets",
    ]


def test_a_matrix_that_is_a_list_becomes_a_check_for_each_entry() -> None:
    text = """
on: push
jobs:
  test:
    runs-on: ${{ matrix.os || 'ubuntu-latest' }}
    strategy:
      matrix:
        include:
          - {python: "3.14"}
          - {python: "3.11", tox: lowest}
          - {python: pypy-3.11, tox: pypy311}
          - {name: Windows, python: "3.14", os: windows-latest}
    steps:
      - uses: actions/setup-python@v6
        with: {python-version: "${{ matrix.python }}"}
      - run: tox run -e ${{ matrix.tox || format('py{0}', matrix.python) }}
  done: {needs: test, steps: [{run: ls}]}
"""
    first, second, third, last = translate_workflow(text, "x.yml").checks
    assert (first.name, first.image, first.run) == (
        "test-3.14",
        "python:3.14",
        ("tox run -e py3.14",),
    )
    assert (second.name, second.run) == ("test-3.11", ("tox run -e lowest",))
    assert (third.name, third.image) == ("test-pypy-3.11", "pypy:3.11")
    assert last.needs == ["test-3.14", "test-3.11", "test-pypy-3.11"]


def test_a_local_action_is_read() -> None:
    text = "on: push\njobs: {a: {steps: [{uses: ./ci/setup, with: {node: 24}}, {run: npm test}]}}"
    action = """
inputs: {node: {default: "22"}, install: {default: "true"}}
runs:
  steps:
    - uses: actions/setup-node@v6
      with: {node-version: "${{ inputs.node }}"}
    - run: npm ci
      if: inputs.install == 'true'
    - uses: ./ci/setup
"""
    files = {"ci/setup/action.yml": action}
    [check] = translate_workflow(text, "x.yml", read=files.get).checks
    assert check.image == "node:24"
    assert (set(check.run), check.run[-1]) == ({"npm ci", "npm test"}, "npm test")
    assert len(check.run) < 8  # it uses itself, which has an end


def test_the_default_folder_becomes_the_checks_workdir_if_all_steps_stay_there() -> None:
    text = "on: push\ndefaults: {run: {working-directory: web}}\njobs: {a: {steps: [{run: npm ci}, {run: npm test}]}}"
    [check] = translate_workflow(text, "x.yml").checks
    assert (check.workdir, check.run) == ("web", ("npm ci", "npm test"))


@pytest.mark.parametrize(
    ("step", "commands", "artifacts"),
    [
        ({"run": "cat VERSION", "working-directory": "."}, ["cat VERSION"], []),
        ({"run": "ls", "working-directory": "docs"}, ["cd docs\nls"], []),
        ({"run": "diff a ../b"}, ["cd web\ndiff a ../b"], []),
        ({"run": "git log"}, ["cd web\ngit log"], []),
        ({"uses": "actions/upload-artifact@v4", "with": {"path": "web/dist"}}, [], ["web/dist/**"]),
        ({"uses": "./ci/greet"}, ["cat greeting"], []),
    ],
)
def test_a_step_outside_of_the_default_folder_runs_where_github_runs_it(
    step: object, commands: list[str], artifacts: list[str]
) -> None:
    job = {"defaults": {"run": {"working-directory": "web"}}, "steps": [{"run": "make"}, step]}
    action = "runs: {steps: [{run: cat greeting}]}"
    text = json.dumps({"on": "push", "jobs": {"a": job}})
    [check] = translate_workflow(text, "x.yml", read={"ci/greet/action.yml": action}.get).checks
    assert check.workdir == ""
    assert list(check.run) == ["cd web\nmake", *commands]
    assert check.artifacts == artifacts


def test_a_step_in_python_keeps_its_variables_and_folder(tmp_path: Path) -> None:
    check = job_of(
        {
            "shell": "python",
            "run": "import os\nprint('in', os.environ['A'], os.getcwd()[-3:])",
            "working-directory": "web",
            "env": {"A": "b c"},
        }
    )
    (tmp_path / "web").mkdir()
    [command] = check.run
    assert isinstance(command, str)
    output = subprocess.check_output(["sh", "-ec", command], cwd=tmp_path, text=True)
    assert output == "in b c web\n"


def test_variables_that_only_github_sets_are_noted() -> None:
    check = job_of({"run": 'echo "$GITHUB_REF ${RUNNER_TEMP} $GITHUB_TOKEN" >> $GITHUB_ENV'})
    unset = [note for note in check.notes if note.endswith("isn't set here")]
    assert unset == ["$GITHUB_REF isn't set here", "$RUNNER_TEMP isn't set here"]


def test_only_existing_filters_of_a_workflow_are_noted() -> None:
    text = "on: {push: {paths: [web/**]}}\njobs: {a: {steps: [{run: make}]}}"
    [check] = translate_workflow(text, "x.yml").checks
    assert "paths left out: the check runs for every change" in check.notes


def test_versions_without_an_image_are_not_used() -> None:
    text = """
on: {pull_request: {branches: [main]}}
jobs:
  a:
    strategy: {matrix: {go: [oldstable, "1.20.x", v1.21]}}
    steps: [{uses: actions/setup-go@v5, with: {go-version: "${{ matrix.go }}"}}, {run: go test}]
"""
    translated = translate_workflow(text, "x.yml")
    [check] = translated.checks
    assert (check.image, check.matrix) == ("golang:${go}", {"go": ["1.20", "1.21"]})
    assert translated.left_out == ["job a of x.yml: no image has go-version oldstable"]
    assert check.when == {"branches": ["main"]}


def test_commands_run_as_root_with_updated_package_lists() -> None:
    text = """
on: push
jobs:
  a: {steps: [{run: "sudo apt-get -y install lcov && sudo -E make\\nif x; then sudo y; fi\\necho sudo z"}]}
  b: {steps: [{run: sudo apt-get update && sudo apt-get install -y git}]}
  c: {steps: [{run: "sudo apt install lcov\\nsudo apt-get -q install a; apt-get install b -qq"}]}
"""
    first, second, third = translate_workflow(text, "x.yml").checks
    assert first.run == (
        "apt-get update",
        "apt-get -y install lcov && make\nif x; then y; fi\necho sudo z",
    )
    assert second.run == (
        "dpkg -s git >/dev/null 2>&1 || (apt-get update && apt-get install -y git)",
    )
    assert third.run[1] == ("apt install -y lcov\napt-get -q install -y a; apt-get install b -qq")


def test_a_value_that_depends_on_the_matrix_is_chosen_by_the_shell() -> None:
    text = """
on: push
jobs:
  a:
    strategy: {matrix: {python: ["3.14", "3.15-dev"]}}
    steps: [{run: make, env: {ABI: "${{ matrix.python == '3.15-dev' && '1' || '' }}"}}]
"""
    [check] = translate_workflow(text, "x.yml").checks
    [command] = check.run
    assert isinstance(command, str)
    for python, expected in (("3.14", ""), ("3.15-dev", "1")):
        script = command.replace("${python}", python).replace("make", 'echo "<$ABI>"')
        printed = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        assert printed.stdout == f"<{expected}>\n"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("always()", True),
        ("${{ success() || failure() }}", True),
        ("github.event_name == 'schedule'", False),
        ("github.event_name == 'push'", None),
        ("github.event_name == 'push' && github.ref == 'refs/heads/main'", None),
        ("github.event_name == 'schedule' && github.ref == 'refs/heads/main'", False),
        ("github.ref != 'refs/tags/v1'", True),
        ("startsWith(github.ref, 'refs/')", True),
        ("github.actor != 'dependabot[bot]'", True),
        ("contains(needs.*.result, 'failure')", False),
        ("contains(github.event.pull_request.labels.*.name, 'skip')", False),
        ("github.event.pull_request.draft == false", True),
        ("steps.cache.outputs.cache-hit != 'true'", True),
        ("steps.changes.outputs.src == 'true'", None),
        ("matrix.n >= 16 && 'it''s' == 'IT''S'", True),
        ("true && null", False),
        ("1 < 2 == true", True),
        ("env.X", None),
        ("a b", None),
        ("(", None),
        ("'", None),
        ("", None),
    ],
)
def test_conditions_have_the_same_meaning_as_at_github(
    condition: str, expected: bool | None
) -> None:
    cases = [case for event in ("push", "pull_request") for case in event_cases(event, {})]
    assert evaluate(condition, {"matrix.n": "20"}, cases) is expected


def test_conditions_are_tried_for_each_branch_that_a_push_may_have() -> None:
    text = """
on: {push: {branches: [main, next]}, pull_request: }
jobs:
  a:
    if: github.event_name == 'push' || github.event.pull_request.head.repo.full_name != github.repository
    steps:
      - {run: always, if: "github.event_name == 'pull_request' || github.ref_name != 'topic'"}
      - {run: sometimes, if: "github.ref == 'refs/heads/main'"}
  b: {if: "github.event_name == 'push'", steps: [{run: ls}]}
"""
    translated = translate_workflow(text, "x.yml")
    check, pushed = translated.checks
    assert pushed.when == {"events": ["push"], "branches": ["main", "next"]}
    assert check.run == ("always",)
    assert check.when == {}
    assert check.notes == [
        "step 'sometimes' only runs if github.ref == 'refs/heads/main'; it is left out",
        "ubuntu-latest has programs that buildpack-deps:stable hasn't",
        "the check also runs for pushes to branches other than main, next",
        "the check also runs where `if: github.event_name == 'push' || "
        "github.event.pull_request.head.repo.full_name != github.repository` may not hold",
    ]
    assert translated.left_out == []
    alone = text.replace("pull_request: ", "").replace("main, next", "main")
    first, second = translate_workflow(alone, "x.yml").checks
    assert first.run == ("always", "sometimes")
    assert second.when == {"events": ["push"], "branches": ["main"]}


def test_artifacts_of_a_matrix_are_taken_from_all_its_checks() -> None:
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
    assert check.run == ('mkdir -p got && cp -r "artifacts/x-a"*/dist/. got',)


def test_uploads_of_coverage_are_not_checks() -> None:
    text = """
on: push
jobs:
  a:
    env: {CODECOV_TOKEN: "${{ secrets.CODECOV_TOKEN }}", KEY: "${{ secrets.KEY }}"}
    steps:
      - run: npm test
      - run: bash <(curl -s https://codecov.io/bash)
      - run: npx coveralls < lcov.info
      - run: cat codecov.yml
"""
    [check] = translate_workflow(text, "x.yml").checks
    assert check.run == ("npm test", "cat codecov.yml")
    assert check.secrets == ["KEY"]
    assert check.notes[:2] == [
        "the secret CODECOV_TOKEN is left out: it's for uploads of coverage",
        "a step that uploads coverage is left out",
    ]
    assert check.notes[-1] == "give your runner its secrets (KEY): bassloop runner secret set NAME"


@pytest.mark.parametrize(
    ("command", "publishes"),
    [
        ("pnpm dlx pkg-pr-new publish --compact ./packages/*", True),
        ("npm ci && npm publish --provenance", True),
        ("pnpm -r publish", True),
        ("cargo publish -p core", True),
        ("python -m twine upload dist/*", True),
        ("npx semantic-release", True),
        ("npm publish --dry-run", False),
        ("cargo publish --dry-run", False),
        ("twine check dist/*", False),
        ("npm run publish-docs-test", False),
        ("pytest tests/test_publish.py", False),
    ],
)
def test_publishing_is_not_a_check(command: str, publishes: bool) -> None:
    job = {"steps": [{"run": "make test"}, {"run": command}]}
    text = yaml.safe_dump({"on": "push", "jobs": {"a": job}})
    [check] = translate_workflow(text, "x.yml").checks
    assert len(check.run) == 2 - publishes
    assert ("a step that publishes something is left out" in check.notes) is publishes


def test_a_need_that_was_left_out_is_reported() -> None:
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
def test_no_workflow_raises_an_error(job: object, step: object) -> None:
    content = {"on": "push", "jobs": {"a": job, "b": {"steps": [step]}}}
    translated = translate_workflow(yaml.safe_dump(content), "x.yml")
    write_declaration(translated.checks)


def job_of(*steps: object, read: Callable[[str], str | None] = lambda path: None) -> Proposal:
    text = json.dumps({"on": "push", "jobs": {"a": {"steps": steps}}})
    [check] = translate_workflow(text, "x.yml", read=read).checks
    return check


@pytest.mark.parametrize(
    ("inputs", "command"),
    [
        ({}, "npm install --global pnpm"),
        ({"version": 9, "run_install": False}, "npm install --global pnpm@9"),
        ({"version": "latest", "run_install": "null"}, "npm install --global pnpm"),
        ({"run_install": True}, "npm install --global pnpm && pnpm install"),
        (
            {"run_install": "- recursive: true\n  args: [--strict-peer-dependencies]\n- cwd: a b"},
            "npm install --global pnpm && pnpm recursive install --strict-peer-dependencies"
            " && (cd 'a b' && pnpm install)",
        ),
        ({"run_install": "args: [--frozen-lockfile"}, "npm install --global pnpm && pnpm install"),
    ],
)
def test_setting_up_pnpm_installs_packages_if_it_is_asked_to(
    inputs: dict[str, object], command: str
) -> None:
    check = job_of({"uses": "pnpm/action-setup@v4", "with": inputs}, {"run": "pnpm test"})
    assert check.run == (command, "pnpm test")


def test_components_are_added_to_the_toolchain_that_is_installed() -> None:
    setup = {"uses": "actions-rs/toolchain@v1", "with": {"toolchain": "nightly-2024-05-01"}}
    assert job_of(setup, {"run": "cargo fmt --check"}).run == (
        "rustup toolchain install --profile minimal nightly-2024-05-01",
        "cargo fmt --version || rustup component add rustfmt",
        "cargo fmt --check",
    )


@pytest.mark.parametrize(
    ("uses", "inputs", "image"),
    [
        ("dtolnay/rust-toolchain@stable", {}, "rust:1"),
        ("dtolnay/rust-toolchain@clippy", {}, "rust:1"),
        ("dtolnay/rust-toolchain@1.70.0", {}, "rust:1.70.0"),
        ("dtolnay/rust-toolchain@nightly", {}, "rustlang/rust:nightly"),
        ("dtolnay/rust-toolchain@master", {"toolchain": "1.65"}, "rust:1.65"),
        ("actions/setup-go@v5", {"go-version-file": "go.mod"}, "golang:1.24"),
        ("actions/setup-node@v4", {"node-version-file": ".nvmrc"}, "node:20.1"),
        ("astral-sh/setup-uv@v6", {"python-version": "3.12"}, "python:3.12"),
        ("astral-sh/setup-uv@v6", {}, "python:3.13"),
        ("pnpm/action-setup@v4", {}, "node:22"),
    ],
)
def test_a_version_is_found_wherever_a_workflow_may_name_it(
    uses: str, inputs: dict[str, str], image: str
) -> None:
    files = {"go.mod": "module x\n\ngo 1.24.1\n", ".nvmrc": "v20.1\n"}
    check = job_of({"uses": uses, "with": inputs}, {"run": "make"}, read=files.get)
    assert check.image == image
    assert not any("was taken for" in note for note in check.notes)


def test_the_last_of_several_versions_is_used_and_the_others_are_noted() -> None:
    step = {"uses": "actions/setup-python@v5", "with": {"python-version": "3.12\n3.13\n3.14\n"}}
    check = job_of(step, {"run": "make"})
    assert check.image == "python:3.14"
    assert check.notes == ["of the versions of python, there is only the last one"]


@pytest.mark.parametrize(("name", "image"), [("hydrogen", "node:18"), ("Jod", "node:22")])
def test_the_name_of_a_long_term_release_of_node_is_its_version(name: str, image: str) -> None:
    text = f"""
on: push
jobs:
  test:
    strategy: {{matrix: {{node: [lts/{name}]}}}}
    steps: [{{uses: actions/setup-node@v4, with: {{node-version: "${{{{ matrix.node }}}}"}}}}, {{run: npm test}}]
"""
    translated = translate_workflow(text, "x.yml")
    [check] = translated.checks
    assert (check.image, check.notes, translated.left_out) == (image, [], [])


def test_a_version_in_a_file_that_is_not_understood_is_noted() -> None:
    step = {
        "uses": "actions/setup-python@v5",
        "with": {"python-version-file": "pyproject.toml"},
    }
    check = job_of(step, {"run": "make"}, read={"pyproject.toml": "[project]"}.get)
    assert (check.image, check.notes) == (
        "python:3.13",
        ["python-version 'pyproject.toml' was taken for 3.13"],
    )


def test_a_matrix_of_python_versions_for_uv_runs_on_each_of_them() -> None:
    text = """
on: push
jobs:
  test:
    strategy: {matrix: {py: ["3.12", "3.13"]}}
    steps:
      - {uses: astral-sh/setup-uv@v6, with: {python-version: "${{ matrix.py }}"}}
      - run: uv run pytest
"""
    [check] = translate_workflow(text, "x.yml").checks
    assert (check.image, check.env) == ("python:${py}", {"UV_PYTHON": "${py}"})


@pytest.mark.parametrize(
    ("script", "image"),
    [
        ("cd src && cargo build", "rust:1"),
        ("CI=1 npm test", "node:22"),
        ("if true; then go test; fi", "golang:1.23"),
        ("make going\n./npm", "buildpack-deps:stable"),
    ],
)
def test_a_job_that_sets_up_nothing_gets_the_image_of_the_program_that_it_starts(
    script: str, image: str
) -> None:
    assert job_of({"run": script}).image == image


def test_components_of_rust_that_the_image_lacks_are_installed() -> None:
    check = job_of({"run": "cargo fmt --check\ncargo +nightly clippy"})
    assert check.run[:2] == (
        "cargo clippy --version || rustup component add clippy",
        "cargo fmt --version || rustup component add rustfmt",
    )


def test_targets_and_components_that_an_action_installs_with_rust_are_added() -> None:
    inputs = {"targets": "thumbv7em-none-eabi, wasm32-wasip1", "components": "clippy,rust-src"}
    check = job_of(
        {"uses": "dtolnay/rust-toolchain@stable", "with": inputs}, {"run": "cargo clippy"}
    )
    assert check.run == (
        "cargo clippy --version || rustup component add clippy",
        "rustup target add thumbv7em-none-eabi wasm32-wasip1",
        "rustup component add rust-src",
        "cargo clippy",
    )


@pytest.mark.parametrize("is_node_first", [True, False])
def test_a_job_with_node_and_bun_runs_in_the_image_of_node(is_node_first: bool) -> None:
    node = {"uses": "actions/setup-node@v4", "with": {"node-version": "20"}}
    bun = {"uses": "oven-sh/setup-bun@v2"}
    steps = [node, bun] if is_node_first else [bun, node]
    check = job_of(*steps, {"run": "bun install"}, {"run": "npm test"})
    assert check.image == "node:20"
    assert check.run == ("command -v bun || npm install --global bun", "bun install", "npm test")
    assert check.notes == []


def test_programs_that_bun_installs_are_where_npms_are() -> None:
    node = {"uses": "actions/setup-node@v4", "with": {"node-version": "20"}}
    check = job_of(node, {"uses": "oven-sh/setup-bun@v2"}, {"run": "bun add -g c8\nc8 npm test"})
    assert check.run[0] == (
        "(command -v bun || npm install --global bun) && "
        'printf \'[install]\\nglobalBinDir = "%s/bin"\\n\' "$(npm prefix --global)" >~/.bunfig.toml'
    )


@pytest.mark.parametrize("test", ['[ "$x" == y ]', '! test "$x" == y', "if [ 1 == 1 ]; then a; fi"])
def test_a_script_with_bashs_comparison_runs_in_bash(test: str) -> None:
    assert job_of({"run": test}).run == (("bash", "-ec", test),)


@pytest.mark.parametrize("script", ["pip install a==1", '[ "$x" = y ]; echo a == b'])
def test_a_script_that_any_shell_understands_runs_in_sh(script: str) -> None:
    assert job_of({"run": script}).run[-1] == script


def test_entries_of_a_matrix_for_other_systems_are_listed() -> None:
    text = """
on: push
jobs:
  test:
    runs-on: ${{ matrix.os || 'ubuntu-latest' }}
    strategy: {matrix: {include: [{py: "3.13"}, {name: Mac, os: macos-latest}]}}
    steps: [{run: "case $X in a) sudo make ${{ runner.os }};; esac"}]
  win:
    runs-on: ${{ matrix.os }}
    strategy: {matrix: {include: [{os: windows-latest}]}}
    steps: [{run: dir}]
"""
    translated = translate_workflow(text, "x.yml")
    assert translated.left_out == [
        "job test of x.yml: it also runs on macos-latest",
        "job win of x.yml: it runs on windows-latest",
    ]
    [check] = translated.checks
    assert check.run == ("case $X in a) make Linux;; esac",)


def test_debian_packages_are_installed_only_if_some_are_missing() -> None:
    """So a check also works in a sandbox, which installs nothing, on a machine that has them."""
    check = job_of(
        {"run": "sudo apt-get update"},
        {"run": "sudo apt-get update -q\nsudo apt-get install -qq g++ \\\n  valgrind\nmake"},
    )
    assert check.run == (
        "dpkg -s g++ valgrind >/dev/null 2>&1 || (apt-get update && apt-get install -qq g++ valgrind)\nmake",
    )
    unknown = job_of({"run": "apt-get update; apt-get install -y $CC"})
    assert unknown.run == ("apt-get update; apt-get install -y $CC",)


@pytest.mark.parametrize(
    ("files", "package"),
    [
        ({"package.json": '{"packageManager": "pnpm@9.1.0+sha1.0"}'}, "pnpm@9.1.0"),
        ({"package.json": '{"packageManager": "yarn@4.5.0"}'}, "@yarnpkg/cli-dist@4.5.0"),
        ({"package.json": '{"packageManager": "yarn@1.22.0"}'}, "yarn@1.22.0"),
        ({"package.json": "{}", "yarn.lock": ""}, "yarn"),
        ({"yarn.lock": "", ".yarnrc.yml": ""}, "@yarnpkg/cli-dist"),
        ({"pnpm-lock.yaml": "", ".yarnrc.yml": ""}, "pnpm"),
        ({}, "pnpm"),
    ],
)
def test_a_package_manager_is_installed_where_corepack_cannot(
    files: dict[str, str], package: str
) -> None:
    check = job_of({"run": "corepack enable"}, read=files.get)
    assert check.run == (f"corepack enable 2>/dev/null || npm install --global {package}",)


@pytest.mark.parametrize("script", ["true", "exit 0", ":", "# nothing\necho done"])
def test_a_job_that_does_nothing_is_not_a_check(script: str) -> None:
    """It would always be green."""
    jobs = {"a": {"steps": [{"run": script}]}, "b": {"steps": [{"run": f"{script}; make"}]}}
    translated = translate_workflow(json.dumps({"on": "push", "jobs": jobs}), "x.yml")
    assert [check.name for check in translated.checks] == ["b"]
    assert translated.left_out[0] == (
        "job a of x.yml: its commands do nothing, so it would always succeed"
    )


def test_a_job_that_only_waits_for_others_is_a_check() -> None:
    jobs = {"a": {"steps": [{"run": "make"}]}, "b": {"needs": "a", "steps": [{"run": "true"}]}}
    translated = translate_workflow(json.dumps({"on": "push", "jobs": jobs}), "x.yml")
    assert [check.needs for check in translated.checks] == [[], ["a"]]


def test_a_job_that_fixes_files_fails_if_there_was_something_to_fix() -> None:
    check = job_of(
        {"run": "npm install"}, {"run": "npm run format"}, {"uses": "autofix-ci/action@v1"}
    )
    assert check.run == ("npm install", "npm run format", "git diff --exit-code")


@pytest.mark.parametrize(
    ("uses", "inputs", "command"),
    [
        (
            "dtolnay/install@cargo-outdated",
            {},
            "(command -v cargo-outdated || cargo install --locked cargo-outdated)",
        ),
        (
            "taiki-e/install-action@v2",
            {"tool": "cargo-hack@0.6, cargo-deny"},
            "(command -v cargo-hack || cargo install --locked cargo-hack@0.6) && "
            "(command -v cargo-deny || cargo install --locked cargo-deny)",
        ),
    ],
)
def test_an_action_that_installs_a_crate_becomes_a_command(
    uses: str, inputs: dict[str, str], command: str
) -> None:
    check = job_of({"uses": uses, "with": inputs}, {"run": "cargo outdated"})
    assert check.run == (command, "cargo outdated")
    assert check.notes == ["ubuntu-latest has programs that rust:1 hasn't"]


def test_an_unknown_action_that_sets_something_up_asks_for_another_image() -> None:
    check = job_of({"uses": "mlugg/setup-zig@v2"}, {"run": "zig build test"})
    assert check.notes[0] == (
        "the action mlugg/setup-zig@v2 is left out: choose an image that has what it sets up, or install that"
    )


@pytest.mark.parametrize(
    ("manifest", "image", "note"),
    [
        (
            '[package]\nrust-version = "1.88"',
            "rust:1.88",
            "toolchain '${{ needs.meta.outputs.msrv }}' was taken for Cargo.toml's rust-version",
        ),
        (
            '[workspace.package]\nrust-version = "1.70.0"',
            "rust:1.70.0",
            "toolchain '${{ needs.meta.outputs.msrv }}' was taken for Cargo.toml's rust-version",
        ),
        ("", "rust:1", "toolchain '${{ needs.meta.outputs.msrv }}' was taken for 1"),
    ],
)
def test_a_minimum_rust_version_that_another_job_computes_is_read_from_the_manifest(
    manifest: str, image: str, note: str
) -> None:
    toolchain = {"toolchain": "${{ needs.meta.outputs.msrv }}"}
    check = job_of(
        {"uses": "dtolnay/rust-toolchain@master", "with": toolchain},
        {"run": "cargo test"},
        read={"Cargo.toml": manifest}.get,
    )
    assert (check.image, check.notes[-1]) == (image, note)


def test_a_job_installs_the_packages_that_an_unknown_action_would_install() -> None:
    files = {
        "package.json": '{"packageManager": "pnpm@9.1.0"}',
        "pnpm-lock.yaml": "",
        ".nvmrc": "24.1",
    }
    setup = {"uses": "example/config/.github/setup@v1"}
    check = job_of(setup, {"run": "pnpm test"}, read=files.get)
    assert check.image == "node:24"
    assert check.run == (
        "npm install --global pnpm@9.1.0 && pnpm install --frozen-lockfile",
        "pnpm test",
    )
    assert "no step installs the packages of package.json: the first command does" in check.notes
    for steps in ([{"run": "pnpm test"}], [setup, {"run": "pnpm i"}, {"run": "pnpm test"}]):
        assert "pnpm install --frozen" not in str(job_of(*steps, read=files.get).run)


@pytest.mark.parametrize(
    ("step", "caches"),
    [
        ({"uses": "actions/setup-node@v4"}, {"npm": "/root/.npm"}),
        ({"uses": "dtolnay/rust-toolchain@stable"}, {}),
        ({"uses": "astral-sh/setup-uv@v6"}, {"uv": "/root/.cache/uv", "pip": "/root/.cache/pip"}),
        ({"run": "npm ci"}, {"npm": "/root/.npm"}),
    ],
)
def test_downloads_are_cached_even_if_the_workflow_does_not_say_so(
    step: dict[str, str], caches: dict[str, str]
) -> None:
    """GitHub's machines are close to the registries; a developer's may not be."""
    assert job_of(step, {"run": "pip install x"}).caches == caches


def test_an_artifact_whose_path_is_computed_is_left_out() -> None:
    check = job_of(
        {"run": "make"},
        {"uses": "actions/upload-artifact@v4", "with": {"path": "${{ steps.a.outputs.b }}"}},
    )
    assert check.artifacts == []
    assert any(note.endswith("is left out: its path isn't known") for note in check.notes)


def test_an_elixir_job_installs_the_package_manager_that_the_image_lacks() -> None:
    check = job_of(
        {"uses": "erlef/setup-beam@v1", "with": {"elixir-version": "1.17"}}, {"run": "mix test"}
    )
    assert check.image == "elixir:1.17"
    assert check.run == ("mix local.hex --force && mix local.rebar --force", "mix test")


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("", []),
        ("name: tests", []),
        (
            "name: Unit tests",
            [
                "`name: Unit tests` isn't used: in a rule that requires the check, its name is tests now"
            ],
        ),
    ],
)
def test_a_jobs_own_name_is_reported_as_dropped(name: str, notes: list[str]) -> None:
    text = f"on: push\njobs:\n  tests:\n    {name}\n    container: busybox\n    steps: [{{run: make}}]\n"
    [check] = translate_workflow(text, "x.yml").checks
    assert check.notes == notes
