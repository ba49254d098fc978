"""Report why a run didn't succeed, as text for a terminal: a loop's run, or the last trial."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from bassloop.checks.run_failure import failure_json, find_run_failure
from bassloop.private_files import open_private_file, write_private_file
from bassloop.terminal import plain_lines
from bassloop.tools.loop_client import LoopClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bassloop.store import Artifact, Run, Store
    from bassloop.tools.loop_client import RunAddress


APP = "bass-loop"
PAGE = 1000

Failure = dict[str, Any]
"""A failure as the loop's API describes it."""


def last_log() -> Path:
    """Return the file with the log of the last trial."""
    return Path(platformdirs.user_state_dir(APP)) / "last-trial.log"


async def keep_log(store: Store, runs: Sequence[Run]) -> Path:
    """Write the logs of all steps of these runs to a file, in order, and return it. Raises OSError.

    The file atomically replaces the previous trial's.
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


async def fetch_failure(
    address: RunAddress, headers: Sequence[tuple[str, str]] = ()
) -> Failure | None:
    """Return why a run didn't succeed; None if it did, or nothing has failed yet. Raises LoopError."""
    loop = LoopClient(address.server, headers)
    found = await loop.get(f"{address.path}/failure")
    failure: Failure | None = found.get("failure")
    return failure


def render_failure(failure: Mapping[str, Any], page: str | None = None) -> str:
    """Return a failure as plain text, tolerating anything that a loop may have answered.

    Args:
        page: the address of the run's page; if it's given, each failure has a link to its lines.
    """
    return plain_lines("\n".join(_lines(failure, page)))


def _lines(failure: Mapping[str, Any], page: str | None) -> Iterator[str]:
    named = failure["failures"]
    for each in named:
        yield ": ".join(part for part in (each["test"], each["message"]) if part)
        if each["locations"]:
            places = each["locations"]
            place = next((place for place in places if place["url"]), places[0])
            link = f"  {place['url']}" if place["url"] else ""
            yield f"    at {place['path']}:{place['line']}{link}"
        if page is not None and failure["vertex"] is not None and each["first"] is not None:
            yield f"    log: {page}#v{failure['vertex']}-L{each['first'] + 1}"
    if failure["more"]:
        yield f"and {failure['more']} more"
    if note := failure.get("note"):
        yield str(note)
    if failure["reason"]:
        yield f"{'' if not named else chr(10)}{failure['reason']}"
    excerpt = failure.get("excerpt")
    if excerpt:
        yield ""
        width = len(str(excerpt["start"] + len(excerpt["lines"])))
        for number, line in enumerate(excerpt["lines"], excerpt["start"] + 1):
            yield f"{number:>{width}}  {line}"


# --- the last trial's ---


def last_failures() -> Path:
    """Return the file with the failures of the last trial."""
    return last_log().with_name("last-trial-failures.json")


async def keep_failures(store: Store, runs: Sequence[Run]) -> dict[str, Failure]:
    """Store and return why these runs failed, by check name, for use after the trial."""
    failures: dict[str, Failure] = {}
    for run in runs:
        found = await find_run_failure(store, run, await store.steps.of_run(run.id))
        if found is not None:
            failures[run.check_name] = await failure_json(store, run.id, found)
    write_private_file(last_failures(), json.dumps(failures).encode())
    return failures


def read_last_failures() -> dict[str, Failure]:
    """Return why the checks of the last trial failed. Raises FileNotFoundError if there was no trial."""
    failures: dict[str, Failure] = json.loads(last_failures().read_bytes())
    return failures
