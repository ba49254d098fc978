"""Manual pages and completion are made from the commands, and programs that read them understand them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from bassloop.cli import COMMANDS, cli
from bassloop.cli.manual import contexts, page

if TYPE_CHECKING:
    from pathlib import Path

ALL = list(contexts(click.Context(cli, info_name="bassloop")))


def test_every_command_has_a_manual_page(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["man", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    written = {path.name for path in tmp_path.iterdir()}
    assert {f"bassloop-{name}.1" for name in COMMANDS} <= written
    assert {
        "bassloop.1",
        "bassloop-deliveries-list.1",
        "bassloop-service-install-serve.1",
    } <= written


@pytest.mark.parametrize("context", ALL, ids=lambda context: context.command_path)
def test_a_page_names_the_command_and_every_option_of_it(context: click.Context) -> None:
    text = page(context).replace("\\-", "-")
    assert f".B {context.command_path}\n" in text
    assert "\n.SH DESCRIPTION\n\n" not in text
    for parameter in context.command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.opts[0] in text


@pytest.mark.parametrize("context", ALL, ids=lambda context: context.command_path)
def test_no_line_of_a_page_is_mistaken_for_a_request_of_troff(
    context: click.Context,
) -> None:
    requests = {line.split()[0] for line in page(context).splitlines() if line[:1] in (".", "'")}
    assert requests <= {".TH", ".SH", ".TP", ".PP", ".B", ".nf", ".fi"}


def test_an_unknown_command_is_reported() -> None:
    result = CliRunner().invoke(cli, ["man", "deliveries", "burn"])
    assert (result.exit_code, result.output) == (
        1,
        "bassloop: there is no command bassloop deliveries burn\n",
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_asks_the_program_itself(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0, result.output
    assert "_BASSLOOP_COMPLETE" in result.output


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("bassloop serv", {"serve", "service"}),
        ("bassloop deliveries ", {"list", "show", "replay", "skip"}),
        ("bassloop completion z", {"zsh"}),
    ],
)
def test_each_shell_has_completions(typed: str, offered: set[str]) -> None:
    env = {
        **os.environ,
        "_BASSLOOP_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(typed.count(" ")),
    }
    command = [sys.executable, "-m", "bassloop"]
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=False).stdout
    assert {line.partition(",")[2] for line in said.splitlines()} == offered


def test_a_group_that_does_something_by_itself_shows_its_options() -> None:
    page = CliRunner().invoke(cli, ["man", "runner"]).output
    assert "HOST[:PORT]" in page
    assert "\\-\\-allow\\-host\\-path" in page
    assert "bassloop\\-runner\\-secret" in page


def test_every_command_shows_an_example() -> None:
    for context in contexts(click.Context(cli, info_name="bassloop")):
        described = getattr(context.command, "default", context.command)
        assert "Example" in described.help or context.command.name == "completion", (
            context.command_path
        )


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (["statsu"], "Did you mean status?"),
        (["deliveries", "lst"], "Did you mean list?"),
        (["github", "docter"], "Did you mean doctor?"),
        (["service", "instal"], "Did you mean install or uninstall?"),
        (["try", "--evnt", "push"], "--event"),
    ],
)
def test_a_misspelt_word_gets_a_suggestion(words: list[str], suggestion: str) -> None:
    said = CliRunner().invoke(cli, words)
    assert said.exit_code == 2
    assert suggestion in said.output


def test_without_arguments_the_help_is_shown() -> None:
    for command in ([], ["github"]):
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 2
        assert done.stdout.startswith("Usage: ")
