"""The digests of what came in a call: a run's log and its artifacts, which both ends compute alike."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bassloop.trust.log_digest import LogDigest
from bassloop.wire.artifact_protocol import MAX_ARTIFACTS, artifact_path, problem_of_path
from bassloop.wire.report_protocol import REPORT_PREFIX

if TYPE_CHECKING:
    from bassloop.wire import progrock_pb2


@dataclass(eq=False)
class ArtifactDigests:
    """The digests of the artifacts that were sent.

    The first of each path counts, and one with an error doesn't.
    """

    _complete: dict[str, str] = field(default_factory=dict)
    _open: dict[str, hashlib._Hash] = field(default_factory=dict)

    def note(self, update: progrock_pb2.StatusUpdate) -> None:
        """Note an update. Its logs come before the ends of steps in it."""
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
    """The digests of a call. Test reports aren't part of it: a loop reads them and doesn't keep them."""

    log: LogDigest = field(default_factory=LogDigest)
    artifacts: ArtifactDigests = field(default_factory=ArtifactDigests)

    def note(self, update: progrock_pb2.StatusUpdate) -> None:
        """Note an update that was sent, or that came."""
        self.artifacts.note(update)
        for each in update.logs:
            if not each.vertex.startswith(REPORT_PREFIX) and artifact_path(each.vertex) is None:
                self.log.add(each.vertex, each.data)
