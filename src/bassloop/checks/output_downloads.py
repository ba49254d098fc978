"""Outputs: files that a run's thunk made, streamed to a visitor from the runner that still has them.

A visitor must cost the runner's owner nothing but a little bandwidth. A download never runs anything: a runner is
asked for what it has cached. One output at a time is streamed from a runner, up to a size limit, and only while the
reader keeps reading. Only `bassloop runner` can promise not to run anything, so other runners aren't asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.checks.call_metadata import isolation_of
from bassloop.lifecycle import RunState
from bassloop.runtimes import RunFailed, RuntimeLost
from bassloop.wire import bass_pb2

if TYPE_CHECKING:
    from bassloop.runtimes import Pool, Runtime
    from bassloop.store import Run, Store

log = structlog.get_logger(__name__)

MAX_PATH = 1024
"""The maximum length of a path."""

AT_ONCE = 16
"""How many outputs are streamed at the same time."""

AT_ONCE_OF_ONE_USER = 4
"""How many of these come from the runners of one user, which may send them as slowly as they like."""

MAX_SECONDS = 3600.0
"""The time limit for one output, in seconds. Nobody else can have one from the same runner meanwhile."""

BUFFERED_CHUNKS = 4
"""How many chunks may wait for the reader before the runner has to wait."""


class OutputUnavailable(Exception):
    """The output isn't available now. The message says why."""


class OutputBusy(OutputUnavailable):
    """Another output is being streamed: try again in a moment."""


class OutputInterrupted(Exception):
    """An output ended before it was complete. The message says why."""


class _NotCached(OutputUnavailable):
    """This runner doesn't have the output, or won't send it under these conditions."""


