"""`bassloop init`: a file that can be tried at once."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bassloop.cli import cli
from bassloop.project import read_checks
from tests.repositories import git

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository


def initialized(folder: Path, *options: str, status: int = 0) -> str:
    done = CliRunner().invoke(cli, ["init", *options, str(folder)])
    assert done.exit_code == status, done.output
    return done.output


def test_a_folder_of_git_s_own_gets_no_checks(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(file="")
    git(tmp_path, "clone", "--quiet", "--bare", str(path), "bare.git")
    git(tmp_path / "bare.git", "worktree", "add", "--quiet", "inside")
    for folder in (path / ".git", path / ".git/refs", tmp_path / "bare.git"):
        output = initialized(folder, status=1)
        assert f"{folder} is where Git keeps a repository, and not its working tree" in output
        assert not (folder / ".bassloop.toml").exists()
    assert "wrote" in initialized(tmp_path / "bare.git/inside")


def test_projects_in_folders_get_checks_of_their_own(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for name in ("api/go.mod", "web/test.sh", "docs/test.sh", ".hidden/test.sh"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    said = initialized(tmp_path)
    assert "api-test: go test ./...  (for api/go.mod)" in said
    checks = read_checks((tmp_path / ".bassloop.toml").read_bytes())
    assert {name: check.workdir for name, check in checks.items()} == {
        "api-test": "api",
        "api-vet": "api",
        "web-test": "web",
    }


def test_a_file_that_git_ignores_is_reported_with_the_line_that_includes_it(
    make_repository: MakeRepository,
) -> None:
    path = make_repository(**{".gitignore": "/*\n!/.gitignore\n", "test.sh": "true\n"})
    assert "Git ignores .bassloop.toml" in initialized(path)
    with (path / ".gitignore").open("a") as file:
        file.write("!/.bassloop.toml\n")
    (path / ".bassloop.toml").unlink()
    assert "Git ignores" not in initialized(path)


def test_projects_two_folders_down_are_found(tmp_path: Path) -> None:
    for name in ("services/api/go.mod", "services/api/sub/test.sh", "apps/web/tests/test.sh"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert "services-api-test: go test ./..." in initialized(tmp_path)
    checks = read_checks((tmp_path / ".bassloop.toml").read_bytes())
    assert {name: check.workdir for name, check in checks.items()} == {
        "services-api-test": "services/api",
        "services-api-vet": "services/api",
    }


@pytest.mark.parametrize("name", ["my.app", "two words", "größe", 'a"b', "0"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "test.sh").touch()
    initialized(tmp_path)
    checks = read_checks((tmp_path / ".bassloop.toml").read_bytes())
    assert {key: check.workdir for key, check in checks.items()} == {f"{name}-test": name}


@pytest.mark.parametrize("name", [b"p\xff", b"p\nq"])
def test_a_folder_that_toml_cannot_name_gets_no_checks(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    (folder / "test.sh").touch()
    initialized(tmp_path)
    assert read_checks((tmp_path / ".bassloop.toml").read_bytes()).keys() == {"hello"}


def test_a_repository_of_many_projects_gets_a_file_of_limited_length(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"p{number:02}").mkdir()
        (tmp_path / f"p{number:02}" / "test.sh").touch()
    assert "left out 20 more" in initialized(tmp_path)
    assert len(read_checks((tmp_path / ".bassloop.toml").read_bytes())) == 40


def test_folders_of_the_same_kind_belong_to_the_project_at_the_top(tmp_path: Path) -> None:
    for name in ("go.mod", "api/go.mod", "web/test.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    initialized(tmp_path)
    names = list(read_checks((tmp_path / ".bassloop.toml").read_bytes()))
    assert names == ["test", "vet", "web-test"]
    said = initialized(tmp_path, status=1)
    assert "has checks already: `bassloop try --list` lists them" in said
    before = (tmp_path / ".bassloop.toml").read_text()
    assert initialized(tmp_path, "--print") == before


def test_print_writes_no_file(tmp_path: Path) -> None:
    assert "[checks.hello]" in initialized(tmp_path, "--print")
    assert not list(tmp_path.iterdir())


def test_workflows_are_translated_each_check_with_a_name_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (tmp_path / "go.mod").touch()
    for name in ("a.yml", "b.yaml"):
        (folder / name).write_text(
            "on: push\njobs: {t: {steps: [{run: ls}]}, u: {needs: t, steps: [{run: go test}, {uses: x/y@v1}]}}"
        )
    assert "the action x/y@v1 is left out" in initialized(tmp_path)
    checks = read_checks((tmp_path / ".bassloop.toml").read_bytes())
    assert {name: check.needs for name, check in checks.items()} == {
        "t": [],
        "u": ["t"],
        "b-t": [],
        "b-u": ["b-t"],
    }
    (tmp_path / ".bassloop.toml").unlink()
    assert "go test ./..." in initialized(tmp_path, "--no-workflows")


def test_parts_of_workflows_that_are_left_out_are_noted_in_the_file(tmp_path: Path) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "ci.yml").write_text(
        "on: push\njobs:\n"
        "  t: {steps: [{run: make test}, {run: cat log, if: failure()}]}\n"
        "  mac: {runs-on: macos-latest, steps: [{run: make test}]}\n"
        '  odd: {if: "failure(\\n\\e)", steps: [{run: ls}]}\n'
    )
    shown = initialized(tmp_path, "--print")
    assert (
        "# left out: job mac of .github/workflows/ci.yml: it runs on macos-latest\n"
        "# left out: job odd of .github/workflows/ci.yml: it only runs if failure( ), which"
    ) in shown.partition("[checks")[0]
    assert "# - step 'cat log' only runs if failure(); it is left out\n" in shown
    assert "left out: job mac of" in initialized(tmp_path)
    written = (tmp_path / ".bassloop.toml").read_bytes()
    assert written.decode() == shown
    assert list(read_checks(written)) == ["t"]


@pytest.mark.parametrize(
    ("command", "is_test"),
    [
        ("cargo clippy --tests --workspace", False),
        ("cargo check && cargo fmt -- --check", False),
        ("ruff check . && mypy src tests", False),
        ("pip install -r requirements-test.txt", False),
        ("curl -L https://example.com/latest/tool", False),
        ("git diff --exit-code tests", False),
        ("npm install && npm test", True),
        ("cargo +nightly test", True),
        ("uv run --locked tox", True),
        ("cd build\nmake check", True),
        ("./mvnw -B verify", True),
    ],
)
def test_the_projects_own_tests_are_added_unless_a_workflow_runs_tests(
    tmp_path: Path, command: str, is_test: bool
) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (tmp_path / "go.mod").touch()
    job = {"steps": [{"run": command}]}
    (folder / "ci.yml").write_text(json.dumps({"on": "push", "jobs": {"a": job, "test": job}}))
    initialized(tmp_path)
    checks = read_checks((tmp_path / ".bassloop.toml").read_bytes())
    added = {name: check.commands for name, check in checks.items() if name not in ("a", "test")}
    tests = {"project-test": ["go test ./..."], "vet": ["go vet ./..."]}
    assert added == ({} if is_test else tests)


@pytest.mark.parametrize(
    ("programs", "euid", "advice"),
    [
        ("apt sudo", 1000, "Install Podman (sudo apt install podman) or Docker"),
        ("apt", 1000, 'Install Podman (su -c "apt install podman") or Docker'),
        ("dnf sudo", 0, "Install Podman (dnf install podman) or Docker"),
        (
            "brew",
            501,
            "Install Podman (brew install podman && podman machine init && podman machine start) or Docker",
        ),
        ("", 1000, "Install Podman or Docker"),
    ],
)
def test_without_an_engine_init_says_what_the_first_try_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: str, euid: int, advice: str
) -> None:
    bin_folder, project = tmp_path / "bin", tmp_path / "project"
    bin_folder.mkdir()
    project.mkdir()
    for name in programs.split():
        (bin_folder / name).touch(mode=0o755)
    (project / "package.json").write_text('{"scripts": {"test": "true"}}')
    monkeypatch.setenv("PATH", str(bin_folder))
    monkeypatch.setattr("os.geteuid", lambda: euid)
    said = initialized(project)
    assert f"Neither Podman nor Docker is installed. {advice}" in said
    assert "so that these checks run in node:22" in said
    assert "with the programs of this machine, which has no npm." in said
    (bin_folder / "podman").touch(mode=0o755)
    (project / ".bassloop.toml").unlink()
    assert "installed" not in initialized(project)


def test_a_program_of_this_machine_that_is_too_old_for_the_project_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, project = tmp_path / "bin/node", tmp_path / "project"
    node.parent.mkdir()
    node.write_text("#!/bin/sh\necho v20.20.2\n")
    node.chmod(0o755)
    project.mkdir()
    (project / "package.json").write_text('{"scripts": {"test": "x"}, "engines": {"node": ">=22"}}')
    monkeypatch.setenv("PATH", str(node.parent))
    assert (
        "this machine has Node 20.20.2, and engines in package.json requires 22 or newer: "
        "without a container engine, the checks may fail here"
    ) in initialized(project)
