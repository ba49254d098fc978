"""`bassloop eval`, `run`, `repl`, `bump`, `lsp` and `doc`: evaluate scripts, and help to write them."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from rich.console import Console, RenderableType

    from bassloop.bass.reference import ReferenceEntry
    from bassloop.bass.session import SessionDriver
    from bassloop.tools.local.late_driver import EventLoop
    from bassloop.tools.local.local_host import LateImports
    from bassloop.tools.local.script import CallOutcome
    from bassloop.tools.local.thunk_runner import ThunkRunner

T = TypeVar("T")


def late_imports() -> LateImports:
    """Return the functions that import the event loop and the thunk runner when a script needs them."""
    from bassloop.tools.local.local_host import LateImports

    return LateImports(_event_loop, _thunk_runner)


def run_late(session: Callable[[SessionDriver], Coroutine[Any, Any, T]]) -> T:
    """Run a session's coroutine and return its result. It gets an event loop only if it waits for something."""
    from bassloop.tools.local.late_driver import Interrupted, LateDriver

    driver = LateDriver(_event_loop)
    try:
        return driver.run(session(driver))
    except Interrupted as error:
        raise KeyboardInterrupt from error


def _event_loop() -> EventLoop:
    from bassloop.tools.local import trio_loop

    return trio_loop


def _thunk_runner() -> type[ThunkRunner]:
    from bassloop.tools.local.thunk_runner import ThunkRunner

    return ThunkRunner


@contextmanager
def report_script_errors() -> Iterator[None]:
    """Show a script's error with its source location and exit with 1; exit with 130 on an interrupt."""
    from bassloop.bass.errors import BassError, render
    from bassloop.tools.local.late_driver import Interrupted

    try:
        yield
    except BassError as error:
        headline, _, trace = render(error).partition("\n")
        click.secho(headline, fg="red", bold=True, err=True)
        if trace:
            click.echo(trace, err=True)
        sys.exit(1)
    except (Interrupted, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)


@click.command("eval")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@click.option("--expression", "-e", help="Evaluate this instead of a file.")
@click.option("--json", "as_json", is_flag=True, help="Print the value as JSON.")
def eval_(file: str, expression: str | None, as_json: bool) -> None:
    """Evaluate a Bass script, and print the value of its last form.

    Without FILE it reads standard input. The script may read and write your files, but runs no thunks.

    \b
    Example:
      bassloop eval -e '(+ 1 2)'
    """
    from bassloop.bass.filesystem import memory_file
    from bassloop.bass.json import encode
    from bassloop.bass.path import HostPath
    from bassloop.bass.printer import show
    from bassloop.bass.values import text_of
    from bassloop.tools.local.script import ScriptText, evaluate, read_script

    with report_script_errors():
        if expression is not None:
            content = os.fsencode(expression)
            file_value = memory_file("<expression>", content)
            text = ScriptText(text_of(content), "<expression>", HostPath("."), file_value)
        else:
            text = read_script(file)
        value = evaluate(text, late_imports())
        shown = encode(value) if as_json else show(value)
    click.echo(shown)


@click.command("run", context_settings={"ignore_unknown_options": True})
@click.argument("script", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--input",
    "-i",
    "inputs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Bind NAME in the scope that the script reads from *stdin*. A VALUE such as ./path is a path.",
)
@click.option("--unsandboxed", is_flag=True, help="Run commands without bubblewrap.")
def run(script: Path, args: tuple[str, ...], inputs: tuple[str, ...], unsandboxed: bool) -> None:
    """Run a Bass script: evaluate it, then call its main with ARGS.

    The script reads JSON values from standard input (*stdin*). Values that it emits are printed as JSON, one per line.

    \b
    Example:
      bassloop run build.bass --input src=./ | bassloop eval --json
    """
    from bassloop.tools.local.late_driver import RuntimeOptions
    from bassloop.tools.local.script import ScriptCall
    from bassloop.tools.local.script import run as run_script

    with report_script_errors():
        options = RuntimeOptions(sandbox=False if unsandboxed else None)
        run_script(ScriptCall(script, args, inputs, options), late_imports())


