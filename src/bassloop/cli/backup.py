"""`bassloop backup` and `bassloop restore`: the loop's data, elsewhere and back."""

from __future__ import annotations

import time
from pathlib import Path

import click

from bassloop.cli.errors import told
from bassloop.cli.units import bytes_said

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--data-dir", type=_FOLDER, help="Where data is kept (setting DATA_DIR).")
def backup(folder: Path, data_dir: Path | None) -> None:
    """Copy the database and the logs to DIR, while the daemon runs or not.

    A second backup to the same DIR copies only what is new. Settings, the App's key and the SSH host
    key are not in it: keep them where you keep secrets.
    """
    from bassloop.settings import SettingsError, load_settings
    from bassloop.store import StoreError
    from bassloop.store.upkeep.backup import back_up

    with told(SettingsError):
        settings = load_settings(data_dir=data_dir)
    with told(StoreError):
        made = back_up(settings.database, settings.blobs, folder, now=time.time())
    click.echo(
        f"backed up {made.runs} runs, {bytes_said(made.bytes)} ({bytes_said(made.copied)} copied)"
    )
    if made.lost:
        raise click.ClickException(
            f"{made.lost} logs are missing from {settings.blobs}: see bassloop check"
        )


@click.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option(
    "--overwrite", is_flag=True, help="Also where there is data already; it is moved aside."
)
@click.option("--data-dir", type=_FOLDER, help="Where data is kept (setting DATA_DIR).")
def restore(folder: Path, overwrite: bool, data_dir: Path | None) -> None:
    """Make the loop's data what the backup in DIR is.

    The backup is verified first. The daemon must not run; start it when this has ended.
    """
    from bassloop.settings import SettingsError, load_settings
    from bassloop.store import StoreError
    from bassloop.store.upkeep.restore import restore as put_back

    with told(SettingsError):
        settings = load_settings(data_dir=data_dir)
    with told(StoreError):
        aside = put_back(
            folder, settings.database, settings.blobs, overwrite=overwrite, now=time.time()
        )
    for path in aside:
        click.echo(f"moved aside: {path}")
    click.echo(f"restored to {settings.database} and {settings.blobs}")
