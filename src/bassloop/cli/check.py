"""`bassloop check`: whether database and logs are whole, and fit."""

from __future__ import annotations

import time
from pathlib import Path

import click

from bassloop.cli.errors import told


@click.command()
@click.option("--repair", is_flag=True, help="Mend what can be mended, and say what is lost.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where data is kept (setting DATA_DIR).",
)
def check(repair: bool, data_dir: Path | None) -> None:
    """Hold the database and the logs against each other. The exit status is 1 if something is wrong.

    It may be run beside the daemon; with --repair only when that is stopped. A damaged database is
    moved aside, and what can still be read of it takes its place.
    """
    from bassloop.settings import SettingsError, load_settings
    from bassloop.store import StoreError, is_served
    from bassloop.store.upkeep.mend import look, mend

    with told(SettingsError):
        settings = load_settings(data_dir=data_dir)
    database, blobs = settings.database, settings.blobs
    left = found = 0
    with told(StoreError):
        if not database.is_file():
            raise click.ClickException(
                f"there is no database {database}; are SQLITE_PATH and DATA_DIR the daemon's?"
            )
        findings = (
            mend(database, blobs, now=time.time())
            if repair
            else look(database, blobs, in_use=is_served(database))
        )
        for finding in findings:
            found += 1
            left += finding.mended is None
            click.echo(f"{finding.what}{f': {finding.mended}' if finding.mended else ''}")
    if left:
        hint = "" if repair else " (bassloop check --repair mends what can be mended)"
        raise click.ClickException(f"wrong: {left}{hint}")
    click.echo("all is well" if not found else f"mended {found}; all is well now")
