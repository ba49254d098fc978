"""`bassloop runner --check`: what a runner needs, each fix reported once."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bassloop.cli import cli
from bassloop.runner import preflight
from bassloop.runner.options import RunnerError, parse_destination
from bassloop.runner.preflight import PreflightResult

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of a user without keys, which reaches no time server."""

    async def clock(url: str) -> PreflightResult:
        return PreflightResult("clock", None, f"not compared: {url} can't be asked")

    monkeypatch.setattr(preflight, "_clock", clock)
    monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


def check(*words: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Return the exit status, and mark and text of each finding."""
    done = CliRunner().invoke(cli, ["runner", "--check", *words])
    lines = [line.split("\t", 1) for line in done.output.splitlines()]
    assert all(len(line) == 2 for line in lines), done.output
    found = {}
    for mark, finding in lines:
        what, text = finding.split(": ", 1)
        found[what] = mark, text
    assert len(found) == len(lines)
    return done.exit_code, found


HOST = ("--driver", "host", "--unsandboxed")


def test_without_a_key_the_fix_is_reported_once() -> None:
    status, found = check("me@127.0.0.1:9", *HOST)
    assert status == 1
    assert found["keys"] == ("FIX", "none; make one with ssh-keygen, and add it on GitHub")
    assert found["host"] == ("--", "it takes a key to log in")
    assert [what for what, (mark, _) in found.items() if mark == "FIX"] == ["keys"]


def test_without_a_host_only_this_machine_is_checked(tmp_path: Path) -> None:
    _, found = check(*HOST, "--state-dir", str(tmp_path / "state"))
    assert found["host"] == ("--", "name the loop as well, as in LOGIN@loop.example.com")
    assert {what: mark for what, (mark, _) in found.items() if what != "keys"} == {
        "host": "--",
        "driver": "ok",
        "limits": "ok",
        "folder": "ok",
        "secrets": "ok",
        "clock": "--",
    }


def test_a_driver_that_can_not_be_used_is_reported_once() -> None:
    _, found = check(*HOST, "--cpus", "1")
    mark, text = found["driver"]
    assert mark == "FIX"
    assert "--cpus can't be held without containing" in text
    assert "limits" not in found


def test_a_user_without_a_name_is_asked_for_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", no_name)
    with pytest.raises(RunnerError, match="name your GitHub login as well, as in octocat@loop"):
        parse_destination("loop")
