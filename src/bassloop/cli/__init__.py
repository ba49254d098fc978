"""The commands: each parses its arguments and prints. Those that belong together share a module.

The work is done in `tools/`, `daemon/` and `runner/`. Only here are imports inside functions: each command imports what
it uses when it's called, so that `bassloop --help` and `bassloop eval` answer at once.
"""

from __future__ import annotations

import codecs
import importlib
import io
import os
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TextIO

import click

from bassloop import __version__
from bassloop.cli.errors import report_output_errors, report_refused_files
from bassloop.interrupts import INTERRUPTED, QuietInterrupts

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "bassloop"
"""The prefix of each error message."""


class _Command(NamedTuple):
    """A command's module, and its summary in `bassloop --help`."""

    module: str
    name: str
    help: str


SECTIONS: dict[str, dict[str, _Command]] = {
    "A project's checks": {
        "init": _Command("init", "init", "Propose a repository's first checks, and write them."),
        "try": _Command(
            "try_", "try_", "Run a repository's checks on this machine, as a push would."
        ),
        "lint": _Command(
            "lint", "lint", "Find mistakes in a repository's checks, without running any."
        ),
        "logs": _Command("logs", "logs", "Show a run's logs, or follow them."),
        "artifacts": _Command("runs", "artifacts", "List or download the artifacts of a run."),
        "rerun": _Command("runs", "rerun", "Run the thunk of a loop's run on this machine."),
        "eject": _Command("init", "eject", "Translate the checks in .bassloop.toml to Bass."),
    },
    "Your machine, for a team's loop": {
        "runner": _Command("runner", "runner", "Run your checks on this machine."),
        "login": _Command("login", "login", "Sign in to a loop, to see private runs."),
        "logout": _Command("login", "logout", "Sign out of a loop."),
        "verify": _Command(
            "runs", "verify", "Verify the statement that a runner signed for a run."
        ),
        "mcp": _Command(
            "runs", "mcp", "Let an agent query a loop, with the Model Context Protocol."
        ),
    },
    "A loop of your own": {
        "serve": _Command("serve", "serve", "Run the daemon: webhook, hooks, pages, SSH gateway."),
        "github": _Command("github", "github", "Create the loop's GitHub App, and check it."),
        "service": _Command("serve", "service", "Run the daemon, or a runner, under systemd."),
        "status": _Command(
            "status", "status", "Show if the daemon is running, and what it's doing."
        ),
        "runners": _Command("status", "runners", "List the connected runners."),
        "nodes": _Command("status", "nodes", "List the daemons that share a database."),
        "drain": _Command("status", "drain", "Stop one of them after it has finished its checks."),
        "deliveries": _Command("deliveries", "deliveries", "List, show and replay deliveries."),
        "prune": _Command("maintenance", "prune", "Remove old runs and their logs."),
        "backup": _Command("maintenance", "backup", "Back up the daemon's data while it runs."),
        "restore": _Command("maintenance", "restore", "Restore a backup."),
        "migrate": _Command(
            "maintenance", "migrate", "Move the daemon's data to PostgreSQL, or to a bucket."
        ),
        "check": _Command("maintenance", "check", "Verify the daemon's data, and repair it."),
    },
    "Bass, the language": {
        "eval": _Command("scripts", "eval_", "Evaluate a Bass script, and print its value."),
        "run": _Command("scripts", "run", "Run a Bass script and its thunks on this machine."),
        "repl": _Command("scripts", "repl", "Evaluate Bass interactively."),
        "fmt": _Command("lint", "fmt", "Format Bass scripts."),
        "bump": _Command("scripts", "bump", "Update the calls in bass.lock files."),
        "doc": _Command("scripts", "doc", "Show the documentation of the language."),
        "lsp": _Command("scripts", "lsp", "Run the language server, for editors."),
    },
    "This program": {
        "man": _Command("manual", "man", "Print or write manual pages."),
        "completion": _Command("manual", "completion", "Print a shell's completion script."),
    },
}
"""The commands, by the sections of `bassloop --help`."""

OTHER_NAMES = {
    "build": "try",
    "ci": "try",
    "doctor": "github doctor",
    "format": "fmt",
    "help": "--help",
    "install": "service install",
    "new": "init",
    "setup": "init",
    "start": "serve",
    "test": "try",
    "up": "serve",
    "validate": "lint",
    "version": "--version",
}
"""What people may call a command, and how it's called here."""

COMMANDS = {name: command for section in SECTIONS.values() for name, command in section.items()}


class SuggestingGroup(click.Group):
    """A group that suggests similar commands for an unknown one."""

    group_class = type  # groups within it have the same class

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the group's options; without any arguments, show its help and exit."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments begin with, or fail with suggestions."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            self._fail(ctx, name)
        return super().resolve_command(ctx, args)

    def _fail(self, ctx: click.Context, name: str) -> NoReturn:
        if ctx.parent is None and name in OTHER_NAMES:
            ctx.fail(f"No such command {name!r}. Did you mean {PROGRAM} {OTHER_NAMES[name]}?")
        similar = get_close_matches(name, self.list_commands(ctx), n=3)
        hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
        ctx.fail(f"No such command {name!r}.{hint}")


class LazyGroup(SuggestingGroup):
    """A group that imports commands when they're called, and prefixes errors with the program's name."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and, if `standalone_mode`, exit with its status, as click does."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        try:
            with report_output_errors(), report_refused_files():
                status = super().main(args, prog_name, complete_var, False, **extra)
        except click.ClickException as error:
            click.echo(f"{PROGRAM}: {error.format_message()}", err=True)
            if isinstance(error, click.UsageError) and error.ctx is not None:
                path = " ".join(error.ctx.command_path.split())  # a default command has no name
                click.echo(f"Try '{path} --help'.", err=True)
            sys.exit(error.exit_code)
        except click.Abort as error:
            click.echo(f"{PROGRAM}: aborted", err=True)
            sys.exit(INTERRUPTED if isinstance(error.__cause__, KeyboardInterrupt) else 1)
        sys.exit(status if isinstance(status, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, or None if there is none with this name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        with QuietInterrupts():
            module = importlib.import_module(f"bassloop.cli.{entry.module}")
        command: click.Command = getattr(module, entry.name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands from the table, without importing them."""
        width = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{name:{width}}", each.help) for name, each in commands.items()]
                )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bassloop")
def cli() -> None:
    """Bass Loop: a project's checks, run on the machine of whoever pushed.

    \b
    Example:
      bassloop try ~/src/my-project
    """


def main(args: list[str] | None = None) -> Any:
    """Run a command, and exit with its status; with 130 if it was interrupted."""
    # Reopen a closed stream (`>&-`), so that no other file gets its descriptor and is written to by mistake.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    prepare_output(sys.stdout)
    try:
        return cli(args=args, prog_name=PROGRAM)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def prepare_output(output: TextIO) -> None:
    """Make a stream escape what its encoding lacks, such as bytes of file names, and signs in a Latin-1 locale.

    ASCII becomes UTF-8, as in Python's own treatment of the locale C, and in click's.
    """
    if not isinstance(output, io.TextIOWrapper):
        return
    encoding = codecs.lookup(output.encoding).name
    if encoding == "ascii":
        output.reconfigure(encoding="utf-8", errors="backslashreplace")
    elif output.errors == "strict" or encoding != "utf-8":
        output.reconfigure(errors="backslashreplace")
