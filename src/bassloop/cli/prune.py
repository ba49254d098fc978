"""`bassloop prune`: remove old runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import DURATION, SIZE, data_dir_option, find_settings
from bassloop.units import format_size

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.store import Retention


@click.command()
@click.option(
    "--older-than", type=DURATION, help="Remove runs that ended longer ago than this, such as 30d."
)
@click.option(
    "--keep-bytes",
    type=SIZE,
    help="Remove the oldest runs until the logs are no larger, such as 10GB.",
)
@click.option("--repository", metavar="OWNER/NAME", help="Only runs of this repository.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@data_dir_option
def prune(
    older_than: float | None,
    keep_bytes: int | None,
    repository: str | None,
    dry_run: bool,
    data_dir: Path | None,
) -> None:
    """Remove runs with their logs, and the deliveries and thunks that no run needs any more.

    Without --older-than and --keep-bytes, the settings KEEP_SECONDS, KEEP_BYTES and KEEP_REPOSITORIES apply; the daemon
    does the same every hour. Runs that are queued or running are never removed. It works whether the daemon runs or
    not.

    \b
    Example:
      bassloop prune --older-than 30d --dry-run
    """
    import trio

    from bassloop.cli.progress import show_progress
    from bassloop.daemon.wiring import retention
    from bassloop.store import Bounds, Retention, StoreError
    from bassloop.tools.local_daemon import DaemonError
    from bassloop.tools.local_store import use_store

    settings = find_settings(data_dir=data_dir)
    wanted: Retention = retention(settings)
    if older_than is not None or keep_bytes is not None:
        wanted = Retention(Bounds(older_than, keep_bytes), only=repository)
    elif repository is not None:
        raise click.UsageError("--repository needs --older-than or --keep-bytes")
    if not wanted.bounded:
        raise click.UsageError(
            "nothing says what to remove: give --older-than or --keep-bytes, or set KEEP_SECONDS, "
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
