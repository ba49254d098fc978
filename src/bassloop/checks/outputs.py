"""Files that a run's thunk made, from the runner that still has them.

A visitor's wish must cost the runner's owner nothing but bandwidth, and little of that: nothing is ever
run for it (a runner is asked for what it keeps, and says so when it keeps nothing), one output at a time
is taken from a runner, none beyond a size, and none that its reader does not take. Only our own runners
can promise the first; the others run what they do not find.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import trio

from bassloop.runtimes import RunFailed, RuntimeLost
from bassloop.wire import bass_pb2

if TYPE_CHECKING:
    from bassloop.runtimes import Pool, Runtime
    from bassloop.store import Run, Store

MAX_PATH = 1024
"""Characters of a path."""

AT_ONCE = 16
"""Outputs that are handed on at the same time."""

WAITING = 4
"""Pieces that may wait for the reader before the runner has to."""


class NoOutput(Exception):
    """There is no such output to be had now; the message says why, for whoever asked."""


class Busy(NoOutput):
    """Not now: another one is being handed on."""


class Interrupted(Exception):
    """An output ended before it was whole; the message says why."""


class _NotKept(NoOutput):
    """This runner has it not, or not under these conditions."""


@dataclass(eq=False)
class Output:
    """A tar stream that has begun. Close it; who leaves early cancels the call at the runner.

    Iterating raises Interrupted when it ends before it is whole.
    """

    _pieces: trio.MemoryReceiveChannel[bytes]
    _end: _End

    def __aiter__(self) -> Output:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._pieces.receive()
        except trio.EndOfChannel:
            if self._end.why is not None:
                raise Interrupted(self._end.why) from None
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Nothing more of it is wanted. Idempotent."""
        self._pieces.close()


@dataclass(slots=True, eq=False)
class _End:
    """Why an output ended before it was whole."""

    why: str | None = "the runner is gone"


@dataclass(eq=False)
class Outputs:
    """Hands outputs on.

    Args:
        nursery: where it does; when that is cancelled, so are all that are under way.
        limit: bytes of one output.
        slow_seconds: how long a reader may leave a piece untaken.
    """

    store: Store
    pool: Pool
    nursery: trio.Nursery
    limit: int
    slow_seconds: float = 30.0
    _busy: set[str] = field(default_factory=set)

    def keepers(self, run: Run) -> list[Runtime]:
        """The connected runtimes that may still have what a run's thunk made, the likeliest first."""
        if run.state != "succeeded" or not run.thunk_digest:
            return []
        fit = [
            runtime
            for runtime in self.pool.candidates(run.user_id)
            if runtime.kind == "bassloop" and str(runtime.platform) == run.platform
        ]
        return sorted(fit, key=lambda runtime: runtime.id != run.runtime_id)

    def may_have(self, run: Run) -> bool:
        """Whether it is worth asking."""
        return bool(self.keepers(run))

    async def open(self, run: Run, path: str) -> Output:
        """The output's path as a tar stream, which has begun; `path` is of a directory if it is `.`
        or ends in a slash. For callers that may see the run.

        Raises NoOutput; cancelled, nothing is under way.
        """
        wanted = _path(path)
        keepers = self.keepers(run)
        if not keepers:
            raise NoOutput(
                "no runner is connected that may still have it: it is kept by the runner of"
                f" {run.login} that made it, if that is one of bassloop's"
                if run.state == "succeeded"
                else f"the run {run.state.replace('_', ' ')}, so nothing is kept of it"
            )
        record = await self.store.thunk(run.thunk_digest)
        if record is None:
            raise NoOutput("its thunk is not known any more")
        asked = bass_pb2.ThunkPath(thunk=bass_pb2.Thunk.FromString(record.proto), path=wanted)
        missing: NoOutput | None = None
        for runtime in keepers:
            # What a runner keeps of forks' heads it keeps apart. Whether this was one is not stored.
            for fork in ("false", "true"):
                try:
                    return await self._from(runtime, asked, _metadata(run, fork))
                except _NotKept as error:
                    missing = error
        assert missing is not None
        raise missing

    async def _from(
        self, runtime: Runtime, path: bass_pb2.ThunkPath, metadata: dict[str, str]
    ) -> Output:
        output: Output = await self.nursery.start(self._carry, runtime, path, metadata)
        return output

    async def _carry(
        self,
        runtime: Runtime,
        path: bass_pb2.ThunkPath,
        metadata: dict[str, str],
        *,
        task_status: trio.TaskStatus[Output],
    ) -> None:
        """Hand one output on. Raises NoOutput as long as nothing of it has come."""
        if runtime.id in self._busy:
            raise Busy(f"another output is being taken from {runtime}: try again in a moment")
        if len(self._busy) >= AT_ONCE:
            raise Busy("too many outputs are being taken: try again in a moment")
        send, receive = trio.open_memory_channel[bytes](WAITING)
        end = _End()
        began = False
        size = 0
        with send:  # closed last: whoever sees the end finds the runner free
            self._busy.add(runtime.id)
            try:
                async with runtime.export_path(path, metadata) as answers:
                    async for answer in answers:
                        if not isinstance(answer, bytes):
                            continue
                        size += len(answer)
                        if size > self.limit:
                            raise RunFailed(f"it has more than {self.limit:,} bytes (OUTPUT_LIMIT)")
                        if not began:
                            began = True
                            task_status.started(Output(receive, end))
                        with trio.fail_after(self.slow_seconds):
                            await send.send(answer)
                if not began:
                    raise RunFailed(f"{runtime} sent nothing")
                end.why = None
            except (RunFailed, RuntimeLost) as error:
                end.why = str(error)
                if not began:
                    kept = not isinstance(error, RunFailed) or error.status != "NOT_FOUND"
                    raise (NoOutput if kept else _NotKept)(str(error)) from error
            except trio.TooSlowError:
                end.why = "it was not taken"
            except trio.BrokenResourceError:
                end.why = "its reader left"
            finally:
                self._busy.discard(runtime.id)


def _metadata(run: Run, fork: str) -> dict[str, str]:
    """What the runner is told beside the call; the last says that nothing is to be run for it."""
    return {
        "bassloop-repository": run.repository,
        "bassloop-visibility": "public" if run.public else "private",
        "bassloop-event": run.event,
        "bassloop-head": run.head_sha,
        "bassloop-fork": fork,
        "bassloop-kept-only": "true",
    }


def _path(text: str) -> bass_pb2.FilesystemPath:
    """A path within an output. Raises NoOutput."""
    path = PurePosixPath(text or ".")
    if len(text) > MAX_PATH or "\0" in text or path.is_absolute() or ".." in path.parts:
        raise NoOutput("a path in an output is relative, and stays in it")
    if str(path) == "." or text.endswith("/"):
        return bass_pb2.FilesystemPath(dir=bass_pb2.DirPath(path=str(path)))
    return bass_pb2.FilesystemPath(file=bass_pb2.FilePath(path=str(path)))
