"""Reports a driver's work, its steps and their logs, as the messages that a loop reads."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import trio
from google.protobuf.timestamp_pb2 import Timestamp

from bassloop.runner.engine.step_log import STDERR, STDOUT, LogChunk
from bassloop.runner.secrets.masking import Mask
from bassloop.wire import progrock_pb2 as progrock

Send = Callable[[progrock.StatusUpdate], Awaitable[None]]
"""Sends an update; returns when there is room for the next one."""

_STREAMS = {STDOUT: progrock.LogStream.STDOUT, STDERR: progrock.LogStream.STDERR}
_NO_SECRETS = Mask(())


class StepReporter:
    """Reports the progress of one step, which the wire calls a vertex.

    Args:
        mask: masks its name and errors. Whoever logs masks the log, with a stream for each.
    """

    def __init__(
        self, send: Send, key: str, name: str, inputs: Sequence[str], mask: Mask = _NO_SECRETS
    ) -> None:
        self._send = send
        self.mask = mask
        self._vertex = progrock.Vertex(id=step_id(key), name=mask.hide(name), inputs=inputs)

    @property
    def id(self) -> str:
        return self._vertex.id

    def beside(self, id: str, name: str) -> StepReporter:
        """Return a reporter for a step that belongs to this one, and that pages don't show."""
        other = StepReporter(self._send, "", name, [self.id], self.mask)
        other._vertex.id = id
        other._vertex.internal = True
        return other

    async def announce(self) -> None:
        """Report that the step is there and waits for something."""
        await self._send(progrock.StatusUpdate(vertexes=[self._vertex]))

    async def start(self) -> None:
        """Report that the step begins."""
        self._vertex.started.CopyFrom(_now())
        await self._send(progrock.StatusUpdate(vertexes=[self._vertex]))

    async def cached(self) -> None:
        """Report that the step needn't run."""
        now = _now()
        self._vertex.started.CopyFrom(now)
        self._vertex.completed.CopyFrom(now)
        self._vertex.cached = True
        await self._send(progrock.StatusUpdate(vertexes=[self._vertex]))

    async def log(self, chunks: Sequence[LogChunk]) -> None:
        """Report what the step's command wrote."""
        now = _now()
        logs = [
            progrock.VertexLog(
                vertex=self.id, stream=_STREAMS[each.stream], data=each.data, timestamp=now
            )
            for each in chunks
        ]
        await self._send(progrock.StatusUpdate(logs=logs))

    async def complete(self, error: str | None) -> None:
        """Report that the step is over, with its error if it failed."""
        self._vertex.completed.CopyFrom(_now())
        if error is not None:
            self._vertex.error = self.mask.hide(error)
        await self._send(progrock.StatusUpdate(vertexes=[self._vertex]))


def step_id(key: str) -> str:
    """Return the id of the step whose output has this cache key."""
    return f"sha256:{key}"


async def send_nowhere(update: progrock.StatusUpdate) -> None:
    """Drop the progress of a call that reports none."""
    await trio.lowlevel.checkpoint()


def _now() -> Timestamp:
    nanoseconds = time.time_ns()
    return Timestamp(seconds=nanoseconds // 1_000_000_000, nanos=nanoseconds % 1_000_000_000)
