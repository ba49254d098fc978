"""The commands. Each lives in a module of its own, imported when it is called and not before.

`bassloop --help` and `bassloop eval` answer in a fraction of a second because nothing here imports
Trio or the server.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, NamedTuple

import click

from bassloop import __version__


class _Command(NamedTuple):
    """Where a command is, and what `bassloop --help` says of it."""

    module: str
    name: str
    help: str


COMMANDS: dict[str, _Command] = {
    "serve": _Command(
        "bassloop.cli.serve", "serve", "Run the loop: webhook, hooks, pages, SSH gateway."
    ),
    "runner": _Command("bassloop.cli.runner", "runner", "Run your checks on this machine."),
    "try": _Command(
        "bassloop.cli.try_", "try_", "Run a local repository's checks through a whole loop."
    ),
    "github": _Command(
        "bassloop.cli.github", "github", "Make the loop's GitHub App, and look after it."
    ),
    "deliveries": _Command(
        "bassloop.cli.deliveries", "deliveries", "List, show and replay GitHub's deliveries."
    ),
    "logs": _Command("bassloop.cli.logs", "logs", "Show a run's logs, and follow them."),
    "login": _Command("bassloop.cli.login", "login", "Sign in to a loop, to see private runs."),
    "logout": _Command("bassloop.cli.login", "logout", "Sign out of a loop again."),
    "backup": _Command("bassloop.cli.backup", "backup", "Copy the loop's data while it runs."),
    "restore": _Command("bassloop.cli.backup", "restore", "Put a backup back."),
    "check": _Command("bassloop.cli.check", "check", "Look whether the loop's data is whole."),
    "status": _Command("bassloop.cli.status", "status", "Show how the loop is."),
    "service": _Command(
        "bassloop.cli.service", "service", "Run the daemon, or a runner, under systemd."
    ),
    "runners": _Command("bassloop.cli.runners", "runners", "List the runners that are connected."),
    "prune": _Command("bassloop.cli.prune", "prune", "Remove runs that have had their time."),
    "eval": _Command("bassloop.cli.eval_", "eval_", "Evaluate a Bass script, and print its value."),
    "run": _Command("bassloop.cli.run", "run", "Run a Bass script and its thunks on this machine."),
    "bump": _Command("bassloop.cli.bump", "bump", "Make the calls in bass.lock files again."),
    "fmt": _Command("bassloop.cli.fmt", "fmt", "Format Bass scripts."),
    "repl": _Command("bassloop.cli.repl", "repl", "Evaluate Bass at a prompt."),
    "lsp": _Command("bassloop.cli.lsp", "lsp", "Serve an editor that shows Bass scripts."),
    "man": _Command("bassloop.cli.manual", "man", "Print or write manual pages."),
    "completion": _Command(
        "bassloop.cli.manual", "completion", "Print what lets a shell complete commands."
    ),
    "doc": _Command("bassloop.cli.doc", "doc", "Tell what a name of the language means."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None when there is none of that name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry.module), entry.name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bassloop")
def cli() -> None:
    """Bass Loop: a project's checks, run on the machine of whoever pushed."""


def main(args: list[str] | None = None) -> Any:
    """The entry point. Exits with the command's status; an interrupt exits with 130, without a traceback."""
    try:
        return cli(args=args, prog_name="bassloop")
    except KeyboardInterrupt:
        sys.exit(130)
