"""`bassloop prune`: room, by letting go of runs that have had their time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import told
from bassloop.cli.stored import stored
from bassloop.cli.units import DURATION, SIZE, bytes_said

if TYPE_CHECKING:
    from bassloop.store import Retention


@click.command()
@click.option(
    "--older-than", type=DURATION, help="Remove what ended longer ago than this, such as 30d."
)
@click.option(
    "--keep-bytes", type=SIZE, help="Remove the oldest until the logs take no more, such as 10GB."
)
@click.option("--repository", metavar="OWNER/NAME", help="Of this repository only.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Where data is kept (setting DATA_DIR)."
)
def prune(
    older_than: float | None,
    keep_bytes: float | None,
    repository: str | None,
    dry_run: bool,
    data_dir: Path | None,
) -> None:
    """Remove runs with their logs, and deliveries and thunks that belong to none.

    Without --older-than and --keep-bytes, the settings KEEP_SECONDS, KEEP_BYTES and KEEP_REPOSITORIES
    say what; the daemon does the same by itself every hour. What is queued or running is never
    removed. Works whether the daemon runs or not.
    """
    from bassloop.daemon.wiring import retention
    from bassloop.settings import SettingsError, load_settings
    from bassloop.store import Bounds, Retention

    with told(SettingsError):
        settings = load_settings(data_dir=data_dir)
    wanted: Retention = retention(settings)
    if older_than is not None or keep_bytes is not None:
        size = None if keep_bytes is None else int(keep_bytes)
        wanted = Retention(Bounds(older_than, size), only=repository)
    elif repository is not None:
        raise click.UsageError("say --older-than or --keep-bytes of the repository")
    if not wanted.bounded:
        raise click.UsageError(
            "nothing says what is to go: give --older-than or --keep-bytes, or set KEEP_SECONDS, "
            "KEEP_BYTES or KEEP_REPOSITORIES"
        )
    pruned = stored(settings, lambda store: store.prune(wanted, now=time.time(), dry_run=dry_run))
    if dry_run:
        click.echo(f"would remove {_count(pruned.runs, 'run')}, {bytes_said(pruned.bytes)} of logs")
        return
    click.echo(
        f"removed {_count(pruned.runs, 'run')}, {bytes_said(pruned.bytes)} of logs, "
        f"{_count(pruned.deliveries, 'delivery')}, {_count(pruned.thunks, 'thunk')}"
    )


def _count(number: int, thing: str) -> str:
    things = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{number} {thing if number == 1 else things}"
