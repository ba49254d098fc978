"""`bassloop backup`, `restore`, `check`, `migrate` and `prune`: the daemon's data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import (
    DURATION,
    FOLDER,
    SIZE,
    data_dir_option,
    find_settings,
    read_settings,
)
from bassloop.units import format_size

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.settings import Settings
    from bassloop.store import Retention
    from bassloop.store.maintenance.integrity import Defect


_DATABASES, _BUCKETS = ("postgresql://", "postgres://"), ("s3://",)


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@data_dir_option
def backup(folder: Path, data_dir: Path | None) -> None:
    """Copy the database and the logs to DIR, whether the daemon runs or not.

    A second backup to the same DIR copies only what is new. The rows of a PostgreSQL database are all copied each time,
    to a file (loop.db); for standbys and point-in-time recovery, use PostgreSQL's own tools. A backup doesn't contain
    the settings, the App's key, or the SSH host key: keep those where you keep other secrets.

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
@click.option("--overwrite", is_flag=True, help="Move existing data aside, and continue.")
@data_dir_option
def restore(folder: Path, overwrite: bool, data_dir: Path | None) -> None:
    """Restore the database and the logs from the backup in DIR.

    Stop the daemon before you run this, and start it again afterwards. The backup is verified before anything is
    changed. With DATABASE_URL, the rows go into that PostgreSQL database, which must be empty.

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


@click.command()
@click.option("--repair", is_flag=True, help="Repair what can be repaired, and list what is lost.")
@data_dir_option
def check(repair: bool, data_dir: Path | None) -> None:
    """Verify that the database and the logs are intact and belong together.

    The exit status is 1 if something is wrong. You can run this while the daemon runs, but stop it before you use
    --repair. A damaged SQLite file is moved aside, and replaced by what can still be read from it. In a PostgreSQL
    database, only what bassloop has stored is verified; the database's own files are the server's concern.

    \b
    Example:
      bassloop check --repair
    """
    from bassloop.cli.progress import show_progress
    from bassloop.store import StoreError, find_blobs, find_database
    from bassloop.store.maintenance.integrity import check_store
    from bassloop.store.maintenance.repair import repair_store
    from bassloop.tools.local_daemon import DaemonError, check_database

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
        finally:  # report what was repaired, even if the rest can't be
            for each in defects:
                click.echo(f"{each.what}{f': {each.repaired}' if each.repaired else ''}")
    unrepaired = sum(each.repaired is None for each in defects)
    if unrepaired:
        hint = "" if repair else " (bassloop check --repair repairs what can be repaired)"
        raise click.ClickException(f"wrong: {unrepaired}{hint}")
    click.echo("all is well" if not defects else f"repaired {len(defects)}; all is well now")


@click.command()
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@data_dir_option
def migrate(urls: tuple[str, ...], data_dir: Path | None) -> None:
    """Move the daemon's data to a PostgreSQL database, a bucket, or both. Stop the daemon first.

    Given a database, which must be empty, all rows are copied to it in one transaction, read back, and compared. The
    old database isn't changed. Set DATABASE_URL afterwards.

    Given a bucket, the logs and artifacts are moved to it one by one: each is stored, read back, and compared, and only
    then removed from the folder. If this is interrupted, run the command again. Set BLOBS_URL afterwards.

    \b
    Example:
      bassloop migrate postgresql://bassloop@db.example.com/bassloop
      bassloop migrate 's3://bucket/prefix?endpoint=https://s3.example.com'
    """
    from bassloop.store import StoreError, find_database
    from bassloop.tools.local_daemon import DaemonError, check_database

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
    click.echo(f"the old database wasn't changed: {source}")


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


@click.command()
@click.option(
    "--older-than", type=DURATION, help="Remove runs that ended longer ago than this, such as 30d."
)
@click.option(
    "--keep-bytes",
    type=SIZE,
    help="Remove the oldest runs until the logs are no larger than this, such as 10GB.",
)
@click.option("--repository", metavar="OWNER/NAME", help="Remove only runs of this repository.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@data_dir_option
def prune(
    older_than: float | None,
    keep_bytes: int | None,
    repository: str | None,
    dry_run: bool,
    data_dir: Path | None,
) -> None:
    """Remove old runs with their logs, and deliveries and thunks that no run uses any more.

    Without --older-than and --keep-bytes, the settings KEEP_SECONDS, KEEP_BYTES and KEEP_REPOSITORIES apply; the daemon
    does the same every hour. Runs that are queued or running are never removed. You can run this whether the daemon
    runs or not.

    \b
    Example:
      bassloop prune --older-than 30d --dry-run
    """
    import trio

    from bassloop.cli.progress import show_progress
    from bassloop.daemon.wiring import retention
    from bassloop.store import Bounds, Retention, StoreError
    from bassloop.tools.local_daemon import DaemonError, use_store

    settings = find_settings(data_dir=data_dir)
    wanted: Retention = retention(settings)
    if older_than is not None or keep_bytes is not None:
        wanted = Retention(Bounds(older_than, keep_bytes), only=repository)
    elif repository is not None:
        raise click.UsageError("--repository needs --older-than or --keep-bytes")
    if not wanted.bounded:
        raise click.UsageError(
            "which runs should be removed? Use --older-than or --keep-bytes, or set KEEP_SECONDS, "
            "KEEP_BYTES or KEEP_REPOSITORIES"
        )
    with report_errors(StoreError, DaemonError), show_progress() as progress:
        pruned = trio.run(
            use_store,
            settings,
            lambda store: store.prune(wanted, now=time.time(), dry_run=dry_run, progress=progress),
        )
    if dry_run:
        click.echo(
            f"would remove {_count(pruned.runs, 'run')}, {format_size(pruned.bytes)} of logs"
        )
        return
    click.echo(
        f"removed {_count(pruned.runs, 'run')}, {format_size(pruned.bytes)} of logs, "
        f"{_count(pruned.deliveries, 'delivery')}, {_count(pruned.thunks, 'thunk')}"
    )


def _count(number: int, thing: str) -> str:
    things = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{number} {thing if number == 1 else things}"
