"""The digests of a run's log and artifacts, which runner, loop and verifier all compute."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bassloop.wire.conventions import MAX_ARTIFACTS, REPORT_PREFIX, artifact_path, problem_of_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bassloop.wire import progrock_pb2

MAX_STEPS = 10_000
"""The maximum number of steps with a log. A loop doesn't store more, either."""


@dataclass(eq=False)
class LogDigest:
    """The digest of the logs of a run's steps, as they are sent.

    It's the SHA-256 of sorted lines of JSON, `["STEP","SHA-256 of the step's log"]`, one for each step with output. So
    it doesn't depend on how logs were split into messages or interleaved.
    """

    overflowed: bool = False
    _steps: dict[str, hashlib._Hash] = field(default_factory=dict)

    def add(self, step: str, data: bytes) -> None:
        """Add a piece of a step's log."""
        if not data:
            return
        if step not in self._steps:
            if len(self._steps) >= MAX_STEPS:
                self.overflowed = True
                return
            self._steps[step] = hashlib.sha256()
        self._steps[step].update(data)

    def hexdigest(self) -> str:
        """Return the digest of everything added so far."""
        return digest_of_logs({step: each.hexdigest() for step, each in self._steps.items()})


def digest_of_logs(steps: Mapping[str, str]) -> str:
    """Return a run's log digest, given the SHA-256 of each step's log in hex. Steps without a log don't count."""
    return hashlib.sha256(b"".join(_lines(steps.items()))).hexdigest()


def _lines(steps: Iterable[tuple[str, str]]) -> list[bytes]:
    return sorted(json.dumps([step, digest]).encode() + b"\n" for step, digest in steps)


@dataclass(eq=False)
class ArtifactDigests:
    """The digests of the artifacts that were sent.

    The first artifact with each path counts, unless it has an error.
    """

    _complete: dict[str, str] = field(default_factory=dict)
    _open: dict[str, hashlib._Hash] = field(default_factory=dict)

    def note(self, update: progrock_pb2.StatusUpdate) -> None:
        """Process an update. Its logs come before the ends of steps in it."""
        for log in update.logs:
            path = artifact_path(log.vertex)
            if path is not None and (digest := self._digest(path)) is not None:
                digest.update(log.data)
        for vertex in update.vertexes:
            path = artifact_path(vertex.id)
            if path is None or (digest := self._digest(path)) is None:
                continue
            if vertex.HasField("error"):
                del self._open[path]
            elif vertex.HasField("completed"):
                self._complete[path] = self._open.pop(path).hexdigest()

    def _digest(self, path: str) -> hashlib._Hash | None:
        if path in self._complete or problem_of_path(path) is not None:
            return None
        if path not in self._open:
            if len(self._complete) + len(self._open) >= MAX_ARTIFACTS:
                return None
            self._open[path] = hashlib.sha256()
        return self._open[path]

    def listed(self) -> tuple[tuple[str, str], ...]:
        """Return the paths of the artifacts that are complete, with their SHA-256, sorted."""
        return tuple(sorted(self._complete.items()))


@dataclass(eq=False)
class CallDigests:
    """The digests of a call. Test reports aren't included, since a loop reads but doesn't store them."""

    log: LogDigest = field(default_factory=LogDigest)
    artifacts: ArtifactDigests = field(default_factory=ArtifactDigests)

    def note(self, update: progrock_pb2.StatusUpdate) -> None:
        """Process an update that was sent or received."""
        self.artifacts.note(update)
        for each in update.logs:
            if not each.vertex.startswith(REPORT_PREFIX) and artifact_path(each.vertex) is None:
                self.log.add(each.vertex, each.data)
