"""`bassloop migrate`: move the daemon's data to a PostgreSQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import data_dir_option, read_settings

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("url", metavar="URL")
@data_dir_option
def migrate(url: str, data_dir: Path | None) -> None:
    """Copy everything in the database to the empty PostgreSQL database at URL.

    All rows are copied in one transaction, read back, and compared. The old database and the logs stay as they are.
    Stop the daemon first; afterwards, set DATABASE_URL and start it.

    \b
    Example:
      bassloop migrate postgresql://bassloop@db.example.com/bassloop
    """
    from bassloop.store import StoreError, find_database
    from bassloop.store.maintenance.transfer import copy_store
    from bassloop.tools.local_daemon import DaemonError
    from bassloop.tools.local_store import check_database

    if not url.startswith(("postgresql://", "postgres://")):
        raise click.BadParameter(f"{url} isn't an address such as postgresql://user@host/name")
    settings = read_settings(data_dir=data_dir)
    with report_errors(StoreError, DaemonError):
        check_database(settings)
        source, target = find_database(settings.database), find_database(url)
        with source.ownership():
            source.prepare()
            with target.ownership():
                copied = copy_store(source, target)
    for table, count in copied.items():
        if count:
            click.echo(f"{count:>12,}  {table}")
    click.echo(f"copied to {target}, read back, and compared; now set DATABASE_URL to it")
    click.echo(f"the old database is as it was: {source}")
