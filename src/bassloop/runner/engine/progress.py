"""What a driver reports while it works, as the messages that a loop understands."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from bassloop.runner.secrets.mask import Mask
from bassloop.wire import progrock_pb2 as progrock

if TYPE_CHECKING:
    from bassloop.runner.engine.coalesce import LogChunk

Send = Callable[[progrock.StatusUpdate], Awaitable[None]]
"""Takes an update; returns when there is room for the next."""


def now() -> Timestamp:
    """The time, as messages have it."""
    nanoseconds = time.time_ns()
    return Timestamp(seconds=nanoseconds // 1_000_000_000, nanos=nanoseconds % 1_000_000_000)


def step_id(key: str) -> str:
    """The id of the vertex of what is kept under `key`."""
    return f"sha256:{key}"


NOTHING = Mask(())


class StepReporter:
    """One thunk's place in the progress.

    Args:
        mask: what is hidden in its name and its error; who logs hides it there, a stream at a time.
    """

    def __init__(
        self, send: Send, key: str, name: str, inputs: Sequence[str], mask: Mask = NOTHING
    ) -> None:
        self._send = send
        self.mask = mask
        self._vertex = progrock.Vertex(id=step_id(key), name=mask.hide(name), inputs=inputs)

    @property
    def id(self) -> str:
        """Its id."""
        return self._vertex.id

    async def announced(self) -> None:
        """It is known, and waits for something."""
        await self._send(progrock.StatusUpdate(vertexes=[self._vertex]))

    async def started(self) -> None:
        """Its command begins."""
        self._vertex.started.CopyFrom(now())
        await self._send(progrock.StatusUpdate(vertexes=[self._vertex]))

    async def cached(self) -> None:
        """It need not run."""
        at = now()
        self._vertex.started.CopyFrom(at)
        self._vertex.completed.CopyFrom(at)
        self._vertex.cached = True
        await self._send(progrock.StatusUpdate(vertexes=[self._vertex]))

    async def logged(self, pieces: Sequence[LogChunk]) -> None:
        """It printed something."""
        at = now()
        logs = [
            progrock.VertexLog(
                vertex=self.id, stream=_STREAMS[piece.stream], data=piece.data, timestamp=at
            )
            for piece in pieces
        ]
        await self._send(progrock.StatusUpdate(logs=logs))

    async def completed(self, error: str | None) -> None:
        """Its command is over."""
        self._vertex.completed.CopyFrom(now())
        if error is not None:
            self._vertex.error = self.mask.hide(error)
        await self._send(progrock.StatusUpdate(vertexes=[self._vertex]))


_STREAMS = {1: progrock.LogStream.STDOUT, 2: progrock.LogStream.STDERR}
