"""Report the progress and the logs of a driver's steps, as messages to the loop.

A log contains a command's two streams, in batches and with whole lines. A pipe delivers chunks that end anywhere: if
they were joined as they come, the lines ``1860`` and ``last`` of two streams could become ``1860last``.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import trio
from google.protobuf.timestamp_pb2 import Timestamp

from bassloop.runner.secrets.masking import Mask
from bassloop.wire import progrock_pb2 as progrock

BATCH_SECONDS = 0.05
CHUNK_SIZE = 32 * 1024
MAX_WAITING = 4 * CHUNK_SIZE
HOLD_SECONDS = 0.1
"""How long to wait for the end of a line. After that, an incomplete line, such as a prompt, is passed on."""
MAX_HELD = 8 * CHUNK_SIZE
"""The most bytes of one stream to hold while waiting for the end of a line."""

STDOUT, STDERR = 1, 2

_CLEARED = re.compile(rb"\r\x1b\[[02]?K|\x1b\[2K\r")
_INVISIBLE = re.compile(rb"(?:\r|\x1b\[[0-?]*[ -/]*[@-~])*")

Send = Callable[[progrock.StatusUpdate], Awaitable[None]]
"""Sends an update; returns when there is room for another one."""

_STREAMS = {STDOUT: progrock.LogStream.STDOUT, STDERR: progrock.LogStream.STDERR}
_NO_SECRETS = Mask(())
_END_BYTES = 4096
"""How much of a log's end a reporter remembers."""


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes that a command wrote to one stream."""

    stream: int
    data: bytes


class LineMerger:
    """Merges streams so that the lines of each stay whole. No I/O.

    Whole lines are passed on at once. The beginning of a line is held until its end comes, for at most `HOLD_SECONDS`
    and `MAX_HELD` bytes. A line that was passed on without its end is open: the other stream waits for its end for as
    long, and then continues on a new line.
    """

    def __init__(self) -> None:
        self._held: dict[int, bytearray] = {}
        self._deadlines: dict[int, float] = {}
        self._open: int | None = None
        self._shows_text = False
        """Whether the open line has visible text, so that another stream must begin a new line."""
        self._merged: list[LogChunk] = []

    @property
    def deadline(self) -> float:
        """The time at which to call :meth:`pass_on_held`; infinite while nothing is held."""
        return min(self._deadlines.values(), default=math.inf)

    def feed(self, stream: int, data: bytes, now: float) -> list[LogChunk]:
        """Take what a stream has written, and return what can be passed on now."""
        if stream == self._open:
            end = data.find(b"\n") + 1
            self._emit(stream, data[: end or None])
            data = data[end:] if end else b""
            for other in list(self._held) if end else ():
                self._emit_lines(other, now)
        if data:
            self._held.setdefault(stream, bytearray()).extend(data)
            self._deadlines.setdefault(stream, now + HOLD_SECONDS)
            if self._open is None:
                self._emit_lines(stream, now)
            if len(self._held.get(stream, b"")) > MAX_HELD:
                self._emit_lines(stream, now, open_line=True)
        return self._take_merged()

    def pass_on_held(self, now: float) -> list[LogChunk]:
        """Return what has been held until its deadline, at `now`."""
        for stream in sorted(self._held, key=self._deadlines.__getitem__):
            if self._deadlines[stream] <= now:
                self._emit_lines(stream, now, open_line=True)
        return self._take_merged()

    def end(self) -> list[LogChunk]:
        """Return everything that is held."""
        while self._held:
            for stream in list(self._held):
                self._emit_lines(stream, math.inf, open_line=True)
        return self._take_merged()

    def _emit_lines(self, stream: int, now: float, *, open_line: bool = False) -> None:
        """Pass on the whole lines that are held; if there are none, and with `open_line`, the incomplete one."""
        held = self._held[stream]
        end = held.rfind(b"\n") + 1
        if not end and open_line:
            end = len(held)
        if end:
            self._emit(stream, bytes(held[:end]))
            del held[:end]
            self._deadlines[stream] = now + HOLD_SECONDS
        if not held:
            del self._held[stream], self._deadlines[stream]

    def _emit(self, stream: int, data: bytes) -> None:
        if self._open not in (None, stream) and self._shows_text:
            self._merged.append(LogChunk(self._open, b"\n"))
        self._merged.append(LogChunk(stream, data))
        line = data[data.rfind(b"\n") + 1 :]
        before, *cleared = _CLEARED.split(line)
        continues = stream == self._open and len(line) == len(data) and not cleared
        shows_text = _INVISIBLE.fullmatch((cleared or [before])[-1]) is None
        self._shows_text = shows_text or (continues and self._shows_text)
        self._open = stream if line else None

    def _take_merged(self) -> list[LogChunk]:
        merged, self._merged = self._merged, []
        return merged


class LogBatcher:
    """Merges and collects log bytes, so that not every line needs a message of its own. :meth:`run` sends them.

    The first bytes are sent at once, and then every `BATCH_SECONDS` those that have come since. At most `MAX_WAITING`
    bytes wait, besides incomplete lines. While the loop doesn't receive them, :meth:`add` waits, and so does the
    command.
    """

    def __init__(self, send: Callable[[list[LogChunk]], Awaitable[None]]) -> None:
        self._send = send
        self._lines = LineMerger()
        self._chunks: list[tuple[int, bytearray]] = []
        self._size = 0
        self._changed = trio.Event()
        self._room = trio.Event()
        self._closed = False

    async def add(self, stream: int, data: bytes) -> None:
        """Add bytes; wait while too many are queued. If cancelled, nothing was added."""
        if not data:
            return
        while self._size >= MAX_WAITING:
            await self._room.wait()
        now = trio.current_time()
        self._append(self._lines.feed(stream, data, now))
        self._append(self._lines.pass_on_held(now))
        self._changed.set()

    def close(self) -> None:
        """Let :meth:`run` return as soon as everything is sent."""
        self._append(self._lines.end())
        self._closed = True
        self._changed.set()

    async def run(self) -> None:
        """Send until closed, and raise whatever `send` raises."""
        while True:
            while not self._size:
                if self._closed:
                    return
                await self._wait_for_change(math.inf)
            chunks, self._chunks, self._size = self._chunks, [], 0
            self._room.set()
            self._room = trio.Event()
            await self._send([LogChunk(stream, bytes(data)) for stream, data in chunks])
            until = trio.current_time() + BATCH_SECONDS
            while self._size < CHUNK_SIZE and not self._closed and trio.current_time() < until:
                await self._wait_for_change(until)

    async def _wait_for_change(self, until: float) -> None:
        """Wait until bytes are added or it's `until`. Pass on what has been held too long."""
        self._changed = trio.Event()
        with trio.move_on_at(min(until, self._lines.deadline)):
            await self._changed.wait()
        if self._lines.deadline <= trio.current_time():
            # If this process was delayed, the end of the line may be ready to be read.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            self._append(self._lines.pass_on_held(trio.current_time()))

    def _append(self, chunks: Sequence[LogChunk]) -> None:
        for each in chunks:
            if self._chunks and self._chunks[-1][0] == each.stream:
                self._chunks[-1][1].extend(each.data)
            else:
                self._chunks.append((each.stream, bytearray(each.data)))
            self._size += len(each.data)


