"""What outlives a trial's daemon: its whole log, for `bassloop logs --last`, and the artifacts that are asked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from bassloop.private_files import open_private_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bassloop.store import Artifact, Run, Store

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


async def keep_artifacts(store: Store, run: Run, folder: Path) -> list[Path]:
    """Write the artifacts of a run to a folder, each below its check's name, and return where. Raises OSError.

    Files that are there already are replaced.
    """
    check = re.sub(r"[^\w .(),+-]+", "-", run.check_name).strip(". ") or "check"
    kept = []
    for artifact in await store.artifacts.of_run(run.id):
        path = folder.joinpath(check, *artifact.path.split("/"))
        await _write_artifact(store, artifact, path)
        kept.append(path)
    return kept


async def _write_artifact(store: Store, artifact: Artifact, path: Path) -> None:
    async with store.artifacts.reading(artifact) as chunks:
        with open_private_file(path) as file:
            async for chunk in chunks:
                file.write(chunk)


def read_last_log() -> Iterator[bytes]:
    """Yield the lines of the last trial's log. Raises FileNotFoundError if there was no trial."""
    with last_log().open("rb") as file:
        for line in file:
            yield line.removesuffix(b"\n")
