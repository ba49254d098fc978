"""Test reports: the files that a thunk's `reports` label names, sent to the loop when its command ends.

They are sent also if the command fails, for then they matter most. The command and all its children are over
by then, but what it left is a stranger's: links aren't followed, and sizes are bounded.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import trio

from bassloop.runner import file_trees
from bassloop.runner.engine import layout
from bassloop.runner.engine.command import INPUTS
from bassloop.runner.engine.step_log import CHUNK_SIZE, STDOUT, LogChunk
from bassloop.runner.errors import DriverError
from bassloop.wire.conventions import (
    MAX_REPORT,
    MAX_REPORTS,
    MAX_REPORTS_SIZE,
    REPORT_PREFIX,
    REPORTS_LABEL,
    label_texts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bassloop.runner.engine.step_progress import StepReporter
    from bassloop.wire import bass_pb2 as pb


def report_patterns(thunk: pb.Thunk) -> tuple[str, ...]:
    """Return the patterns of a thunk's reports, relative to where its command starts."""
    return label_texts(thunk, REPORTS_LABEL)


async def send_reports(step: StepReporter, work: Path, start: str, patterns: Sequence[str]) -> None:
    """Send the reports that a command has left, with secrets masked.

    What can't be read is said in its place: a report never decides whether a check fails.

    Args:
        work: the folder of the command's work directory.
        start: the directory that the command started in. Only one in the work directory is looked at.
    """
    try:
        folder = file_trees.follow(work, layout.inside(start, "the directory"))
        found = await trio.to_thread.run_sync(find_files, folder, patterns)
    except (DriverError, OSError) as error:
        await step.beside(f"{REPORT_PREFIX}?", f"test reports: {error}").complete(str(error))
        return
    if not found:
        why = f"there is nothing at {', '.join(patterns)}"[:500]
        await step.beside(f"{REPORT_PREFIX}?", f"test reports: {why}").complete(why)
    left = MAX_REPORTS_SIZE
    for path in found[:MAX_REPORTS]:
        report = step.beside(f"{REPORT_PREFIX}{path}", f"test report {path}")
        await report.start()
        try:
            data = await trio.to_thread.run_sync(_read, folder, path, min(left, MAX_REPORT))
        except OSError as error:
            await report.complete(error.strerror or "it can't be read")
            continue
        left -= len(data)
        await _send(report, data)
        await report.complete(None)


async def _send(report: StepReporter, data: bytes) -> None:
    mask = report.mask.stream()
    masked = mask.feed(data) + mask.rest()
    for start in range(0, len(masked), CHUNK_SIZE):
        await report.log([LogChunk(STDOUT, masked[start : start + CHUNK_SIZE])])


def find_files(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Return the paths of the files that a command has left and that match, in order.

    Raises OSError, and DriverError for patterns that are none.
    """
    wanted = layout.pattern_filter(patterns, ())
    if wanted is None:
        return []
    return [
        path
        for path, entry in file_trees.walk(folder)
        if entry.is_file(follow_symlinks=False) and is_output(path) and wanted(path)
    ]


def is_output(path: str) -> bool:
    """Return whether a path below a work directory is a command's own, and not one of its inputs."""
    return path != INPUTS and not path.startswith(f"{INPUTS}/")


def _read(folder: Path, path: str, limit: int) -> bytes:
    """Read a file without following a link. Raises OSError for what is no file, or too large."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(file_trees.follow(folder, path), flags), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(0, "it is no file", path)
        if facts.st_size > limit:
            raise OSError(0, f"it has {facts.st_size:,} bytes, and {limit:,} may be sent", path)
        return file.read(limit)
