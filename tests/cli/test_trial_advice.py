"""The advice at the end of a trial about its failures."""

from __future__ import annotations

import errno
import tempfile
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.cli.trial_advice import (
    explain_full_disk,
    explain_scripts,
    explain_surroundings,
    place_of_missing,
)
from bassloop.cli.trial_display import CheckResult
from bassloop.cli.trial_session import callable_name, verdict
from bassloop.store import Store
from tests.commands import run_command
from tests.records import make_run
from tests.repositories import git

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

pytestmark = pytest.mark.usefixtures("shared_fork_servers")

TOML = """
[checks.other]
run = "frob"

[checks.test]
run = [
  "echo not-frob frob-txt",
  "frob --all",
]

[checks."odd one"]
matrix = { v = ["1", "2"] }
run = "exec frob"

[checks.away]
workdir = "no/such"
"""


@pytest.mark.parametrize(
    ("check", "why", "place"),
    [
        ("test", "sh: 1: frob: not found", ".bassloop.toml:8"),
        ("test", "frob: command not found\nexit status 127: sh -ec frob", ".bassloop.toml:8"),
        ("odd one (2)", "there is no command frob on this runner's machine", ".bassloop.toml:13"),
        ("other", 'exec: "frob": executable file not found in $PATH', ".bassloop.toml:3"),
        ("other", "crun: executable file `frob` not found in $PATH", ".bassloop.toml:3"),
        (
            "away",
            "there is no folder no/such in the files that the command is given: sh -ec ls",
            ".bassloop.toml:16",
        ),
        ("hook", "frob: not found", "project.bass:2"),
        (
            "hook",
            "there is no folder a/dir in the files that the command is given",
            "project.bass:3",
        ),
        ("hook", "a/dir is a file, and is used as a folder", "project.bass:3"),
        ("test", "AssertionError: frob", None),
        ("test", "nowhere: not found", None),
    ],
)
def test_the_location_of_a_missing_program_is_found(
    tmp_path: Path, check: str, why: str, place: str | None
) -> None:
    (tmp_path / ".bassloop.toml").write_text(TOML)
    (tmp_path / "project.bass").write_text("(def x\n  ($ frob))\n(cd (subpath src ./a/dir/) x)\n")
    assert place_of_missing(tmp_path, check, why) == place


@pytest.mark.parametrize(
    ("text", "mode", "why", "advice"),
    [
        ("#!/bin/sh\r\nls\r\n", 0o755, "./x.sh: not found", "x.sh has Windows line breaks"),
        (
            "set -e\r\n",
            0o644,
            "set: Illegal option -\n    at x.sh:1",
            "x.sh has Windows line breaks",
        ),
        ("#!/bin/sh\n", 0o644, "./x.sh: Permission denied", "x.sh isn't executable: chmod +x x.sh"),
        ("#!/bin/sh\n", 0o755, "./x.sh: Permission denied", "mounted noexec, set TMPDIR"),
        ("#!/usr/bin/ksh\n", 0o755, "./x.sh: not found", "but /usr/bin/ksh, which its first line"),
        ("#!/bin/sh\n", 0o755, "exit status 1: sh x.sh", None),
    ],
)
def test_mistakes_in_a_script_are_reported(
    tmp_path: Path, text: str, mode: int, why: str, advice: str | None
) -> None:
    path = tmp_path / "x.sh"
    path.write_bytes(text.encode())
    path.chmod(mode)
    found = explain_scripts(tmp_path, f"{why}\nexit status 9: sh ../x.sh /etc/passwd \0 x.sh")
    assert (advice is None and found == []) or (advice is not None and advice in found[0])
    assert len(found) <= 1


def test_a_script_that_is_executable_here_but_not_in_git_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.sh"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    [advice] = explain_scripts(tmp_path, "./x.sh: Permission denied", {"x.sh": False}.get)
    assert advice.endswith("git update-index --chmod=+x x.sh")
    [advice] = explain_scripts(tmp_path, "./x.sh: Permission denied", {"x.sh": True}.get)
    assert "noexec" in advice


def test_the_location_of_a_misspelt_folder_in_a_hook_is_found(
    make_repository: MakeRepository,
) -> None:
    path = make_repository(":t (cd (subpath src ./no/such/) ($ true))", file="")
    place = next(
        f"project.bass:{number}"
        for number, line in enumerate((path / "project.bass").read_text().splitlines(), 1)
        if "./no/such/" in line
    )
    done = run_command("try", "--engine", "host", path)
    assert "there is no folder no/such in the files that the command is given" in done.stdout
    assert f"    at {place}\n" in done.stdout


