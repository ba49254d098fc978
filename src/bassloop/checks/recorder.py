"""From a runner's progress to the store: vertexes, edges, logs, and a nudge to whoever follows.

Runners are not trusted. Ids and names are data, cut to a length; a log belongs to the row that the
store gave its vertex; what is beyond the bound of vertexes is dropped, which is said on the run.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.store import LogWriter, Store, Vertex, VertexUpdate
from bassloop.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from google.protobuf.timestamp_pb2 import Timestamp

    from bassloop.checks.tail import Tail
    from bassloop.wire import progrock_pb2

MAX_VERTEXES = 10_000
MAX_NAME = 4_096
MAX_INPUTS = 1_000


@dataclass(slots=True, eq=False)
class _Log:
    """One vertex's log while it is written."""

    writer: LogWriter
    terminal: Terminal
    row: int


@dataclass(eq=False)
class Recorder:
    """Records one run. Made by :func:`recording`, which closes what it opened."""

    store: Store
    tail: Tail
    run_id: str
    _vertexes: dict[str, Vertex] = field(default_factory=dict)
    _logs: dict[str, _Log] = field(default_factory=dict)
    _stuck_before: float = 0.0
    overflowed: bool = False

    def __post_init__(self) -> None:
        self._stuck_before = self.store.statistics().stuck_seconds

    async def record(self, update: progrock_pb2.StatusUpdate) -> None:
        """Store one update, then wake followers. Returns when it is stored, so a slow disk is felt upstream.

        Cancelled in the middle, the store has a prefix of the update.
        """
        if update.vertexes:
            await self._put([_known(vertex) for vertex in update.vertexes])
        for log in update.logs:
            await self._append(log)
        self.tail.publish(self.run_id)

    async def say(self, digest: str, name: str, text: str, *, error: str | None = None) -> None:
        """A vertex of the loop's own, complete, with some lines of log: what a runner did not say."""
        now = time.time()
        update = VertexUpdate(
            digest=digest, name=name, started_at=now, completed_at=now, error=error
        )
        await self._put([update])
        if text:
            await self._append_bytes(digest, text.encode(errors="replace"), 2, now)
        self.tail.publish(self.run_id)

    async def settle(self) -> None:
        """Have everything in the logs, however long a full disk takes to have room."""
        await self._settle_screens()
        for log in self._logs.values():
            await log.writer.flush(patient=True)
        if seconds := round(self.store.statistics().stuck_seconds - self._stuck_before):
            name = f"[loop] the disk was full for {seconds} s: what wrote a log waited, nothing is lost"
            await self.say("loop:full", name, "")

    async def _settle_screens(self) -> None:
        for log in self._logs.values():
            await log.writer.append(b"", log.terminal.settle_rest(), 1, time.time())

    def vertexes(self) -> list[Vertex]:
        """All vertexes recorded by now, in order of their first appearance."""
        return sorted(self._vertexes.values(), key=lambda vertex: vertex.position)

    async def _put(self, updates: list[VertexUpdate]) -> None:
        kept: dict[str, VertexUpdate] = {}
        for update in updates:
            if update.digest in self._vertexes or len(self._vertexes) + len(kept) < MAX_VERTEXES:
                kept[update.digest] = update
            else:
                self.overflowed = True
        if kept:
            self._vertexes.update(await self.store.put_vertexes(self.run_id, list(kept.values())))

    async def _append(self, log: progrock_pb2.VertexLog) -> None:
        if log.vertex not in self._vertexes:
            await self._put(
                [VertexUpdate(digest=log.vertex[:MAX_NAME], name=log.vertex[:MAX_NAME])]
            )
        at = _seconds(log.timestamp) if log.HasField("timestamp") else time.time()
        await self._append_bytes(log.vertex[:MAX_NAME], log.data, int(log.stream), at)

    async def _append_bytes(self, digest: str, data: bytes, stream: int, at: float) -> None:
        log = await self._log(digest)
        if log is None or log.writer.full or not data:
            return
        # No more than there is room for, so that no settled line is lost at the limit.
        settled = log.terminal.settle(data[: log.writer.room])
        await log.writer.append(data, settled, stream, at)

    async def _log(self, digest: str) -> _Log | None:
        log = self._logs.get(digest)
        if log is None and (vertex := self._vertexes.get(digest)) is not None:
            writer = await self.store.open_log(self.run_id, vertex.row)
            log = self._logs[digest] = _Log(writer, Terminal(), vertex.row)
            self.tail.lend_screen(vertex.row, log.terminal.screen)
        return log

    async def _close(self) -> None:
        """Settle what is still on each screen and close the logs; afterwards all is in the store."""
        async with AsyncExitStack() as stack:
            stack.callback(self.tail.publish, self.run_id)
            for log in self._logs.values():
                stack.callback(self.tail.lend_screen, log.row, None)
                stack.push_async_callback(log.writer.close)
            await self._settle_screens()


@asynccontextmanager
async def recording(store: Store, tail: Tail, run_id: str) -> AsyncGenerator[Recorder]:
    """A recorder for a run; on exit, also when cancelled, its logs are complete and closed."""
    recorder = Recorder(store, tail, run_id)
    try:
        yield recorder
        await recorder.settle()
    finally:
        with trio.move_on_after(10, shield=True):
            await recorder._close()


def _known(vertex: progrock_pb2.Vertex) -> VertexUpdate:
    return VertexUpdate(
        digest=vertex.id[:MAX_NAME],
        name=vertex.name[:MAX_NAME],
        started_at=_seconds(vertex.started) if vertex.HasField("started") else None,
        completed_at=_seconds(vertex.completed) if vertex.HasField("completed") else None,
        cached=vertex.cached,
        error=vertex.error[:MAX_NAME] if vertex.HasField("error") else None,
        cancelled=vertex.canceled,
        internal=vertex.internal,
        inputs=tuple(name[:MAX_NAME] for name in vertex.inputs[:MAX_INPUTS]),
    )


def _seconds(at: Timestamp) -> float:
    return at.seconds + at.nanos / 1e9