@click.command("repl")
@click.option("--unsandboxed", is_flag=True, help="Run commands without bubblewrap.")
def repl(unsandboxed: bool) -> None:
    """Evaluate Bass as you type it, with your files and your machine.

    A form continues on the next line until it is closed. Tab completes names, (doc map) shows documentation, Ctrl-C
    interrupts, and Ctrl-D exits. It also reads from a pipe, and prints the values.

    \b
    Example:
      echo '(+ 1 2)' | bassloop repl
    """
    from bassloop.tools.local.late_driver import RuntimeOptions
    from bassloop.tools.local.repl import EntryInterrupted, Evaluator, follow, say

    options = RuntimeOptions(sandbox=False if unsandboxed else None)
    try:
        with Evaluator(options, late_imports(), say) as evaluator:
            if sys.stdin.isatty() and sys.stdout.isatty():
                from bassloop.tools.local.repl_prompt import converse

                status = converse(evaluator)
            else:
                status = follow(evaluator, sys.stdin)
    except (EntryInterrupted, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        status = 130
    sys.exit(status)


@click.command("bump")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a result has changed.")
@click.option("--unsandboxed", is_flag=True, help="Run commands without bubblewrap.")
def bump(files: tuple[Path, ...], check: bool, unsandboxed: bool) -> None:
    """Make the calls in FILES again, and write their new results.

    Without FILES, bass.lock in the current directory is updated. A call that fails keeps its old result.

    \b
    Example:
      bassloop bump --check
    """
    from bassloop.tools.local.late_driver import RuntimeOptions
    from bassloop.tools.local.script import bump as bump_file

    options = RuntimeOptions(sandbox=False if unsandboxed else None)
    failed = changed = False
    for path in files or (Path("bass.lock"),):
        with report_script_errors():
            outcomes = bump_file(
                path, options, late_imports(), write=not check, on_outcome=_show_outcome
            )
        failed |= any(outcome.error for outcome in outcomes)
        changed |= any(outcome.changed for outcome in outcomes)
        same = sum(not outcome.changed and outcome.error is None for outcome in outcomes)
        click.echo(f"{path}: {len(outcomes)} calls, {same} as before")
    if failed or (check and changed):
        sys.exit(1)


def _show_outcome(outcome: CallOutcome) -> None:
    if outcome.error is not None:
        click.secho(f"{outcome.call}: {outcome.error.message}", fg="red", err=True)
    elif outcome.changed:
        click.echo(f"{outcome.call}\n  - {outcome.before}\n  + {outcome.after}")


@click.command("lsp")
def lsp() -> None:
    """Run the language server: errors as you type, completion, hover, definitions.

    It speaks the Language Server Protocol on standard input and output. docs/bass-tools.md shows how to configure
    editors.

    \b
    Example (Neovim):
      vim.lsp.start({name = "bass", cmd = {"bassloop", "lsp"}})
    """
    from bassloop.tools.lsp.server import serve

    serve()


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
        _show_docs(console, symbol)
    # Tables pad their lines with spaces.
    click.echo("\n".join(line.rstrip() for line in capture.get().rstrip().split("\n")), color=True)


def _show_docs(console: Console, symbol: str | None) -> None:
    from bassloop.bass import reference

    if symbol is None:
        _show_all(console)
        return
    module = symbol.removeprefix(".").removesuffix(":")
    entry = reference.find(symbol)
    if entry is not None:
        _show_entry(console, entry)
    if module in reference.module_names():
        if entry is not None:
            console.print()
        _show_module(console, module)
    elif entry is None:
        similar = reference.similar(symbol)
        hint = (
            f"did you mean {', '.join(similar)}?" if similar else "`bassloop doc` lists all names"
        )
        raise click.ClickException(f"nothing is called {symbol}: {hint}")


def _show_entry(console: Console, entry: ReferenceEntry) -> None:
    from rich.padding import Padding
    from rich.text import Text

    kind = {
        "function": "function",
        "operative": "operative: takes its operands as written",
        "value": "value",
    }[entry.kind]
    console.print(Text.assemble((entry.call, "bold"), "  ", (kind, "dim")))
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


def _show_module(console: Console, module: str) -> None:
    from bassloop.bass import reference

    about = reference.module_about(module)
    console.print(_title(f".{module}", about))
    console.print(_table(reference.module_entries(module).values()))


def _show_all(console: Console) -> None:
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
        _show_module(console, module)
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
        table.add_row(Text(entry.call, "bold" if entry.kind != "operative" else "bold cyan"), text)
    return Padding(table, (0, 0, 0, 2), expand=False)
