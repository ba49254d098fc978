"""What a trial says at its end about what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.cli.trial_advice import place_of_missing
from tests.commands import run_command

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
"""


@pytest.mark.parametrize(
    ("check", "why", "place"),
    [
        ("test", "sh: 1: frob: not found", ".bassloop.toml:8"),
        ("test", "frob: command not found\nexit status 127: sh -ec frob", ".bassloop.toml:8"),
        ("odd one (2)", "there is no command frob on this runner's machine", ".bassloop.toml:13"),
        ("other", 'exec: "frob": executable file not found in $PATH', ".bassloop.toml:3"),
        ("other", "crun: executable file `frob` not found in $PATH", ".bassloop.toml:3"),
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
