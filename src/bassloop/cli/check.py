"""`bassloop check`: verify, and repair, the daemon's data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import data_dir_option, read_settings

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option("--repair", is_flag=True, help="Repair what can be repaired, and list what is lost.")
@data_dir_option
def check(repair: bool, data_dir: Path | None) -> None:
    """Verify that the database and the logs are intact and belong together.

    The exit status is 1 if something is wrong. It works while the daemon runs; with --repair, stop the daemon first.
    A damaged database is moved aside, and replaced by what can still be read of it.

    \b
    Example:
      bassloop check --repair
    """
    from bassloop.store import StoreError, is_served
    from bassloop.store.upkeep.mend import look, mend
    from bassloop.tools.local_daemon import DaemonError
    from bassloop.tools.local_store import check_database

    settings = read_settings(data_dir=data_dir)
    database, blobs = settings.database, settings.blobs
    unrepaired = found = 0
    with report_errors(StoreError, DaemonError):
        check_database(settings)
        findings = (
            mend(database, blobs, now=time.time())
            if repair
            else look(database, blobs, in_use=is_served(database))
        )
        for finding in findings:
            found += 1
            unrepaired += finding.mended is None
            click.echo(f"{finding.what}{f': {finding.mended}' if finding.mended else ''}")
    if unrepaired:
        hint = "" if repair else " (bassloop check --repair repairs what can be repaired)"
        raise click.ClickException(f"wrong: {unrepaired}{hint}")
    click.echo("all is well" if not found else f"repaired {found}; all is well now")
