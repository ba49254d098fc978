"""`bassloop serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import told
from bassloop.cli.log_config import configure_logs

if TYPE_CHECKING:
    from bassloop.settings import Settings


@click.command()
@click.option(
    "--listen", metavar="HOST:PORT", help="Where pages and webhook listen (setting LISTEN)."
)
@click.option("--ssh-addr", metavar="HOST:PORT", help="Where runners dial in (setting SSH_ADDR).")
@click.option(
    "--external-url", metavar="URL", help="How people reach this loop (setting EXTERNAL_URL)."
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Where data is kept (setting DATA_DIR)."
)
@click.option(
    "--log-level", metavar="LEVEL", help="debug, info, warning or error (setting LOG_LEVEL)."
)
def serve(**given: object) -> None:
    """Run the loop: webhook, hooks, pages and SSH gateway, until SIGTERM.

    Everything else is set through the environment, or a file of NAME=value lines (docs/settings.md).
    SIGTERM lets running checks finish for DRAIN_SECONDS; a second one ends them at once.
    """
    import trio

    from bassloop.settings import SettingsError, load_settings

    with told(SettingsError):
        settings = load_settings(**given)
    configure_logs(settings.log_level)
    from bassloop.daemon.errors import StartError
    from bassloop.gateway import HostKeyError
    from bassloop.store import StoreError

    with told(SettingsError, StartError, StoreError, HostKeyError):
        sys.exit(trio.run(_bridged, settings))


async def _bridged(settings: Settings) -> int:
    from bassloop.bridge import open_bridge
    from bassloop.daemon.serve import serve as run

    async with open_bridge():
        return await run(settings)
