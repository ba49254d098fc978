"""The whole log of the last trial, which outlives the trial's daemon: for `bassloop logs --last`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from bassloop.private_files import open_private_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bassloop.store import Run, Store

APP = "bass-loop"
PAGE = 1000


def last_log() -> Path:
    """Return the file with the log of the last trial."""
    return Path(platformdirs.user_state_dir(APP)) / "last-trial.log"


async def keep_log(store: Store, runs: Sequence[Run]) -> Path:
    """Write the logs of all steps of these runs to a file, in order, and return it. Raises OSError.

    The file replaces that of the trial before, whole or not at all.
    """
    path = last_log()
    with open_private_file(path) as file:
        for run in runs:
            for step in await store.steps.of_run(run.id):
                heading = f"==> {run.check_name} │ {' '.join(step.name.split())} <==\n"
                file.write(heading.encode(errors="replace"))
                start, lines = 0, [b""]
                while lines:
                    lines = list(await store.logs.lines(run.id, step.row, start, start + PAGE))
                    start += len(lines)
                    file.writelines(line + b"\n" for line in lines)
                if step.error:
                    file.write(f"{step.error}\n".encode(errors="replace"))
                file.write(b"\n")
    return path


def read_last_log() -> Iterator[bytes]:
    """Yield the lines of the last trial's log. Raises FileNotFoundError if there was no trial."""
    with last_log().open("rb") as file:
        for line in file:
            yield line.removesuffix(b"\n")