def test_a_file_that_is_used_as_a_folder_is_reported(make_repository: MakeRepository) -> None:
    path = make_repository(
        **{".bassloop.toml": '[checks.a]\nworkdir = "f"\nrun = "true"\n', "f": ""}
    )
    done = run_command("try", "--engine", "host", path)
    assert "f is a file, and is used as a folder" in done.stdout
    assert "    at .bassloop.toml:2\n" in done.stdout


def test_an_ignored_file_of_checks_is_reported(make_repository: MakeRepository) -> None:
    path = make_repository(**{".gitignore": ".bassloop.toml\n"})
    (path / ".bassloop.toml").write_text('[checks.a]\nrun = "true"\n')
    done = run_command("try", "--engine", "host", path)
    assert "Git ignores .bassloop.toml, so it isn't part of what is tried" in done.stdout
    assert done.returncode == 1


def test_a_repository_without_a_working_tree_is_reported(make_repository: MakeRepository) -> None:
    path = make_repository(**{".bassloop.toml": '[checks.a]\nrun = "true"\n'})
    done = run_command("try", "--engine", "host", path / ".git")
    assert "is in a repository, but has no files" in done.stderr


def test_a_repository_that_git_refuses_is_reported_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /nonexistent\n")
    (tmp_path / ".bassloop.toml").write_text('[checks.a]\nrun = "true"\n')
    done = run_command("try", "--engine", "host", tmp_path)
    assert f"Git can't use the repository {tmp_path}: git status: fatal: not a git" in done.stderr
    assert done.returncode == 1


def test_probable_mistakes_are_reported_before_the_checks_run(
    make_repository: MakeRepository,
) -> None:
    path = make_repository(**{".bassloop.toml": '[checks.a]\nrun = ["cd /", "pwd"]\n'})
    done = run_command("try", "--engine", "host", path)
    told = ".bassloop.toml:2: warning: checks.a.run: 'cd /' has no effect on the next command"
    assert done.stdout.index(told) < done.stdout.index("a running")


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        ('runc: exec: "sh": executable file not found in $PATH', "the image has no shell"),
        ("crun: executable file `sh` not found in $PATH", "the image has no shell"),
        ("EOFError: EOF when reading a line", "commands have no input and no terminal"),
        ("exit status 1: sh -ec 'read answer'", "commands have no input and no terminal"),
        ("fatal: could not read Username for 'https://h'", "commands have no input"),
        (
            "List directory /var/lib/apt/lists/partial is missing. - Acquire\nexit status 100: sh -ec 'apt-get update "
            "&& apt-get install -y clang g++'",
            "Install what is missing yourself: sudo apt-get install clang g++. With Podman",
        ),
        (
            "could not create temp file /root/.rustup/tmp/a_file: Read-only file system (os error 30)",
            "a sandbox can't install programs or toolchains for the whole machine. Install what",
        ),
        (
            "error: could not rename component file from '/usr/local/rustup/toolchains/x/lib' to "
            "'/usr/local/rustup/tmp/y/bk': Invalid cross-device link (os error 18)",
            "rustup can't change a toolchain that an image contains",
        ),
        (
            "error: could not rename component directory from '/r/toolchains/x' to '/r/tmp/y'\n"
            "info: caused by: Invalid cross-device link (os error 18)",
            "install a toolchain of another name, such as: rustup toolchain install",
        ),
        ("ln: x: Invalid cross-device link", None),
        ("cp: /data/x: Read-only file system", None),
        ("exit status 1: sh -ec './read-all'", None),
        ('exec: "shellcheck": executable file not found in $PATH', None),
    ],
)
def test_missing_requirements_of_a_command_are_explained(why: str, advice: str | None) -> None:
    found = explain_surroundings(why)
    assert (advice is None and not found) or (advice is not None and advice in found[0])


