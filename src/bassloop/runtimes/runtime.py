"""A runtime that a connected runner offers, and what can be asked of it."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from bassloop.bridge import call_asyncio
from bassloop.bridge.grpc import Limits, Opener
from bassloop.runtimes.calls import Call, carry
from bassloop.runtimes.caveats import caveat, caveats
from bassloop.runtimes.errors import RunFailed, RuntimeLost
from bassloop.telemetry import spans
from bassloop.wire import bass_pb2, progrock_pb2, runtime_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from google.protobuf.message import Message

    from bassloop.runtimes.platform import Platform

Progress = progrock_pb2.StatusUpdate

SILENT_SECONDS = 300.0
"""How long others are preferred to a runtime that did not answer a call; then it may try again."""


@dataclass(eq=False)
class Runtime:
    """One runtime. Its calls are async context managers that yield a bounded Trio channel.

    A channel ends when the answers do; how the call ended is raised when the context is left:
    `RunFailed` for an error that the runner reported or an answer that is none, `RuntimeLost` when
    it can't be reached. An exception of the body comes first, but for `trio.EndOfChannel`. Leaving
    early, or being cancelled, cancels the call at the runner and closes its channel. A slow reader
    makes the runner wait.

    `metadata` says to the runner's owner whose work this is; `bassloop-run` in it is also shown in
    the pool's snapshot.
    """

    id: str
    user_id: int
    login: str
    platform: Platform
    priority: int
    connected_at: float
    """Seconds since the epoch."""
    open_channel: Opener
    """Opens an SSH channel to it; called on the asyncio side."""
    kind: str = "other"
    """`bassloop`, `go`, `openssh` or `other`."""
    limits: Limits = field(default_factory=Limits)
    answer_within: float = 30.0
    """Seconds for opening a channel and hearing HTTP/2 on it."""
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many calls ended how, by method: `ok`, `left` (by who made it), `lost`, or gRPC's status."""
    _calls: dict[trio.CancelScope, str] = field(default_factory=dict)
    _lost: str | None = None
    _silent_until: float = -math.inf

    def __str__(self) -> str:
        return f"{self.login}'s runner for {self.platform}"

    def __repr__(self) -> str:
        calls = {0: "idle", 1: "1 call active"}.get(self.active, f"{self.active} calls active")
        state = f"lost: {self._lost}" if self._lost else calls
        return f"<Runtime {self.id}: {self}, priority {self.priority}, {state}>"

    @property
    def active(self) -> int:
        """How many calls are under way."""
        return len(self._calls)

    @property
    def is_silent(self) -> bool:
        """Whether it is connected and did not answer lately, so that others are to be preferred."""
        return trio.current_time() < self._silent_until

    @property
    def runs(self) -> tuple[str, ...]:
        """What the calls under way are for: `bassloop-run` of their metadata, or the method."""
        return tuple(self._calls.values())

    @property
    def caveats(self) -> tuple[str, ...]:
        """What runners of this kind can't do, for who wonders why something failed."""
        return caveats(self.kind)

    def run(
        self, thunk: bass_pb2.Thunk, metadata: Mapping[str, str]
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Progress]]:
        """Run a thunk; its progress is received."""
        return self._call("Run", thunk, metadata, "progress")

    def read(
        self, thunk: bass_pb2.Thunk, metadata: Mapping[str, str]
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Progress | bytes]]:
        """Run a thunk; its progress and its output are received, in order."""
        return self._call("Read", thunk, metadata, "progress", "output")

    def export(
        self, thunk: bass_pb2.Thunk, metadata: Mapping[str, str]
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Progress | bytes]]:
        """Run a thunk; its progress and the bytes of an OCI archive are received."""
        return self._call("Export", thunk, metadata, "progress", "data")

    def export_path(
        self, path: bass_pb2.ThunkPath, metadata: Mapping[str, str]
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Progress | bytes]]:
        """Run a path's thunk; its progress and the bytes of a tar stream are received."""
        return self._call("ExportPath", path, metadata, "progress", "data")

    def publish(
        self, ref: bass_pb2.ImageRef, thunk: bass_pb2.Thunk, metadata: Mapping[str, str]
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Progress | bass_pb2.ImageRef]]:
        """Publish a thunk's image; progress and the published reference are received. RunFailed, at
        once, is raised for a kind of runner that can't."""
        request = runtime_pb2.PublishRequest(ref=ref, thunk=thunk)
        return self._call("Publish", request, metadata, "progress", "published")

    async def resolve(self, ref: bass_pb2.ImageRef, metadata: Mapping[str, str]) -> bass_pb2.Thunk:
        """The thunk of an image's name. Raises RunFailed or RuntimeLost."""
        found: bass_pb2.Thunk | None = None
        async with self._call("Resolve", ref, metadata) as thunks:
            async for thunk in thunks:
                found = found or thunk
        if found is None:
            raise RunFailed(f"{self} answered Resolve with nothing", "MALFORMED")
        return found

    def lose(self, reason: str) -> None:
        """It is gone: calls under way, and all later ones, raise RuntimeLost with this reason."""
        self._lost = self._lost or reason
        for scope in self._calls:
            scope.cancel()

    @asynccontextmanager
    async def _call(
        self, method: str, request: Message, metadata: Mapping[str, str], *kinds: str
    ) -> AsyncIterator[trio.MemoryReceiveChannel[Any]]:
        with spans.span(f"rpc {method}", runtime=self.id, runner=self.login) as its:
            told = {**metadata, **spans.headers()}
            call = Call(
                str(self), method, request, told, _picking(kinds), self.limits, self.answer_within
            )
            send, receive = trio.open_memory_channel[Any](self.limits.answers)
            if method == "Publish" and (why := caveat(self.kind, "publishing")) is not None:
                raise RunFailed(f"{self} is of a kind that fails: {why}", "UNIMPLEMENTED")
            ended: list[RunFailed | RuntimeLost] = []
            raised: BaseException | None = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._carry, call, send, ended)
                try:
                    with receive:
                        yield receive
                except BaseException as error:  # noqa: BLE001  (raised again, outside of the nursery)
                    raised = error
                nursery.cancel_scope.cancel()
            outcome = _outcome(ended, raised)
            its.set_attribute("outcome", outcome)
            self.outcomes[method, outcome] += 1
            if outcome != "left":
                silent = SILENT_SECONDS if outcome == "lost" else -math.inf
                self._silent_until = trio.current_time() + silent
            if raised is not None and not (ended and isinstance(raised, trio.EndOfChannel)):
                raise raised
            if ended:
                raise ended[0]

    async def _carry(
        self,
        call: Call,
        send: trio.MemorySendChannel[Any],
        ended: list[RunFailed | RuntimeLost],
    ) -> None:
        if self._lost is not None:
            send.close()
            ended.append(RuntimeLost(self._lost))
            return
        with send, trio.CancelScope() as scope:
            self._calls[scope] = call.metadata.get("bassloop-run") or call.method
            try:
                await call_asyncio(carry, call, self.open_channel, send)
            except (RunFailed, RuntimeLost) as error:
                ended.append(error)
            finally:
                del self._calls[scope]
        if scope.cancelled_caught:
            ended.append(RuntimeLost(self._lost or f"{self} is gone"))


def _outcome(ended: list[RunFailed | RuntimeLost], raised: BaseException | None) -> str:
    """How a call ended, in a word."""
    if ended:
        return ended[0].status if isinstance(ended[0], RunFailed) else "lost"
    return "ok" if raised is None else "left"


def _picking(kinds: tuple[str, ...]) -> Callable[[Any], Any]:
    """Takes what is set out of an answer's `inner`; without kinds, the whole answer is wanted."""

    def pick(answer: Any) -> Any:
        if not kinds:
            return answer
        kind = answer.WhichOneof("inner")
        if kind not in kinds:
            raise ValueError(f"a {type(answer).__name__} without {' or '.join(kinds)}")
        return getattr(answer, kind)

    return pick
