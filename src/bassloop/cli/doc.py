"""`bassloop doc`: the documentation of the language's names."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType

    from bassloop.bass.reference import ReferenceEntry


@click.command("doc")
@click.argument("symbol", required=False)
def doc(symbol: str | None) -> None:
    """Show the documentation of SYMBOL, or of everything.

    SYMBOL is a builtin (map), a member of a standard module (strings:join), or a module (strings). The exit status is 1
    if nothing has that name.

    \b
    Example:
      bassloop doc strings:join
    """
    from rich.console import Console

    # In a pipe, print one name per line, for grep.
    width = None if sys.stdout.isatty() else 1000 if symbol is None else 100
    console = Console(highlight=False, width=width)
    with console.capture() as capture:
        _show(console, symbol)
    # Tables pad their lines with spaces.
    click.echo("\n".join(line.rstrip() for line in capture.get().rstrip().split("\n")), color=True)


def _show(console: Console, symbol: str | None) -> None:
    from bassloop.bass import reference

    if symbol is None:
        _everything(console)
        return
    module = symbol.removeprefix(".").removesuffix(":")
    entry = reference.find(symbol)
    if entry is not None:
        _entry(console, entry)
    if module in reference.module_names():
        if entry is not None:
            console.print()
        _module(console, module)
    elif entry is None:
        similar = reference.similar(symbol)
        hint = (
            f"did you mean {', '.join(similar)}?" if similar else "`bassloop doc` lists all names"
        )
        raise click.ClickException(f"nothing is called {symbol}: {hint}")


def _entry(console: Console, entry: ReferenceEntry) -> None:
    from rich.padding import Padding
    from rich.text import Text

    sort = {
        "function": "function",
        "operative": "operative: takes its operands as written",
        "value": "value",
    }[entry.sort]
    console.print(Text.assemble((entry.call, "bold"), "  ", (sort, "dim")))
    if entry.module:
        # .git needs the image that it runs in.
        load = "(use (.git (linux/alpine/git)))" if entry.module == "git" else ""
        console.print(Text(f"from {load or f'(use (.{entry.module}))'}", "dim"))
    if entry.deprecated:
        console.print(Text(f"deprecated: {entry.deprecated}", "yellow"))
    for paragraph in entry.paragraphs:
        console.print()
        console.print(Padding(Text(paragraph), (0, 0, 0, 2), expand=False))
    for example in entry.examples:
        console.print()
        console.print(Padding(Text(f"=> {example}", "green"), (0, 0, 0, 2), expand=False))


def _module(console: Console, module: str) -> None:
    from bassloop.bass import reference

    about = reference.module_about(module)
    console.print(_title(f".{module}", about))
    console.print(_table(reference.module_entries(module).values()))


def _everything(console: Console) -> None:
    from bassloop.bass import reference

    groups: dict[str, list[ReferenceEntry]] = {group: [] for group in reference.GROUPS}
    for entry in reference.ground_entries().values():
        groups.setdefault(entry.group, []).append(entry)
    for group, entries in groups.items():
        if entries:
            console.print(_title(reference.GROUPS.get(group, group)))
            console.print(_table(entries))
            console.print()
    for module in reference.module_names():
        _module(console, module)
        console.print()


def _title(title: str, about: str = "") -> RenderableType:
    from rich.text import Text

    return Text.assemble((title, "bold underline"), f"\n{about}" if about else "")


def _table(entries: Iterable[ReferenceEntry]) -> RenderableType:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for entry in entries:
        about = entry.paragraphs[0] if entry.paragraphs else ""
        text = Text(about)
        if entry.deprecated:
            text = Text.assemble(("deprecated ", "yellow"), about)
        table.add_row(Text(entry.call, "bold" if entry.sort != "operative" else "bold cyan"), text)
    return Padding(table, (0, 0, 0, 2), expand=False)
