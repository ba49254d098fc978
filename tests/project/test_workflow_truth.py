"""What `init` can't translate never becomes a check that passes without it."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from bassloop.project.workflows.step_scripts import is_preparation
from bassloop.project.workflows.translation import Workflow, translate_workflow

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.project.proposals import Proposal


def translate(*steps: object, on: object = "push", **job: object) -> Workflow:
    content = {"on": on, "jobs": {"a": {"steps": steps, **job}}}
    return translate_workflow(json.dumps(content), "x.yml")


def run_commands(check: Proposal, folder: Path) -> str:
    """Return what a check's commands print, one after the other, with one home."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    printed = ""
    for command in check.run:
        words = ["sh", "-ec", command] if isinstance(command, str) else list(command)
        printed += subprocess.check_output(words, env=environment, cwd=folder, text=True)
    return printed


@pytest.mark.parametrize(
    ("steps", "lost"),
    [
        (
            [{"run": "git config user.name us"}, {"uses": "github/codeql-action/analyze@v3"}],
            "the action github/codeql-action/analyze",
        ),
        (
            [{"run": "pip install tox"}, {"run": "tox", "if": "steps.x.outputs.y"}],
            "step 'tox'",
        ),
    ],
)
def test_a_job_with_only_preparations_left_is_not_a_check(steps: list[object], lost: str) -> None:
    translated = translate(*steps)
    assert not translated.checks
    assert translated.left_out == [
        f"job a of x.yml: a check would only prepare what isn't translated: {lost}"
    ]


def test_a_job_that_only_installs_is_a_check_if_it_does_nothing_else() -> None:
    assert [check.run for check in translate({"run": "npm ci"}).checks] == [("npm ci",)]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("python -m pip install --upgrade pip setuptools\npip install tox", True),
        ("if [ -e x ]; then\n  export A=1\nfi", True),
        ("case \"${v}\" in '1')\nnpm ci\n;; esac", True),
        ("dpkg -s a >/dev/null 2>&1 || (apt-get update && apt-get install -y a)", True),
        ("command -v uv || pip install uv\nuv sync --group docs", True),
        ("CI=1 cargo install --locked x \\\n  y", True),
        ("gcc --version", True),
        ("", True),
        ("pip install tox && tox", False),
        ("npm run install:check", False),
        ("npm test", False),
        ("if make test; then echo good; fi", False),
        ("CI=1 ./run", False),
        ("test -e dist", False),
        ("case \"${v}\" in '1')\nmake\n;; esac", False),
        ("(cd x && make)", False),
        ("uv run pytest", False),
    ],
)
def test_preparations_are_distinguished_from_the_actual_work(script: str, expected: bool) -> None:
    assert is_preparation([script]) is expected


def test_a_step_that_examines_its_needs_is_covered_by_the_needs() -> None:
    step = {"run": "jq -e 'all(.result == \"success\")' <<< '${{ toJSON(needs) }}'"}
    content = {
        "on": "push",
        "jobs": {
            "a": {"steps": [{"run": "make"}]},
            "b": {"needs": "a", "if": "always()", "steps": [step, {"run": "ls"}]},
        },
    }
    check = translate_workflow(json.dumps(content), "x.yml").checks[1]
    assert (check.run, check.needs) == (("ls",), ["a"])
    assert check.notes[0].startswith("a check only starts if its needs succeeded")
    assert translate(step, needs="x").left_out == [
        "job a of x.yml: it only reports whether the jobs succeeded that it needs"
    ]


def test_outputs_of_a_step_reach_the_scripts_and_conditions_after_it(tmp_path: Path) -> None:
    [check] = translate(
        {"id": "meta", "run": 'echo "tag=v 1" >> "$GITHUB_OUTPUT"\necho on=true >> $GITHUB_OUTPUT'},
        {"run": 'echo "got ${{ steps.meta.outputs.tag }}"'},
        {"run": 'echo "and $TAG"', "env": {"TAG": "${{ steps.meta.outputs.tag }}"}},
        {"run": "echo yes", "if": "steps.meta.outputs.on == 'true'"},
        {"run": "echo no", "if": "${{ steps.meta.outputs.on != 'true' }}"},
        {"run": "echo set", "if": "steps.meta.outputs.tag"},
        {"run": "echo unset", "if": "steps.meta.outputs.none"},
    ).checks
    assert run_commands(check, tmp_path) == "got v 1\nand v 1\nyes\nset\n"
    assert not any("output" in note for note in check.notes)


def test_an_output_that_no_script_writes_is_still_noted() -> None:
    [check] = translate(
        {"id": "filter", "uses": "dorny/paths-filter@v3"},
        {"run": "make"},
        {"run": "make web", "if": "steps.filter.outputs.web == 'true'"},
    ).checks
    assert check.run == ("make",)
    assert any("step 'make web' only runs if" in note for note in check.notes)


