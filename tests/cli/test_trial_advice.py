"""What a trial says at its end about what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.cli.trial_advice import explain_scripts, place_of_missing
from tests.commands import run_command
from tests.repositories import git

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

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
        ("test", "AssertionError: frob", None),
        ("test", "nowhere: not found", None),
    ],
)
def test_a_program_that_is_not_there_has_a_place(
    tmp_path: Path, check: str, why: str, place: str | None
) -> None:
    (tmp_path / ".bassloop.toml").write_text(TOML)
    (tmp_path / "project.bass").write_text("(def x\n  ($ frob))\n")
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
def test_what_is_wrong_with_a_script_is_told(
    tmp_path: Path, text: str, mode: int, why: str, advice: str | None
) -> None:
    path = tmp_path / "x.sh"
    path.write_bytes(text.encode())
    path.chmod(mode)
    found = explain_scripts(tmp_path, f"{why}\nexit status 9: sh ../x.sh /etc/passwd \0 x.sh")
    assert (advice is None and found == []) or (advice is not None and advice in found[0])
    assert len(found) <= 1


def test_advice_about_images_is_given_where_it_may_help(make_repository: MakeRepository) -> None:
    declared = '[checks.a]\nimage = "nobody/has-this:1"\nrun = "{}"\n'
    path = make_repository(**{".bassloop.toml": declared.format("echo wrong; exit 1")})
    done = run_command("try", "--engine", "host", path)
    assert "echo wrong" in done.stdout
    assert "own programs, which may be missing" not in done.stdout
    (path / ".bassloop.toml").write_text(declared.format("nosuchprog"))
    done = run_command("try", "--engine", "host", path)
    assert "nosuchprog: not found\n" in done.stdout
    assert "    at .bassloop.toml:3\n" in done.stdout
    assert "than those in nobody/has-this:1. Install them here\n" in done.stdout


def test_a_submodule_that_can_not_be_cloned_is_told(make_repository: MakeRepository) -> None:
    path = make_repository(**{".bassloop.toml": '[checks.a]\nrun = "true"\n'})
    git(path, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(path), "sub")
    done = run_command("try", "--engine", "host", path)
    assert (done.returncode, "a submodule can't be cloned" in done.stdout) == (1, True)
