"""`bassloop man` and `bassloop completion`: made from the commands themselves, so that both are true."""

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
    """Print what lets a shell complete commands and options.

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
    help="Write the pages of all commands into this folder, such as /usr/local/share/man/man1.",
)
def man(command: tuple[str, ...], out: Path | None) -> None:
    """Print a command's manual page (bassloop man deliveries list | man -l -), or write them all."""
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
    """A command and all below it."""
    yield top
    if isinstance(top.command, click.Group):
        for name in top.command.list_commands(top):
            below = top.command.get_command(top, name)
            if below is not None and not below.hidden:
                yield from contexts(click.Context(below, info_name=name, parent=top))


def page(context: click.Context) -> str:
    """A command's manual page, in the language of man(7)."""
    command = context.command
    told: click.Command = getattr(
        command, "default", command
    )  # when no command of a group is named
    name = context.command_path.replace(" ", "-")
    about = inspect.cleandoc(told.help or "").replace("\f", "")
    first, _, rest = about.partition("\n\n")
    usage = " ".join(told.collect_usage_pieces(context))
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
        for each in told.get_params(context)
        if isinstance(each, click.Option) and (record := each.get_help_record(context))
    ]
    if options:
        lines.append(".SH OPTIONS")
        for shown, said in options:
            lines += [".TP", f"\\fB{_plain(shown)}\\fR", _plain(said)]
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
    if text.startswith("\b"):  # click's sign for: as it is
        yield from (".PP", ".nf", *map(_plain, text.splitlines()[1:]), ".fi")
    else:
        yield from (".PP", _plain(_flat(text)))


def _flat(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    """Text that troff prints as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
