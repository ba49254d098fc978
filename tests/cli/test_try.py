"""`bassloop try`: what it prints, for people and into a pipe."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.commands import run_command
from tests.forked_programs import run_in_folder, running_bassloop
from tests.repositories import git

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

pytestmark = pytest.mark.usefixtures("shared_fork_servers")

EVENTLESS = "(defn github-hook [event client] null)"


def tried(path: Path, *arguments: str, status: int) -> str:
    done = run_command("try", "--engine", "host", path, *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("options", [[], ["--list"], ["--check", "x"], ["--watch"]])
def test_a_repository_without_checks_points_to_init(
    make_repository: MakeRepository, options: list[str]
) -> None:
    path = make_repository(**{"sub/README.md": "nothing"})
    done = run_command("try", path / "sub", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there are no checks in" in done.stderr
    assert "`bassloop init` writes checks that fit the project" in done.stderr


def test_a_file_with_a_policy_alone_declares_no_checks(make_repository: MakeRepository) -> None:
    said = tried(make_repository(**{".bassloop.toml": ""}), status=1)
    assert "there are no checks yet: `bassloop init` writes some" in said


def test_uncommitted_checks_are_reported(make_repository: MakeRepository) -> None:
    path = make_repository(**{"README.md": "nothing"})
    (path / ".bassloop.toml").write_text('[checks.a]\nrun = "true"\n')
    said = tried(path, "--committed", status=1)
    assert "HEAD has no checks: commit .bassloop.toml, or leave out --committed" in said


def test_a_hook_that_starts_no_check_is_reported_with_the_event(
    make_repository: MakeRepository,
) -> None:
    path = make_repository(**{"project.bass": EVENTLESS})
    said = tried(path, "--event", "push", status=1)
    assert "the hook started no check for the event push; --event tries another one" in said


def test_events_that_would_start_checks_are_named(make_repository: MakeRepository) -> None:
    path = make_repository(
        **{".bassloop.toml": '[checks.a]\nrun = "true"\nwhen = {events = ["merge_group"]}\n'}
    )
    said = tried(path, status=1)
    assert "for the event check_suite, which GitHub sends for a push" in said
    assert "--event merge_group starts a\n" in said


def test_every_line_reaches_a_pipe(make_repository: MakeRepository) -> None:
    path = make_repository(':many (on src ($ sh -c "seq 12345; echo last >&2; exit 3"))')
    done = run_in_folder(path, "try", "--engine", "host", str(path), env=os.environ)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 1, done.stdout + done.stderr
    said = done.stdout.splitlines()
    lines = [line.rpartition("│ ")[2] for line in said if line.startswith("many │ ")]
    assert [line for line in lines if line.isdigit()] == [str(n) for n in range(1, 12346)]
    assert "last" in lines


def test_a_line_reaches_a_pipe_while_its_command_goes_on(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    path = make_repository(f':slow (on src ($ sh -c "echo first; read -r it < {go}; echo $it"))')
    arguments = ("try", "--engine", "host", str(path))
    with running_bassloop(*arguments, env=os.environ, stdout=subprocess.PIPE) as (trial, lines):
        assert "slow │ first\n" in lines
        go.write_text("second\n")
        assert "slow │ second\n" in lines
        assert list(lines)[-1].startswith("passed")
        assert trial.wait_blocking() == 0


def test_the_whole_log_is_stored(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run_command("logs", "--last")
    assert (done.returncode, "run `bassloop try` first" in done.stderr) == (5, True)
    path = make_repository(':many (on src ($ sh -c "seq 2500; exit 3"))')
    assert "the whole log: bassloop logs --last" in tried(path, status=1)
    done = run_command("logs", "--last")
    assert done.returncode == 1, "the exit status is that of the run, as with any run"
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.isdigit()] == [str(n) for n in range(1, 2501)]
    assert any(line.startswith("==> many │ ") for line in lines)


def test_failures_are_shown_at_the_end_and_afterwards(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run_command("logs", "--last", "--failed")
    assert (done.returncode, "run `bassloop try` first" in done.stderr) == (5, True)
    path = make_repository(':c (on src ($ sh -c "echo a.c:1:2: error: no such type; exit 2"))')
    assert "why c failed:\nno such type\n    at a.c:1\n" in tried(path, status=1)
    done = run_command("logs", "--last", "--failed")
    assert done.returncode == 1
    assert done.stdout.startswith("==> c <==\nno such type\n    at a.c:1\n")


def test_a_trial_in_which_nothing_failed_says_so_when_asked_for_failures(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    tried(make_repository(':c (on src ($ sh -c "exit 0"))'), status=0)
    done = run_command("logs", "--last", "--failed")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no check of the last trial has failed" in done.stderr
    assert run_command("logs", "--last").returncode == 0


def test_the_working_tree_is_tried_as_it_is_from_any_folder(
    make_repository: MakeRepository,
) -> None:
    path = make_repository(":say (on src ($ cat said))", **{"said": "committed", "sub/x": ""})
    (path / "said").write_text("changed\n")
    (path / "new").write_text("untracked\n")
    before = sorted(each for each in (path / ".git").rglob("*") if each.name != "index")
    said = tried(path / "sub", status=0)
    assert "the working tree as it is" in said
    assert "say │ changed" in said
    assert sorted(each for each in (path / ".git").rglob("*") if each.name != "index") == before
    said = tried(path, "--committed", status=0)
    assert "uncommitted changes are not part of HEAD" in said
    assert "say │ committed" in said


def test_a_closed_pipe_ends_a_trial_quietly(make_repository: MakeRepository) -> None:
    path = make_repository(":many (on src ($ seq 100000))")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = f"{sys.executable} -m bassloop try --engine host {path} | head -1"
    done = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=environment,
    )
    assert done.stdout.startswith("Trying ")
    assert done.stderr == ""


def test_a_full_disk_is_reported_in_one_line(make_repository: MakeRepository) -> None:
    path = make_repository(":many (on src ($ seq 10))")
    arguments = ("try", "--engine", "host", str(path))
    with (
        open("/dev/full", "w") as full,
        running_bassloop(
            *arguments, env=os.environ, stdout=full.fileno(), stderr=subprocess.PIPE
        ) as (_, errors),
    ):
        said = errors.read()
    assert said.splitlines() == ["bassloop: the output can't be written: the disk is full"]


def test_a_closed_output_causes_no_error_message(make_repository: MakeRepository) -> None:
    path = make_repository(":one (on src ($ true-or-not))")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = f"{sys.executable} -m bassloop try --engine host {path}"
    for closed in (">&-", ">&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f"{command} {closed}"],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
            env=environment,
        )
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_a_trial_works_in_odd_surroundings(make_repository: MakeRepository, tmp_path: Path) -> None:
    """A path with spaces and umlauts, a sub-folder, no branch, Windows line breaks, and nowhere to keep anything."""
    path = make_repository(**{".bassloop.toml": '[checks.t]\r\nrun = "echo ok"\r\n', "sub/x": ""})
    git(path, "checkout", "--quiet", "--detach")
    path = path.rename(tmp_path / "mit Leerzeichen \N{LATIN SMALL LETTER U WITH DIAERESIS}")
    surroundings = {"HOME": "/proc", "XDG_STATE_HOME": "", "TERM": "dumb", "COLUMNS": "20"}
    done = run_command("try", "--engine", "host", path / "sub", env=surroundings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "t \N{BOX DRAWINGS LIGHT VERTICAL} ok\n" in done.stdout
    assert "the whole log can't be kept in /proc/" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_missing_git_is_reported_in_one_line(make_repository: MakeRepository) -> None:
    path = make_repository(**{".bassloop.toml": '[checks.t]\nrun = "true"\n'})
    done = run_command("try", path, env={"PATH": "/nonexistent"})
    assert (done.returncode, done.stderr) == (
        1,
        "bassloop: git is not installed, or not on the PATH\n",
    )


def test_a_missing_report_is_listed_beside_the_result(make_repository: MakeRepository) -> None:
    checks = '[checks.a]\nrun = "true"\nreports = "r.xml"\nartifacts = "dist/*"\n'
    path = make_repository(**{".bassloop.toml": checks})
    said = tried(path, status=0)
    end = said[said.index("conclusion") :]
    assert "a: test reports are missing: there is nothing at r.xml\n" in end
    assert "a: artifacts are missing: there is nothing at dist/*\n" in end
    assert end.endswith("passed, without 2 reports or artifacts\n")
    strict = tried(path, "--strict", status=1)
    assert strict.endswith("not passed: without 2 reports or artifacts (--strict)\n")


def test_a_failed_command_of_several_lines_is_shown_in_one_line(
    make_repository: MakeRepository,
) -> None:
    checks = '[checks.a]\nrun = """\ntrue\nexit 3\n"""\n'
    said = tried(make_repository(**{".bassloop.toml": checks}), status=1)
    assert "why a failed:\nexit status 3: sh -ec 'true ⏎ exit 3'\n" in said


def test_a_missing_folder_is_reported_with_its_location(make_repository: MakeRepository) -> None:
    checks = '[checks.a]\nrun = "ls"\nworkdir = "no/such"\n'
    said = tried(make_repository(**{".bassloop.toml": checks}), status=1)
    assert "there is no folder no/such in the files that the command is given: sh -ec ls\n" in said
    assert "\n    at .bassloop.toml:3\n" in said


def test_a_check_with_a_service_shows_the_requirements_of_services(
    make_repository: MakeRepository,
) -> None:
    checks = (
        '[checks.a]\nrun = "ls"\n'
        'services.db = { image = "postgres:17", run = "postgres", port = 5432 }\n'
    )
    said = tried(make_repository(**{".bassloop.toml": checks}), status=1)
    assert (
        "why a failed:\nthis needs a service (postgres), and services need containers: "
        "install Podman or Docker"
    ) in said
    assert "a │ not run: sh -ec ls\n" in said
    assert "$ sh -ec ls" not in said


def test_a_missing_module_is_reported_with_its_location(make_repository: MakeRepository) -> None:
    hook = "(use (.git (linux/alpine/git))\n     (.githbu))\n(defn github-hook [e c] null)\n"
    said = tried(make_repository(**{"project.bass": hook}), status=1)
    end = said[said.index("why project.bass failed") :]
    assert (
        "there is no standard module .githbu (did you mean github?)\n    at project.bass:2" in end
    )


def test_a_secret_can_come_from_the_environment(
    make_repository: MakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = (
        '[checks.a]\nrun = "[ \\"$TOKEN\\" = over-9000 ]; echo it is $TOKEN"\nsecrets = ["TOKEN"]\n'
    )
    path = make_repository(**{".bassloop.toml": checks})
    monkeypatch.delenv("TOKEN", raising=False)
    without = tried(path, status=1)
    assert "for this trial alone, set TOKEN in the environment, and add --secret TOKEN" in without
    done = run_command("try", "--engine", "host", path, "--secret", "TOKEN")
    assert done.returncode == 2
    assert "--secret TOKEN: there is no environment variable TOKEN" in done.stderr
    monkeypatch.setenv("TOKEN", "over-9000")
    said = tried(path, "--secret", "TOKEN", status=0)
    assert "it is ***" in said
    assert "over-9000" not in said


@pytest.mark.parametrize("output", ["/dev/full", "/dev/null"])
def test_a_full_disk_is_reported_as_that_of_the_output_or_of_temporary_files(output: str) -> None:
    script = """
