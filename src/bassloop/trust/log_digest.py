"""The digest of a run's log, which the runner, the loop and whoever verifies a statement compute alike."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_STEPS = 10_000
"""Steps with a log that are counted. A loop stores no more either."""


@dataclass(eq=False)
class LogDigest:
    """The digest of the logs of a run's steps, as they are sent.

    It is the SHA-256 of lines of JSON, `["STEP","SHA-256 of the step's log"]`, one for each step that has
    printed something, sorted. So it doesn't depend on how logs were cut into messages, or interleaved.
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
        """Return the digest of what was added so far."""
        return digest_of_logs({step: each.hexdigest() for step, each in self._steps.items()})


def digest_of_logs(steps: Mapping[str, str]) -> str:
    """Return a run's log digest from the SHA-256 of each step's log, in hex. Steps without a log don't count."""
    return hashlib.sha256(b"".join(_lines(steps.items()))).hexdigest()


def _lines(steps: Iterable[tuple[str, str]]) -> list[bytes]:
    return sorted(json.dumps([step, digest]).encode() + b"\n" for step, digest in steps)
