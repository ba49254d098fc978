"""`bassloop verify`: check what a runner has signed of a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import read_run_address

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bassloop.tools.verification import VerificationReport

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("statement", metavar="URL|FILE")
@click.option("--thunk", type=FILE, help="The thunk as JSON, to compare with a FILE's.")
@click.option(
    "--keys", type=FILE, help="The runner's owner's public keys, instead of GitHub's list."
)
@click.option(
    "--offline", is_flag=True, help="Don't ask GitHub for the keys of the runner's owner."
)
@click.option(
    "--url", metavar="URL", help="The loop's address, for a run's id (default: this machine's)."
)
@click.pass_context
def verify(
    context: click.Context,
    statement: str,
    thunk: Path | None,
    keys: Path | None,
    offline: bool,
    url: str | None,
) -> None:
    """Check the statement that a runner has signed of a run, without trusting the loop.

    URL is the address of the run's page, or its id: the statement, the thunk and the logs are fetched from the loop,
    and compared with what was signed. FILE is the statement as the run's page offers it (a DSSE envelope), which is
    checked by itself. Whether the key is its owner's is looked up at GitHub.

    \b
    Example:
      bassloop verify https://loop.example.com/runs/0c9aXy
      bassloop verify 0c9aXy.dsse.json --keys octocat.keys

    \b
    Exit status:
      0    what was checked is right; the output says what could not be checked
      1    something is wrong
      2    the command line is wrong
      5    the statement can't be had: no such run, not signed, no answer
    """
    import trio

    from bassloop.tools.device_login import SignInError, session_headers
    from bassloop.tools.loop_client import LoopError
    from bassloop.tools.verification import render, verify_file, verify_run

    known = None if keys is None else _read(keys).decode(errors="replace")
    path = Path(statement)

    run: Callable[[], Awaitable[VerificationReport]]
    if path.is_file():
        given = None if thunk is None else _read(thunk)
        text = _read(path)
        run = partial(verify_file, text, thunk=given, keys=known, online=not offline)
    else:
        address = read_run_address(statement, url, hint="URL|FILE")
        with report_errors(SignInError):
            headers = session_headers(address.server)
        run = partial(verify_run, address, headers, keys=known, online=not offline)
    try:
        report = trio.run(run)
    except LoopError as error:
        click.echo(f"bassloop verify: {error}", err=True)
        context.exit(5)
    click.echo(render(report))
    if report.wrong:
        click.echo("This statement is not what it should be.")
        context.exit(1)
    missing = " as far as it could be checked" if report.unchecked else ""
    click.echo(f"The statement is right{missing}.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{path} can't be read: {error.strerror}") from error
