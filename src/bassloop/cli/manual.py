"""`bassloop man` and `bassloop completion`, both generated from the commands."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bassloop import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "bassloop"
SHELLS = ("bash", "fish", "zsh")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script with which your shell completes commands and options.

    \b
    bash:  eval "$(bassloop completion bash)"      in ~/.bashrc
    zsh:   eval "$(bassloop completion zsh)"       in ~/.zshrc
    fish:  bassloop completion fish | source       in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from bassloop.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, PROGRAM, "_BASSLOOP_COMPLETE").source())


@click.command()
@click.argument("command", nargs=-1)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the pages of all commands to this folder, such as /usr/local/share/man/man1.",
)
def man(command: tuple[str, ...], out: Path | None) -> None:
    """Print the manual page of COMMAND, or write the pages of all commands.

    \b
    Example:
      bassloop man deliveries list | man -l -
    """
    from bassloop.cli import cli

    top = click.Context(cli, info_name=PROGRAM)
    if out is None:
        click.echo(page(_found(top, command)), nl=False)
        return
    out.mkdir(parents=True, exist_ok=True)
    for context in contexts(top):
        name = context.command_path.replace(" ", "-")
        (out / f"{name}.1").write_text(page(context))


def contexts(top: click.Context) -> Iterator[click.Context]:
    """Yield the context of a command and of each command below it."""
    yield top
    if isinstance(top.command, click.Group):
        for name in top.command.list_commands(top):
            below = top.command.get_command(top, name)
            if below is not None and not below.hidden:
                yield from contexts(click.Context(below, info_name=name, parent=top))


def page(context: click.Context) -> str:
    """Return a command's manual page, as troff with the macros of man(7)."""
    command = context.command
    # A group may have a default command.
    described: click.Command = getattr(command, "default", command)
    name = context.command_path.replace(" ", "-")
    about = inspect.cleandoc(described.help or "").replace("\f", "")
    first, _, rest = about.partition("\n\n")
    usage = " ".join(described.collect_usage_pieces(context))
    lines = [
        f'.TH "{name.upper()}" 1 "" "Bass Loop {__version__}" "Bass Loop"',
        ".SH NAME",
        f"{_plain(name)} \\- {_plain(_flat(first).rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_plain(context.command_path)}",
        _plain(usage),
        ".SH DESCRIPTION",
        _plain(_flat(first)),
    ]
    for paragraph in filter(None, rest.split("\n\n")):
        lines += _paragraph(paragraph)
    options = [
        record
        for each in described.get_params(context)
        if isinstance(each, click.Option) and (record := each.get_help_record(context))
    ]
    if options:
        lines.append(".SH OPTIONS")
        for names, help_text in options:
            lines += [".TP", f"\\fB{_plain(names)}\\fR", _plain(help_text)]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for below in contexts(context):
            if below.parent is context:
                short = below.command.get_short_help_str(limit=200)
                where = below.command_path.replace(" ", "-")
                lines += [".TP", f"\\fB{_plain(where)}\\fR(1)", _plain(short)]
    return "\n".join(lines) + "\n"


def _found(context: click.Context, path: tuple[str, ...]) -> click.Context:
    for name in path:
        command = context.command
        below = command.get_command(context, name) if isinstance(command, click.Group) else None
        if below is None:
            raise click.ClickException(f"there is no command {' '.join((PROGRAM, *path))}")
        context = click.Context(below, info_name=name, parent=context)
    return context


def _paragraph(text: str) -> Iterator[str]:
    if text.startswith("\b"):  # click's marker for a paragraph that isn't wrapped
        yield from (".PP", ".nf", *map(_plain, text.splitlines()[1:]), ".fi")
    else:
        yield from (".PP", _plain(_flat(text)))


def _flat(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    """Return text that troff prints literally."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
