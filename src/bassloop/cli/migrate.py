"""`bassloop migrate`: move the daemon's data to a PostgreSQL database, a bucket, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import data_dir_option, read_settings
from bassloop.units import format_size

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.settings import Settings

_DATABASES, _BUCKETS = ("postgresql://", "postgres://"), ("s3://",)


@click.command()
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@data_dir_option
def migrate(urls: tuple[str, ...], data_dir: Path | None) -> None:
    """Move the daemon's data to a PostgreSQL database, a bucket, or both. Stop the daemon first.

    To a database, which must be empty, all rows are copied in one transaction, read back, and compared. The old
    database stays as it is. Set DATABASE_URL afterwards.

    To a bucket, the logs and artifacts are moved one by one: each is stored, read back, and compared, and only then
    removed from the folder. If this is interrupted, run the command again. Set BLOBS_URL afterwards.

    \b
    Example:
      bassloop migrate postgresql://bassloop@db.example.com/bassloop
      bassloop migrate 's3://bucket/prefix?endpoint=https://s3.example.com'
    """
    from bassloop.store import StoreError, find_database
    from bassloop.tools.local_daemon import DaemonError
    from bassloop.tools.local_store import check_database

    for url in urls:
        if not url.startswith((*_DATABASES, *_BUCKETS)):
            raise click.BadParameter(
                f"{url} isn't an address such as postgresql://user@host/name or s3://bucket/prefix"
            )
    settings = read_settings(data_dir=data_dir)
    with report_errors(StoreError, DaemonError):
        check_database(settings)
        source = find_database(settings.database)
        with source.ownership():
            source.prepare()
            for url in urls:
                if url.startswith(_BUCKETS):
                    _move_blobs(settings, url)
                else:
                    _copy_rows(settings, url)


def _copy_rows(settings: Settings, url: str) -> None:
    from bassloop.cli.progress import show_progress
    from bassloop.store import find_database
    from bassloop.store.maintenance.transfer import copy_store

    source, target = find_database(settings.database), find_database(url)
    with target.ownership(), show_progress() as progress:
        progress("copying rows", 0, 0)
        copied = copy_store(source, target)
    for table, count in copied.items():
        if count:
            click.echo(f"{count:>12,}  {table}")
    click.echo(f"copied to {target}, read back, and compared; now set DATABASE_URL to it")
    click.echo(f"the old database is as it was: {source}")


def _move_blobs(settings: Settings, url: str) -> None:
    from bassloop.cli.progress import show_progress
    from bassloop.store import find_blobs, find_database
    from bassloop.store.maintenance.transfer import move_blobs

    blobs = find_blobs(settings.model_copy(update={"blobs_url": url}))
    count = size = 0
    with show_progress() as progress:
        for moved in move_blobs(find_database(settings.database), blobs):
            count += 1
            size += moved.bytes
            progress("moving logs and artifacts", count, 0)
    click.echo(
        f"moved {count:,} logs and artifacts, {format_size(size)}, to {blobs}; now set BLOBS_URL to it"
    )
