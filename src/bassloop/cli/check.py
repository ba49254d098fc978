"""`bassloop check`: verify, and repair, the daemon's data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import data_dir_option, read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.store.maintenance.integrity import Defect


@click.command()
@click.option("--repair", is_flag=True, help="Repair what can be repaired, and list what is lost.")
@data_dir_option
def check(repair: bool, data_dir: Path | None) -> None:
    """Verify that the database and the logs are intact and belong together.

    The exit status is 1 if something is wrong. It works while the daemon runs; with --repair, stop the daemon first.
    A damaged file of SQLite's is moved aside, and replaced by what can still be read of it. Of a PostgreSQL database
    only what bassloop stored in it is verified: its own files are the server's concern.

    \b
    Example:
      bassloop check --repair
    """
    from bassloop.cli.progress import show_progress
    from bassloop.store import StoreError, find_blobs, find_database
    from bassloop.store.maintenance.integrity import check_store
    from bassloop.store.maintenance.repair import repair_store
    from bassloop.tools.local_daemon import DaemonError
    from bassloop.tools.local_store import check_database

    settings = read_settings(data_dir=data_dir)
    with report_errors(StoreError, DaemonError):
        check_database(settings)
        database = find_database(settings.database)
        blobs = find_blobs(settings)
        defects: list[Defect] = []
        try:
            with show_progress() as progress:
                found = (
                    repair_store(database, blobs, now=time.time(), progress=progress)
                    if repair
                    else check_store(
                        database, blobs, in_use=database.is_served(), progress=progress
                    )
                )
                defects.extend(found)
        finally:  # what was repaired is told also if the rest can't be
            for each in defects:
                click.echo(f"{each.what}{f': {each.repaired}' if each.repaired else ''}")
    unrepaired = sum(each.repaired is None for each in defects)
    if unrepaired:
        hint = "" if repair else " (bassloop check --repair repairs what can be repaired)"
        raise click.ClickException(f"wrong: {unrepaired}{hint}")
    click.echo("all is well" if not defects else f"repaired {len(defects)}; all is well now")