def test_paths_below_the_workspace_work_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "VERSION").write_text("1.2\n")
    [check] = translate(
        {"run": "cat ${{ github.workspace }}/VERSION", "working-directory": "web"},
        {"run": 'cat "$GITHUB_WORKSPACE/VERSION"'},
    ).checks
    assert run_commands(check, tmp_path) == "1.2\n1.2\n"
    assert not any("github" in note.lower() for note in check.notes)


def test_the_version_that_an_action_set_up_reaches_the_scripts_after_it(tmp_path: Path) -> None:
    [check] = translate(
        {"id": "py", "uses": "actions/setup-python@v5"},
        {
            "run": "echo ${{ steps.py.outputs.python-version }} $PWD",
            "working-directory": "${{ runner.temp }}",
        },
    ).checks
    version, folder = run_commands(check, tmp_path).split()
    assert (version.partition(".")[0], folder) == ("3", "/tmp")


def test_a_package_that_an_action_builds_reaches_the_jobs_that_need_it() -> None:
    content = {
        "on": "push",
        "jobs": {
            "build": {"steps": [{"uses": "hynek/build-and-inspect-python-package@v2"}]},
            "test": {
                "needs": "build",
                "steps": [
                    {
                        "uses": "actions/download-artifact@v4",
                        "with": {"name": "Packages", "path": "dist"},
                    },
                    {"run": "tox --installpkg dist/*.whl"},
                ],
            },
        },
    }
    build, test = translate_workflow(json.dumps(content), "x.yml").checks
    assert (build.image, build.artifacts) == ("python:3.13", ["dist/**"])
    assert "python3 -m build" in build.run[0]
    assert test.uses == ["build"]
    assert test.run[0] == "mkdir -p dist && cp -r artifacts/build/dist/. dist"


OURS: dict[str, Any] = {"if": "github.repository == 'us/it' && github.event_name == 'push'"}


def test_a_job_that_is_skipped_for_forks_becomes_a_check_that_says_where_it_runs() -> None:
    [check] = translate({"run": "make"}, on=["push", "pull_request"], **OURS).checks
    assert check.when == {"events": ["push"]}
    assert check.notes[-1] == (
        "the check also runs where github.repository isn't us/it, such as in a fork"
    )


def test_a_release_job_that_is_skipped_for_forks_is_left_out() -> None:
    translated = translate({"run": "make"}, permissions={"contents": "write"}, **OURS)
    assert not translated.checks
    assert "github.repository == 'us/it'" in translated.left_out[0]


def test_a_job_for_pushes_and_pull_requests_of_forks_runs_for_both() -> None:
    condition = (
        "github.event_name != 'pull_request' || github.event.pull_request.head.repo.full_name "
        "!= github.event.pull_request.base.repo.full_name"
    )
    translated = translate({"run": "make"}, on=["push", "pull_request"], **{"if": condition})
    [check] = translated.checks
    assert check.when == {}
    assert f"the check also runs where `if: {condition}` may not hold" in check.notes


def test_a_program_that_is_missing_in_the_image_is_installed() -> None:
    setup = {"uses": "actions/setup-python@v5", "with": {"python-version": "3.13"}}
    [check] = translate(setup, {"run": "pipx run nox -s tests"}).checks
    assert check.run == ("command -v pipx || pip install pipx", "pipx run nox -s tests")


FILTERED = """
on: {push: {branches: [main]}}
jobs:
  changes:
    outputs: {src: "${{ steps.filter.outputs.src }}"}
    steps: [{uses: dorny/paths-filter@v3, id: filter}]
  duplicates:
    steps: [{uses: fkirc/skip-duplicate-actions@v5}]
  computed:
    outputs: {yes: "${{ steps.a.outputs.yes }}"}
    steps: [{run: ./decide, id: a}]
  test:
    needs: [changes, duplicates]
    if: needs.changes.outputs.src == 'true' && needs.duplicates.outputs.should_skip != 'true'
    steps: [{run: make test}]
  publish:
    needs: changes
    if: needs.changes.outputs.src == 'true'
    permissions: {contents: write}
    steps: [{run: make publish}]
  other:
    needs: computed
    if: needs.computed.outputs.yes
    steps: [{run: make other}]
"""


def test_a_job_that_another_job_skips_for_some_changes_runs_for_all_of_them() -> None:
    translated = translate_workflow(FILTERED, "x.yml")
    by_name = {check.name: check for check in translated.checks}
    assert by_name.keys() == {"computed", "test"}
    assert by_name["test"].notes == [
        "ubuntu-latest has programs that buildpack-deps:stable hasn't",
        "the check runs for every change: it doesn't depend on needs.changes.outputs.src",
        "the check runs for every change: it doesn't depend on needs.duplicates.outputs.should_skip",
        "needs changes, duplicates, which was left out",
    ]
    left_out = " ".join(translated.left_out)
    assert "job publish of x.yml: it only runs if" in left_out
    assert "job other of x.yml: it only runs if" in left_out
