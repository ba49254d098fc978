"""What to say of an ended run: read from the store, and for its annotations from the repository.

A run that ended says the same however often it is asked, so that what GitHub did not take the first
time goes on where it stopped.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.checks import check_output
from bassloop.checks.annotations import MAX_MARKS, Mark, marks
from bassloop.checks.caveats import notes
from bassloop.checks.source_locations import annotate
from bassloop.github import GitHubError
from bassloop.terminal import strip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.checks.loop import Loop
    from bassloop.github import Annotation, CheckOutput
    from bassloop.store import CheckRun, Run, Vertex

log = structlog.get_logger(__name__)

LAST_LINES = 60
LOOKED_AT_LINES = 4_000
AT_ONCE = 500
LOOKED_AT_VERTEXES = 5


async def describe(loop: Loop, run: Run, check: CheckRun) -> CheckOutput:
    """What to say of an ended run.

    Raises GitHubError when GitHub is out of reach while the repository's files are asked for.
    """
    url = loop.run_url(run.id)
    if run.check_name == check_output.APPROVAL:
        return check_output.approval(run, url)
    vertexes = await loop.store.vertexes(run.id)
    noted = await _annotations(loop, run, check, vertexes) if run.state == "failed" else ()
    of_hook = not run.thunk_digest
    if of_hook:  # what it said itself is its message
        vertexes = [
            vertex for vertex in vertexes if not vertex.digest.startswith(check_output.HOOK)
        ]
    shown = None
    if run.state == "failed":
        shown = check_output.failing_vertex(vertexes)
    elif run.state == "timed_out":
        shown = check_output.unfinished_vertex(vertexes)
    lines: list[str] = []
    if shown is not None:
        extent = await loop.store.log_extent(run.id, shown.row)
        shown = replace(shown, lines=extent.lines)
        lines = await _lines(loop, run, shown, extent.lines - LAST_LINES, extent.lines)
    if of_hook:
        return check_output.hook_ended(run, vertexes, url, shown, lines, noted)
    said = check_output.ended(run, vertexes, url, shown, lines, noted)
    return check_output.noted(said, notes(run, await loop.store.thunk(run.thunk_digest)))


async def _annotations(
    loop: Loop, run: Run, check: CheckRun, vertexes: Sequence[Vertex]
) -> Sequence[Annotation]:
    """Notes on the lines that the logs of failing vertexes point at."""
    found: list[Mark] = []
    for vertex in [vertex for vertex in vertexes if vertex.error][:LOOKED_AT_VERTEXES]:
        extent = await loop.store.log_extent(run.id, vertex.row)
        lines: list[str] = []
        for first in range(max(extent.lines - LOOKED_AT_LINES, 0), extent.lines, AT_ONCE):
            last = min(first + AT_ONCE, extent.lines)
            lines += await _lines(loop, run, vertex, first, last)
        found += await trio.to_thread.run_sync(marks, lines, MAX_MARKS)
    if not found:
        return ()
    owner, _, name = check.repository.partition("/")
    repo = loop.github.repository(check.installation_id, owner, name)
    try:
        known = await repo.paths(check.head_sha)
    except GitHubError as error:
        if error.passing:
            raise
        log.warning("repository's files not known", run=run.id, error=str(error))
        known = None
    return annotate(found, known)


async def _lines(loop: Loop, run: Run, vertex: Vertex, first: int, last: int) -> list[str]:
    lines = await loop.store.log_lines(run.id, vertex.row, max(first, 0), last)
    return [strip(line) for line in lines]
