"""`bassloop backup` and `bassloop restore`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import FOLDER, data_dir_option, find_settings, read_settings
from bassloop.units import format_size

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@data_dir_option
def backup(folder: Path, data_dir: Path | None) -> None:
    """Copy the database and the logs to DIR, whether the daemon runs or not.

    A second backup to the same DIR copies only what is new. But of a PostgreSQL database, all rows are copied each
    time, into a file (loop.db); for standbys and any point in time, use what PostgreSQL has for them. A backup does not
    contain the settings, the App's key, or the SSH host key: keep those where you keep secrets.

    \b
    Example:
      bassloop backup /srv/backup/bass-loop
    """
    from bassloop.cli.progress import show_progress
    from bassloop.store import StoreError, find_blobs, find_database
    from bassloop.store.maintenance.backup import back_up

    settings = find_settings(data_dir=data_dir)
    with report_errors(StoreError):
        database = find_database(settings.database)
        blobs = find_blobs(settings)
        with show_progress() as progress:
            made = back_up(database, blobs, folder, now=time.time(), progress=progress)
    click.echo(
        f"backed up {made.runs} runs, {format_size(made.bytes)} ({format_size(made.copied)} copied)"
    )
    if made.lost:
        raise click.ClickException(
            f"{made.lost} logs or artifacts are missing from {blobs}: run bassloop check"
        )


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--overwrite", is_flag=True, help="Move data that is there aside, and go on.")
@data_dir_option
def restore(folder: Path, overwrite: bool, data_dir: Path | None) -> None:
    """Restore the database and the logs from the backup in DIR.

    The backup is verified first. Stop the daemon before, and start it afterwards. With DATABASE_URL, the rows go into
    that PostgreSQL database, which must be empty.

    \b
    Example:
      bassloop restore /srv/backup/bass-loop
    """
    from bassloop.cli.progress import show_progress
    from bassloop.store import StoreError, find_blobs, find_database
    from bassloop.store.maintenance.backup import restore as restore_backup

    settings = read_settings(data_dir=data_dir)
    with report_errors(StoreError):
        database = find_database(settings.database)
        blobs = find_blobs(settings)
        with show_progress() as progress:
            moved = restore_backup(
                folder, database, blobs, overwrite=overwrite, now=time.time(), progress=progress
            )
    for path in moved:
        click.echo(f"moved aside: {path}")
    click.echo(f"restored to {database} and {blobs}")
