"""The display of `bassloop runner`."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from bassloop.cli.runner_display import RunnerDisplay
from bassloop.runner.runner_events import Registered, ThunkEnded, ThunkStarted

HOSTILE = "sh -c \x1b]0;title\x07\x1b[2J'x\ny'"


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def displayed(*, terminal: bool) -> tuple[RunnerDisplay, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, soft_wrap=True)
    return RunnerDisplay(as_json=False, console=console), out


def test_each_event_is_a_line_in_which_no_command_moves_the_cursor() -> None:
    display, out = displayed(terminal=False)
    with display.showing():
        display(Registered("me@loop:6455", "linux/amd64"))
        display(ThunkStarted(HOSTILE, "octocat/hello"))
        display(ThunkEnded(HOSTILE, 1.25, None))
    lines = out.getvalue().splitlines()
    assert [line[9:] for line in lines] == [
        "serving linux/amd64 to me@loop:6455",
        "running sh -c 'x y' for octocat/hello",
        "done after 1.2 s: sh -c 'x y'",
    ]


def test_running_commands_stay_visible_on_a_terminal() -> None:
    display, out = displayed(terminal=True)
    with display.showing():
        display(Registered("me@loop:6455", "linux/amd64"))
        for number in range(12):
            display(ThunkStarted(f"make {number}", None))
        assert display._live is not None
        display._live.refresh()
        display(ThunkEnded("make 0", 1.0, "exit status 2: make 0"))
    assert "me@loop:6455: 12 running" in out.getvalue()
    assert "and 2 more" in out.getvalue()
    assert "exit status 2" in out.getvalue()


def test_an_address_is_printed_as_text_without_styles() -> None:
    display, out = displayed(terminal=True)
    with display.showing():
        display(Registered("me@[fe80::1]:6455", "linux/amd64"))
        display(ThunkStarted("make", None))
        assert display._live is not None
        display._live.refresh()
    assert "me@[fe80::1]:6455: 1 running" in out.getvalue()


def test_json_output_has_one_object_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    display = RunnerDisplay(as_json=True)
    with display.showing():
        display(ThunkEnded(HOSTILE, 1.25, None))
    told = json.loads(capsys.readouterr().out)
    assert (told["event"], told["took"], told["cmdline"]) == ("ThunkEnded", 1.25, HOSTILE)
    assert told["at"] > 0