class StepReporter:
    """Reports the progress of one step, which the wire calls a vertex.

    Args:
        mask: masks the step's name and errors. Callers mask the log themselves, with one masker for each stream.
    """

    def __init__(
        self, send: Send, key: str, name: str, inputs: Sequence[str], mask: Mask = _NO_SECRETS
    ) -> None:
        self._send = send
        self.mask = mask
        self._vertex = progrock.Vertex(id=step_id(key), name=mask.hide(name), inputs=inputs)
        self.log_end = b""
        """The last bytes of the log, with secrets masked."""

    def add_input(self, step: str) -> None:
        """Report with the next update that this step depends on another one, too."""
        if step not in self._vertex.inputs:
            self._vertex.inputs.append(step)

    @property
    def id(self) -> str:
        return self._vertex.id

    def beside(self, id: str, name: str) -> StepReporter:
        """Return a reporter for a step that belongs to this one and isn't shown on pages."""
        other = StepReporter(self._send, "", name, [self.id], self.mask)
        other._vertex.id = id
        other._vertex.internal = True
        return other

    async def announce(self) -> None:
        """Report that the step exists, and waits for something."""
        await self._send(progrock.StatusUpdate(vertexes=[self._vertex]))

    async def start(self) -> None:
        """Report that the step has started."""
        self._vertex.started.CopyFrom(_now())
        await self._send(progrock.StatusUpdate(vertexes=[self._vertex]))

    async def cached(self) -> None:
        """Report that the step's output was cached, so it doesn't run."""
        now = _now()
        self._vertex.started.CopyFrom(now)
        self._vertex.completed.CopyFrom(now)
        self._vertex.cached = True
        await self._send(progrock.StatusUpdate(vertexes=[self._vertex]))

    async def log(self, chunks: Sequence[LogChunk]) -> None:
        """Report what the step's command wrote."""
        now = _now()
        for each in chunks:
            self.log_end = (self.log_end + each.data[-_END_BYTES:])[-_END_BYTES:]
        logs = [
            progrock.VertexLog(
                vertex=self.id, stream=_STREAMS[each.stream], data=each.data, timestamp=now
            )
            for each in chunks
        ]
        await self._send(progrock.StatusUpdate(logs=logs))

    async def complete(self, error: str | None) -> None:
        """Report that the step has ended, with its error if it failed."""
        self._vertex.completed.CopyFrom(_now())
        if error is not None:
            self._vertex.error = self.mask.hide(error)
        await self._send(progrock.StatusUpdate(vertexes=[self._vertex]))


def step_id(key: str) -> str:
    """Return the id of the step whose output has this cache key."""
    return f"sha256:{key}"


async def send_nowhere(update: progrock.StatusUpdate) -> None:
    """Drop the progress of a call that doesn't report any."""
    await trio.lowlevel.checkpoint()


def _now() -> Timestamp:
    nanoseconds = time.time_ns()
    return Timestamp(seconds=nanoseconds // 1_000_000_000, nanos=nanoseconds % 1_000_000_000)
