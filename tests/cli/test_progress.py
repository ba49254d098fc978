"""Progress of long work: a bar on a terminal that is gone afterwards, and lines elsewhere."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
import trio
from rich.console import Console

from bassloop.cli import progress
from bassloop.cli.trial_display import Pulls
from bassloop.runner.runner_events import PullEnded, PullStarted
from tests.cli.test_keep import Data

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    monkeypatch.setenv("BASSLOOP_SETTINGS", str(tmp_path / "none.env"))
    return Data(tmp_path / "data", tmp_path / "data" / "loop.db")


def console(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> io.StringIO:
    """Make consoles write to a text, which is a terminal or isn't."""
    text = io.StringIO()
    monkeypatch.setattr(
        progress,
        "Console",
        lambda **options: Console(file=text, width=100, force_terminal=terminal, **options),
    )
    return text


def test_long_commands_show_their_progress(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = console(monkeypatch, terminal=False)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    trio.run(data.make)
    steps = {
        ("backup", str(tmp_path / "copy")): ["copying the database", "copying logs 1/2"],
        ("check",): ["verifying the database", "verifying logs 1/2"],
        ("prune", "--older-than", "30d"): ["removing runs 0/1", "removing logs 0/1"],
        ("restore", str(tmp_path / "copy"), "--overwrite"): ["copying files 1/"],
    }
    for words, expected in steps.items():
        text.truncate(0)
        done = data.command(*words)
        assert done.exit_code == 0, done.output
        assert all(line in text.getvalue() for line in expected), text.getvalue()
        assert not any(line in done.stdout for line in expected)


def test_quick_commands_print_no_progress(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    text = console(monkeypatch, terminal=False)
    trio.run(data.make)
    assert data.command("check").stdout == "all is well\n"
    assert text.getvalue() == ""


def test_the_progress_of_pulled_images_is_shown() -> None:
    text = io.StringIO()
    pulls = Pulls(Console(file=text, width=100, highlight=False))
    pulls(PullStarted("docker.io/alpine/git:latest"))
    said = "pulling docker.io/alpine/git:latest, in which the loop fetches your code\n"
    assert text.getvalue() == said
    [line] = pulls.lines()
    assert line.plain.startswith(f"  {said.strip()}  ")
    pulls(PullEnded("docker.io/alpine/git:latest", 2.0, None))
    assert text.getvalue().endswith("pulled docker.io/alpine/git:latest after 2.0 s\n")
    assert pulls.lines() == []


@pytest.mark.parametrize(
    ("environment", "live"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "CI": "true"}, False),
    ],
)
def test_a_progress_bar_is_only_drawn_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], live: bool
) -> None:
    for name in ("CI", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    text = console(monkeypatch, terminal=True)
    with progress.show_progress() as show:
        show("copying logs", 1, 2)
    assert ("copying logs" in text.getvalue()) == live
    assert ("\x1b[" in text.getvalue()) == live
    if "NO_COLOR" in environment:
        assert "\x1b[3" not in text.getvalue()


def test_a_status_is_shown_on_standard_error_if_only_that_is_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    errors = console(monkeypatch, terminal=True)
    output = io.StringIO()
    with progress.show_status(Console(file=output), "starting …") as status:
        assert status is not None
        status.update("checking whether podman runs containers here …")
        print("a line of the output")
    assert "checking whether podman" in errors.getvalue()
    assert "a line of the output" not in errors.getvalue()
    assert output.getvalue() == ""
    console(monkeypatch, terminal=False)
    with progress.show_status(Console(file=output), "starting …") as status:
        assert status is None
