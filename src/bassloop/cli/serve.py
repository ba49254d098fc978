"""`bassloop serve`: the daemon."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import data_dir_option, quick_imports, read_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bassloop.settings import Settings


@click.command()
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="The address that pages and webhook listen on (setting LISTEN).",
)
@click.option(
    "--ssh-addr",
    metavar="HOST:PORT",
    help="The address that runners connect to (setting SSH_ADDR).",
)
@click.option(
    "--external-url",
    metavar="URL",
    help="The address that people and GitHub use (setting EXTERNAL_URL).",
)
@data_dir_option
@click.option(
    "--log-level", metavar="LEVEL", help="debug, info, warning or error (setting LOG_LEVEL)."
)
def serve(**overrides: object) -> None:
    """Run the daemon: webhook, hooks, pages and SSH gateway, until SIGTERM.

    Other settings come from the environment, or from a file of NAME=value lines (docs/settings.md). SIGTERM gives
    running checks DRAIN_SECONDS to finish; a second one ends them at once.

    \b
    Example:
      EXTERNAL_URL=https://loop.example.com bassloop serve --listen 127.0.0.1:3000
    """
    settings = read_settings(**overrides)
    with quick_imports():
        import trio

        from bassloop.cli.options import configure_logs
        from bassloop.daemon import StartError
        from bassloop.daemon.serve import serve as serve_daemon
        from bassloop.gateway import HostKeyError
        from bassloop.settings import SettingsError
        from bassloop.store import StoreError
        from bassloop.tools.local_daemon import registered

    gc.freeze()  # code isn't garbage, and a full collection that traverses it delays all tasks by a tenth of a second
    configure_logs(settings.log_level)
    os.umask(0o077)  # only the daemon's user may read logs and the database, however it was started
    with report_errors(SettingsError, StartError, StoreError, HostKeyError), registered(settings):
        sys.exit(trio.run(_bridged, serve_daemon, settings))


async def _bridged(serve: Callable[[Settings], Awaitable[int]], settings: Settings) -> int:
    from bassloop.bridge import open_bridge

    async with open_bridge():
        return await serve(settings)
