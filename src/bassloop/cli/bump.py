"""`bassloop bump`: update `bass.lock` files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bassloop.cli.scripts import late_imports, report_script_errors

if TYPE_CHECKING:
    from bassloop.tools.local.bump import CallOutcome


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
    from bassloop.tools.local import bump as bumping
    from bassloop.tools.local.driver import RuntimeOptions

    options = RuntimeOptions(sandbox=False if unsandboxed else None)
    failed = changed = False
    for path in files or (Path("bass.lock"),):
        with report_script_errors():
            outcomes = bumping.bump(
                path, options, late_imports(), write=not check, on_outcome=_show
            )
        failed |= any(outcome.error for outcome in outcomes)
        changed |= any(outcome.changed for outcome in outcomes)
        same = sum(not outcome.changed and outcome.error is None for outcome in outcomes)
        click.echo(f"{path}: {len(outcomes)} calls, {same} as before")
    if failed or (check and changed):
        sys.exit(1)


def _show(outcome: CallOutcome) -> None:
    if outcome.error is not None:
        click.secho(f"{outcome.call}: {outcome.error.message}", fg="red", err=True)
    elif outcome.changed:
        click.echo(f"{outcome.call}\n  - {outcome.before}\n  + {outcome.after}")