@dataclass(eq=False)
class Output:
    """An open tar stream: an async iterator of chunks.

    Iterating raises OutputInterrupted if the stream ends early. Always close it: that cancels the call to the
    runner.
    """

    _chunks: trio.MemoryReceiveChannel[bytes]
    _end: _End

    def __aiter__(self) -> Output:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._chunks.receive()
        except trio.EndOfChannel:
            if self._end.why is not None:
                raise OutputInterrupted(self._end.why) from None
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Stop streaming. Idempotent."""
        self._end.scope.cancel()

    async def aclose(self) -> None:
        """Stop streaming, and wait until another output can be taken from the runner. Idempotent."""
        self.close()
        await self._end.runner_free.wait()


@dataclass(slots=True, eq=False)
class _End:
    """The end of an output.

    Args:
        why: why it ended early; None if it is complete.
    """

    why: str | None = "the runner is gone"
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    runner_free: trio.Event = field(default_factory=trio.Event)


@dataclass(eq=False)
class Outputs:
    """Streams outputs, while :meth:`run` runs.

    Args:
        limit: bytes of one output.
        slow_seconds: how long a reader may take for a chunk.
        busy: the ids of the runtimes from which an output is being streamed, with the ids of their owners.
    """

    store: Store
    pool: Pool
    limit: int
    slow_seconds: float = 30.0
    busy: dict[str, int] = field(default_factory=dict, init=False)
    _nursery: trio.Nursery | None = field(default=None, init=False)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Stream outputs until cancelled, which ends open streams."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def candidates(self, run: Run) -> list[Runtime]:
        """Return the connected runtimes that may still have a run's outputs, the likeliest first."""
        if run.state != RunState.SUCCEEDED or not run.thunk_digest:
            return []
        candidates = [
            runtime
            for runtime in self.pool.candidates(run.user_id)
            if runtime.kind == "bassloop" and str(runtime.platform) == run.platform
        ]
        return sorted(candidates, key=lambda runtime: runtime.id != run.runtime_id)

    def may_have(self, run: Run) -> bool:
        """Return whether it is worth asking for a run's output."""
        return bool(self.candidates(run))

    async def open(self, run: Run, path: str) -> Output:
        """Start streaming a path in a run's output, for somebody who may see the run.

        Raises OutputUnavailable. If cancelled, nothing is streamed.

        Args:
            path: relative; a directory if it is ``.`` or ends in a slash.
        """
        wanted = _parse_path(path)
        candidates = self.candidates(run)
        if not candidates:
            raise OutputUnavailable(
                f"no runner is connected that may still have it: only the runner of {run.login} that made"
                " it keeps it, if it is one of bassloop's"
                if run.state == RunState.SUCCEEDED
                else f"the run {run.state.replace('_', ' ')}, so it has no output"
            )
        record = await self.store.thunks.get(run.thunk_digest)
        if record is None:
            raise OutputUnavailable("its thunk is not known any more")
        source = bass_pb2.ThunkPath(thunk=record.proto, path=wanted)
        unavailable: OutputUnavailable | None = None
        for runtime in candidates:
            # Runners keep outputs of forks' heads apart, and whether this was one isn't stored. They also keep those
            # of trusted runs apart.
            trusted = isolation_of(run.head_sha, record.sha256)
            for fork, isolation in product(("false", "true"), ("", trusted)):
                isolated = {"bassloop-isolation": isolation} if isolation else {}
                metadata = {**isolated, **_metadata(run, fork)}
                try:
                    return await self._begin(runtime, source, metadata)
                except _NotCached as error:
                    unavailable = error
        assert unavailable is not None
        raise unavailable

    async def _begin(
        self, runtime: Runtime, path: bass_pb2.ThunkPath, metadata: dict[str, str]
    ) -> Output:
        if self._nursery is None:
            raise OutputUnavailable("the loop is shutting down")
        stream = partial(self._stream, runtime, path, metadata)
        output: Output = await self._nursery.start(stream)
        return output

    async def _stream(
        self,
        runtime: Runtime,
        path: bass_pb2.ThunkPath,
        metadata: dict[str, str],
        *,
        task_status: trio.TaskStatus[Output],
    ) -> None:
        """Stream one output. Raises OutputUnavailable if it fails before the first chunk."""
        if runtime.id in self.busy:
            raise OutputBusy(f"another output is being taken from {runtime}: try again in a moment")
        if len(self.busy) >= AT_ONCE:
            raise OutputBusy("too many outputs are being taken: try again in a moment")
        if list(self.busy.values()).count(runtime.user_id) >= AT_ONCE_OF_ONE_USER:
            raise OutputBusy(
                f"too many outputs are being taken from runners of {runtime.login}: try again in a moment"
            )
        send, receive = trio.open_memory_channel[bytes](BUFFERED_CHUNKS)
        end = _End()
        began = False
        size = 0
        with send:  # closed last, so that the runner is free when the reader sees the end
            self.busy[runtime.id] = runtime.user_id
            try:
                with end.scope, trio.fail_after(MAX_SECONDS):
                    async with runtime.export_path(path, metadata) as answers:
                        async for answer in answers:
                            if not isinstance(answer, bytes):
                                continue
                            size += len(answer)
                            if size > self.limit:
                                raise RunFailed(
                                    f"it has more than {self.limit:,} bytes (OUTPUT_LIMIT)"
                                )
                            if not began:
                                began = True
                                task_status.started(Output(receive, end))
                            with trio.fail_after(self.slow_seconds):
                                await send.send(answer)
                    if not began:
                        raise RunFailed(f"{runtime} sent nothing")
                    end.why = None
                if end.scope.cancelled_caught:
                    end.why = "its reader left"
            except (RunFailed, RuntimeLost) as error:
                end.why = str(error)
                if not began:
                    missing = isinstance(error, RunFailed) and error.status == "NOT_FOUND"
                    raise (_NotCached if missing else OutputUnavailable)(str(error)) from error
            except trio.TooSlowError:
                end.why = "it was not taken in time"
                if not began:
                    raise OutputUnavailable(f"{runtime} did not send it in time") from None
            except Exception:
                if not began:
                    raise
                log.exception("output crashed", runtime=runtime.id)
                end.why = "the loop itself failed"
            finally:
                del self.busy[runtime.id]
                end.runner_free.set()


def _metadata(run: Run, fork: str) -> dict[str, str]:
    """Return the call's metadata; the last entry forbids the runner to run anything."""
    return {
        "bassloop-repository": run.repository,
        "bassloop-visibility": "public" if run.public else "private",
        "bassloop-event": run.event,
        "bassloop-head": run.head_sha,
        "bassloop-fork": fork,
        "bassloop-kept-only": "true",
    }


def _parse_path(text: str) -> bass_pb2.FilesystemPath:
    """Parse a path in an output. Raises OutputUnavailable."""
    path = PurePosixPath(text or ".")
    if len(text) > MAX_PATH or "\0" in text or path.is_absolute() or ".." in path.parts:
        raise OutputUnavailable("a path in an output is relative, and stays in it")
    if str(path) == "." or text.endswith("/"):
        return bass_pb2.FilesystemPath(dir=bass_pb2.DirPath(path=str(path)))
    return bass_pb2.FilesystemPath(file=bass_pb2.FilePath(path=str(path)))