import errno
from bassloop.cli.errors import report_output_errors
with report_output_errors():
    raise OSError(errno.ENOSPC, "No space left on device")
"""
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with open(output, "w") as file:
        done = subprocess.run(
            command,
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            timeout=200,
            check=False,
            env=environment,
        )
    about_output = "the output can't be written: the disk is full" in done.stderr
    assert about_output == (output == "/dev/full")
    assert ("set TMPDIR to a folder with more room" in done.stderr) == (output == "/dev/null")


def test_the_index_of_the_repository_is_not_written(make_repository: MakeRepository) -> None:
    path = make_repository(**{".bassloop.toml": '[checks.a]\nrun = "true"\n'})
    os.utime(path / ".bassloop.toml", (1, 1))  # `git status` would refresh the index
    before = (path / ".git/index").read_bytes()
    tried(path, status=0)
    assert (path / ".git/index").read_bytes() == before


@pytest.mark.parametrize("name", [b"lat\xe9", b'two\nlines, "quoted"\\'])
def test_any_folder_name_works(make_repository: MakeRepository, name: bytes) -> None:
    made = make_repository(**{".bassloop.toml": '[checks.a]\nrun = "cat new"\n', "sub/x": ""})
    path = made.rename(made.parent / os.fsdecode(name))
    (path / "new").write_text("it is new\n")
    command = [sys.executable, "-m", "bassloop", "try", "--engine", "host", str(path / "sub")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONIOENCODING": "utf-8:strict",
    }
    done = subprocess.run(command, capture_output=True, timeout=200, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"the working tree as it is" in done.stdout
    assert b"it is new" in done.stdout


def test_pipes_and_sockets_in_a_folder_are_left_out(tmp_path: Path) -> None:
    (tmp_path / ".bassloop.toml").write_text('[checks.a]\nrun = "ls"\n')
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "listening"))
        assert "a │ pipe" not in tried(tmp_path, status=0)


def test_a_file_that_can_not_be_copied_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **_options: object) -> None:
        reason = "[Errno 13] Permission denied: '/x/secret'"
        raise shutil.Error([("/x/secret", "/y/secret", reason)])

    monkeypatch.setattr(shutil, "copytree", refuse)
    (tmp_path / ".bassloop.toml").write_text('[checks.a]\nrun = "ls"\n')
    done = run_command("try", "--engine", "host", tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path} can't be copied: [Errno 13] Permission denied: '/x/secret'" in done.stderr