@pytest.mark.parametrize(
    ("why", "is_full"),
    [
        ("dd: error writing 'big': No space left on device", True),
        ("the runner can't store the output (No space left on device): sh -ec yes", True),
        ("on the runner's machine, the disk of /tmp/x/runner is nearly full: sh -ec yes", True),
        ("database /tmp/x/loop.db: the disk is full (database or disk is full)", True),
        ("(the disk of the logs is full but for FREE_SPACE; the rest is not kept)", True),
        ("git add: fatal: sha1 file 'x' write error. Out of diskspace", True),
        ("npm ERR! nospc ENOSPC: no space left on device, write", True),
        ("the queue is full", False),
    ],
)
def test_a_full_disk_is_reported_with_where_a_trial_needs_room(why: str, is_full: bool) -> None:
    found = explain_full_disk(why, "podman")
    assert bool(found) == is_full
    if is_full:
        assert f"a trial's files are in {tempfile.gettempdir()}, on a disk of " in found[0]
        assert "set TMPDIR to a folder with more room" in found[0]
        assert "`podman system prune` removes" in found[1]


def test_a_trial_ends_when_its_disk_is_full(
    make_repository: MakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find_full(_: Store) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Store, "wait_until_full", find_full)
    path = make_repository(**{".bassloop.toml": '[checks.a]\nrun = "true"\n'})
    done = run_command("try", "--engine", "host", path)
    assert done.returncode == 1
    folder = tempfile.gettempdir()
    assert f"the disk of {folder}, where a trial keeps its files, is full\n" in done.stderr
    assert done.stderr.count("set TMPDIR to a folder with more room") == 1


def test_a_trial_without_a_folder_for_temporary_files_names_the_fix(
    make_repository: MakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    path = make_repository(**{".bassloop.toml": '[checks.a]\nrun = "true"\n'})
    done = run_command("try", "--engine", "host", path)
    assert done.returncode == 1
    assert "there is no place for temporary files (No usable temporary" in done.stderr
    assert "set TMPDIR to a folder with room" in done.stderr


def test_advice_about_images_is_given_only_where_it_may_help(
    make_repository: MakeRepository,
) -> None:
    declared = '[checks.a]\nimage = "nobody/has-this:1"\nrun = "{}"\n'
    path = make_repository(**{".bassloop.toml": declared.format("echo wrong; exit 1")})
    done = run_command("try", "--engine", "host", path)
    assert "echo wrong" in done.stdout
    assert "own programs, not in" not in done.stdout
    (path / ".bassloop.toml").write_text(declared.format("nosuchprog"))
    done = run_command("try", "--engine", "host", path)
    assert "nosuchprog: not found\n" in done.stdout
    assert "    at .bassloop.toml:3\n" in done.stdout
    assert (
        "this machine's own programs, not in nobody/has-this:1: a program may be missing"
        in done.stdout
    )
    assert "have another version. Install them here\n" in done.stdout


def test_a_check_that_uses_another_one_that_was_not_named_says_which_to_add(
    make_repository: MakeRepository,
) -> None:
    build = '[checks.build]\nrun = "mkdir dist; echo 1 > dist/a"\nartifacts = "dist/*"\n'
    deploy = '[checks.deploy]\nrun = "cat artifacts/build/dist/a"\nuses = ["build"]\n'
    path = make_repository(**{".bassloop.toml": build + deploy})
    done = run_command("try", "--engine", "host", "--check", "deploy", path)
    hint = "--check runs no check that isn't named, so name build as well: --check build --check deploy\n"
    assert hint in done.stdout
    done = run_command("try", "--engine", "host", "--check", "build", "--check", "deploy", path)
    assert done.returncode == 0


def test_a_submodule_that_can_not_be_cloned_is_reported(make_repository: MakeRepository) -> None:
    path = make_repository(**{".bassloop.toml": '[checks.a]\nrun = "true"\n'})
    git(path, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(path), "sub")
    done = run_command("try", "--engine", "host", path)
    assert (done.returncode, "a submodule can't be cloned" in done.stdout) == (1, True)


@pytest.mark.parametrize(
    ("called", "name"),
    [
        (".venv/bin/bassloop", ".venv/bin/bassloop"),
        ("/a folder/bassloop", "'/a folder/bassloop'"),
        ("/a/bassloop/__main__.py", "bassloop"),
    ],
)
def test_a_program_that_the_shell_would_not_find_is_named_by_its_path(
    called: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [called])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert callable_name() == name
    installed = tmp_path / "bassloop"
    installed.touch(mode=0o755)
    assert callable_name() == "bassloop"


@pytest.mark.parametrize("strict", [False, True])
def test_a_log_that_was_cut_is_reported_with_the_result(strict: bool) -> None:
    result = CheckResult(make_run(), "success", has_cut_log=True)
    sentence = "not passed: without the end of a log (--strict)"
    assert verdict([result], strict) == (
        (sentence, False) if strict else ("passed, without the end of a log", True)
    )
