"""Artifacts of other checks, which a loop sends before the run that uses them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.runner import file_trees
from bassloop.runner.call_context import GivenArtifact
from bassloop.runner.errors import DriverError
from bassloop.runner.limits import is_nearly_full
from bassloop.wire.conventions import MAX_GIVEN, problem_of_given

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MAX_RUNS = 100
"""Runs whose artifacts are kept at the same time."""


@dataclass(eq=False)
class ReceivedArtifacts:
    """The artifacts that came, until their run has ended. Everything here raises DriverError.

    Args:
        folder: where they are; whoever made it removes it.
    """

    folder: Path
    _runs: dict[str, dict[str, GivenArtifact]] = field(default_factory=dict)
    _count: int = 0

    async def receive(self, run: str, name: str, sha256: str, chunks: AsyncIterator[bytes]) -> None:
        """Take an artifact in, if it is what the loop says."""
        if (why := problem_of_given(name)) is not None:
            raise DriverError(f"the artifact {name[:100]!r} can't be given to a command: {why}")
        if run not in self._runs and len(self._runs) >= MAX_RUNS:
            await self.drop(next(iter(self._runs)))
        given = self._runs.setdefault(run, {})
        if len(given) >= MAX_GIVEN:
            raise DriverError(f"a run may be given {MAX_GIVEN} artifacts")
        self._count += 1
        file, digest = self.folder / str(self._count), hashlib.sha256()
        try:
            async with await trio.open_file(file, "wb") as opened:
                async for chunk in chunks:
                    digest.update(chunk)
                    await opened.write(chunk)
                    if await trio.to_thread.run_sync(is_nearly_full, self.folder):
                        raise DriverError("the disk of the runner's machine is nearly full")
            if digest.hexdigest() != sha256:
                raise DriverError(f"the artifact {name} isn't what the loop says it is")
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        given[name] = GivenArtifact(name, sha256, file)

    def of_run(self, run: str, listed: str) -> tuple[GivenArtifact, ...]:
        """Return the artifacts that a run is to be given, which have come before.

        Args:
            listed: a list of names with their SHA-256, in JSON.
        """
        given = self._runs.get(run, {})
        try:
            wanted = [(str(name), str(sha256)) for name, sha256 in json.loads(listed)]
        except (ValueError, TypeError, RecursionError) as error:
            raise DriverError("the list of artifacts can't be read") from error
        for name, sha256 in wanted:
            if name not in given or given[name].sha256 != sha256:
                raise DriverError(f"the artifact {name[:100]} has not come")
        return tuple(given[name] for name, _ in sorted(wanted))

    async def drop(self, run: str) -> None:
        """Remove what came for a run."""
        for each in self._runs.pop(run, {}).values():
            await file_trees.remove(each.file)
