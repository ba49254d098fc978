"""Send the files that a thunk's labels name to the loop: test reports and artifacts."""

from __future__ import annotations

import os
import stat
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from bassloop.runner import file_trees
from bassloop.runner.engine import path_rules
from bassloop.runner.engine.command import INPUTS
from bassloop.runner.engine.step_progress import CHUNK_SIZE, STDOUT, LogChunk
from bassloop.runner.errors import DriverError
from bassloop.wire.conventions import (
    ARTIFACT_PREFIX,
    MAX_ARTIFACTS,
    MAX_REPORT,
    MAX_REPORTS,
    MAX_REPORTS_SIZE,
    REPORT_PREFIX,
    problem_of_path,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from bassloop.runner.call_context import ArtifactLimits
    from bassloop.runner.engine.step_progress import StepReporter
    from bassloop.wire import bass_pb2 as pb


NOT_SENT = "it contains a secret of this runner, and secrets don't leave the runner"
CHUNK = 256 << 10


async def send_reports(step: StepReporter, work: Path, start: str, patterns: Sequence[str]) -> None:
    """Send the reports that a command has left, with secrets masked.

    What can't be read is reported in its place. A report never decides whether a check fails.

    Args:
        work: the folder of the command's work directory.
        start: the directory that the command started in. If it's outside the work directory, nothing is sent.
    """
    try:
        folder = file_trees.follow(work, path_rules.inside(start, "the directory"))
        found = await trio.to_thread.run_sync(find_files, folder, patterns)
    except (DriverError, OSError) as error:
        await step.beside(f"{REPORT_PREFIX}?", f"test reports: {error}").complete(str(error))
        return
    why = None
    if not found:
        why = f"there is nothing at {', '.join(patterns)}"[:500]
    elif len(found) > MAX_REPORTS:
        why = f"{len(found):,} files match, and only the first {MAX_REPORTS} are sent"
    if why is not None:
        await step.beside(f"{REPORT_PREFIX}?", f"test reports: {why}").complete(why)
    left = MAX_REPORTS_SIZE
    for path in found[:MAX_REPORTS]:
        shown = path_rules.printable(path)
        report = step.beside(f"{REPORT_PREFIX}{shown}", f"test report {shown}")
        await report.start()
        try:
            data = await trio.to_thread.run_sync(_read, folder, path, min(left, MAX_REPORT))
        except OSError as error:
            await report.complete(error.strerror or "it can't be read")
            continue
        left -= len(data)
        await _send_report(report, data)
        await report.complete(None)


async def _send_report(report: StepReporter, data: bytes) -> None:
    mask = report.mask.stream()
    masked = mask.feed(data) + mask.rest()
    for start in range(0, len(masked), CHUNK_SIZE):
        await report.log([LogChunk(STDOUT, masked[start : start + CHUNK_SIZE])])


def find_files(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Return the paths of the matching files that a command has left, in order.

    Raises OSError, and DriverError for malformed patterns.
    """
    wanted = path_rules.pattern_filter(patterns, ())
    if wanted is None:
        return []
    return [
        path
        for path, entry in file_trees.walk(folder)
        if entry.is_file(follow_symlinks=False) and is_output(path) and wanted(path)
    ]


def is_output(path: str) -> bool:
    """Return whether a path below a work directory belongs to the command's output, and not to its inputs."""
    return path != INPUTS and not path.startswith(f"{INPUTS}/")


def _read(folder: Path, path: str, limit: int) -> bytes:
    """Read a file without following a link. Raises OSError if it's no regular file, or too large."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(file_trees.follow(folder, path), flags), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(0, "it is no file", path)
        if facts.st_size > limit:
            raise OSError(0, f"it has {facts.st_size:,} bytes, and {limit:,} may be sent", path)
        return file.read(limit)


def start_of(thunk: pb.Thunk) -> str:
    """Return the value of `Command.dir` for a thunk. Raises DriverError."""
    match thunk.dir.WhichOneof("dir"):
        case None:
            return "."
        case "local":
            return path_rules.normalized(thunk.dir.local.path, "the directory")
    return INPUTS


@dataclass(frozen=True, slots=True)
class _Artifact:
    """A file, or a folder that is sent as an archive."""

    path: str
    source: Path
    is_folder: bool = False

    async def content(self) -> AsyncGenerator[bytes]:
        """Generate the artifact's bytes, the same each time. Raises OSError."""
        if self.is_folder:
            async with aclosing(file_trees.tar(self.source, "", is_output)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        async with trio.wrap_file(os.fdopen(os.open(self.source, flags), "rb")) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(0, "it is no file", self.path)
            while chunk := await file.read(CHUNK):
                yield chunk


async def send_artifacts(
    step: StepReporter,
    work: Path,
    start: str,
    patterns: Sequence[str],
    limits: ArtifactLimits,
) -> None:
    """Send the artifacts that a command has left.

    Args:
        work: the folder of the command's work directory.
        start: the directory that the command started in. If it's outside the work directory, nothing is sent.
        limits: the loop's size limits.
    """
    try:
        folder = file_trees.follow(work, path_rules.inside(start, "the directory"))
        found = await trio.to_thread.run_sync(_find, folder, patterns)
    except (DriverError, OSError) as error:
        await _refuse(step, "?", str(error))
        return
    if missing := [each for each in patterns if not each.startswith("!") and not _has(found, each)]:
        await _refuse(step, "?", f"there is nothing at {', '.join(missing)}"[:500])
    elif len(found) > MAX_ARTIFACTS:
        await _refuse(
            step,
            "?",
            f"{len(found):,} files match, but at most {MAX_ARTIFACTS} are stored: name a folder, with a slash at "
            "its end, to store it as one archive",
        )
    left = limits.all
    for artifact in found[:MAX_ARTIFACTS]:
        try:
            size, is_secret = await _scan(artifact, step, min(left, limits.one))
            problem = NOT_SENT if is_secret else _problem_of_size(size, left, limits)
            if (problem := problem_of_path(artifact.path) or problem) is None:
                left -= size
                await _send_artifact(artifact, step)
                continue
        except OSError as error:
            problem = error.strerror or "it can't be read"
        await _refuse(step, artifact.path, problem)


def _problem_of_size(size: int, left: int, limits: ArtifactLimits) -> str | None:
    if size > limits.one:
        return f"it has more than the {limits.one:,} bytes that one may have (ARTIFACT_LIMIT)"
    if size > left:
        return f"the artifacts of one run may have {limits.all:,} bytes (RUN_ARTIFACTS)"
    return None


async def _scan(artifact: _Artifact, step: StepReporter, most: int) -> tuple[int, bool]:
    """Return an artifact's size, and whether it contains a secret. Stops if it's too large. Raises OSError."""
    mask, size = step.mask.stream(), 0
    async with aclosing(artifact.content()) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            mask.feed(chunk)
            if mask.found or size > most:
                return size, mask.found
    mask.rest()
    return size, mask.found


async def _send_artifact(artifact: _Artifact, step: StepReporter) -> None:
    report = step.beside(f"{ARTIFACT_PREFIX}{artifact.path}", f"artifact {artifact.path}")
    await report.start()
    error = None
    try:
        async with aclosing(artifact.content()) as chunks:
            async for chunk in chunks:
                await report.log([LogChunk(STDOUT, chunk)])
    except OSError as failure:
        error = failure.strerror or "it can't be read"
    await report.complete(error)


async def _refuse(step: StepReporter, path: str, why: str) -> None:
    path = path_rules.printable(path)
    report = step.beside(f"{ARTIFACT_PREFIX}{path}", f"artifact {path}")
    await report.complete(why)


def _find(folder: Path, patterns: Sequence[str]) -> list[_Artifact]:
    """Return the artifacts, folders first. Raises OSError, and DriverError for malformed patterns."""
    found = []
    for pattern in patterns:
        if pattern.endswith("/"):
            path = path_rules.inside(pattern, "the artifact")
            place = file_trees.follow(folder, path)
            if place.is_dir() and not place.is_symlink():
                found.append(_Artifact(_archive(pattern), place, True))
    globs = [pattern for pattern in patterns if not pattern.endswith("/")]
    found += [_Artifact(path, folder / path) for path in find_files(folder, globs)]
    return found


def _archive(pattern: str) -> str:
    """Return the path of the artifact that a folder is sent as."""
    path = path_rules.inside(pattern, "the artifact")
    return f"{'files' if path == '.' else path}.tar"


def _has(found: Sequence[_Artifact], pattern: str) -> bool:
    """Return whether any artifact matches a pattern."""
    if pattern.endswith("/"):
        return any(each.is_folder and each.path == _archive(pattern) for each in found)
    wanted = path_rules.pattern_filter([pattern], ())
    return wanted is not None and any(wanted(each.path) for each in found if not each.is_folder)
