"""A connected runner's runtime, and the calls to it."""

from __future__ import annotations

import math
import platform
from collections import Counter
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from bassloop.bridge import call_asyncio
from bassloop.bridge.grpc import ChannelLimits, MessageRoom, Opener
from bassloop.concurrency import open_flat_nursery
from bassloop.runtimes.runner_call import (
    Answers,
    RunFailed,
    RunnerCall,
    RuntimeLost,
    check_progress,
    make_call,
)
from bassloop.telemetry import spans
from bassloop.wire import bass_pb2, progrock_pb2, runtime_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from google.protobuf.message import Message

    OnOpen = Callable[[], Awaitable[object]]

Progress = progrock_pb2.StatusUpdate

MAX_ENTRIES = 20_000
"""The limit on steps and logs in one message of progress; twice as many as a run may have."""

OPENING_AT_ONCE = 8
"""How many calls may wait for one runtime's answer. A busy runner would answer a hundred of them too late."""

SILENT_SECONDS = 300.0
"""How long other runtimes are preferred to one that didn't answer a call."""

CAVEATS: dict[str, dict[str, str]] = {
    "go": {
        "secrets": "secrets reach it without a value",
        "cancelling": "a cancelled check's command runs on until it ends",
        "publishing": "it can't publish",
        "several": "only the first runtime of one connection is reached",
        "artifacts": "no artifacts are kept of what it runs, and it can't be given others'",
        "signing": "it signs nothing",
        "long logs": "BuildKit, behind it, clips what a command prints too fast or too much of",
    },
}
"""The features that runners lack, by their kind (see `Runtime.kind`) and by subject."""


def caveats(kind: str | None) -> tuple[str, ...]:
    """Return the features that runners of this kind lack, in words."""
    return tuple(CAVEATS.get(kind or "", {}).values())


def caveat(kind: str | None, subject: str) -> str | None:
    """Return why runners of this kind can't do something, or None if they can."""
    return CAVEATS.get(kind or "", {}).get(subject)


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system and an architecture in Go's words, as in `linux/amd64`.

    In the platform that a thunk asks for, an empty part matches any.
    """

    os: str = ""
    arch: str = ""

    @classmethod
    def here(cls) -> Platform:
        """Return this machine's platform. It's Linux wherever containers run, even in a virtual machine."""
        machine = platform.machine().lower()
        return cls("linux", {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine))

    def serves(self, wanted: Platform | None) -> bool:
        """Return whether a runtime of this platform can run a thunk that asks for that one."""
        return wanted is None or (wanted.os in ("", self.os) and wanted.arch in ("", self.arch))

    def __str__(self) -> str:
        return f"{self.os or 'any'}/{self.arch or 'any'}"


@dataclass(eq=False)
class _Opening:
    """The first part of a call, until the runner answers; the number of them at a time is limited.

    Args:
        error: the exception that `on_open` raised.
    """

    limiter: trio.CapacityLimiter
    on_open: OnOpen | None
    error: Exception | None = field(default=None, init=False)
    _is_held: bool = field(default=False, init=False)

    async def begin(self) -> None:
        """Wait for the call's turn."""
        await self.limiter.acquire_on_behalf_of(self)
        self._is_held = True

    async def end(self) -> bool:
        """Note that the runner has answered. Return False if the request shouldn't be sent."""
        self.release()
        if self.on_open is not None:
            try:
                await self.on_open()
            except Exception as error:  # noqa: BLE001  (the caller's, which the call raises)
                self.error = error
        return self.error is None

    def release(self) -> None:
        """Let another call have its turn. May be called again."""
        if self._is_held:
            self._is_held = False
            self.limiter.release_on_behalf_of(self)


@dataclass(eq=False)
class Runtime:
    """One runtime. Its calls are async context managers that yield a bounded Trio channel.

    The channel ends with the last answer. The call's error is raised on exit: `RunFailed` for an error that the
    runner reported or a malformed answer, `RuntimeLost` if it can't be reached. The body's own exception takes
    precedence, except for `trio.EndOfChannel`. Leaving the context early, or cancelling it, cancels the call at the
    runner and closes its channel. A slow reader slows the runner down.

    `metadata` says for whom the run is, for the runner's owner; `bassloop-run` in it is also shown in the pool's
    snapshot.
    """

    id: str
    user_id: int
    login: str
    platform: Platform
    priority: int
    connected_at: float
    """Seconds since the epoch."""
    open_channel: Opener
    """Opens an SSH channel to it; runs in asyncio."""
    kind: str = "other"
    """`bassloop`, `go`, `openssh` or `other`."""
    key: bytes = field(default=b"", repr=False)
    """The public key that its runner connected with, in SSH's binary form."""
    limits: ChannelLimits = field(default_factory=ChannelLimits)
    answer_within: float = 30.0
    """The time limit for opening a channel with an HTTP/2 connection, in seconds."""
    room: MessageRoom | None = None
    """The memory for large messages of runs, shared by all runtimes of the user. The pool sets it."""
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Finished calls by method and outcome: `ok`, `left` (by the caller), `lost`, or the gRPC status."""
    _calls: dict[trio.CancelScope, str] = field(default_factory=dict)
    _opening: trio.CapacityLimiter = field(
        default_factory=lambda: trio.CapacityLimiter(OPENING_AT_ONCE)
    )
    _calls_changed: trio.Event = field(default_factory=trio.Event)
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
        """The number of calls under way."""
        return len(self._calls)

    @property
    def is_silent(self) -> bool:
        """True if it hasn't answered lately although it is connected. Others are preferred then."""
        return trio.current_time() < self._silent_until

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs of calls that are under way: `bassloop-run` of their metadata, or the method."""
        return tuple(self._calls.values())

    @property
    def caveats(self) -> tuple[str, ...]:
        """The features that runners of this kind lack."""
        return caveats(self.kind)

    def run(
        self,
        thunk: bass_pb2.Thunk,
        metadata: Mapping[str, str],
        trailers: dict[str, str] | None = None,
        on_open: OnOpen | None = None,
    ) -> AbstractAsyncContextManager[Answers]:
        """Run a thunk and receive its progress.

        Args:
            trailers: filled with the trailing metadata, even if the thunk fails.
            on_open: called when the runner has answered, before the request is sent. The thunk can't have begun
                before it returns.
        """
        return self._call("Run", thunk, metadata, "progress", trailers=trailers, on_open=on_open)

    def read(
        self, thunk: bass_pb2.Thunk, metadata: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Answers]:
        """Run a thunk and receive its progress and its output, in order."""
        return self._call("Read", thunk, metadata, "progress", "output")

    def export(
        self, thunk: bass_pb2.Thunk, metadata: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Answers]:
        """Run a thunk and receive its progress and the bytes of an OCI archive."""
        return self._call("Export", thunk, metadata, "progress", "data")

    def export_path(
        self, path: bass_pb2.ThunkPath, metadata: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Answers]:
        """Run a path's thunk and receive its progress and the bytes of a tar stream."""
        return self._call("ExportPath", path, metadata, "progress", "data")

    def publish(
        self, ref: bass_pb2.ImageRef, thunk: bass_pb2.Thunk, metadata: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Answers]:
        """Publish a thunk's image and receive progress and the published reference.

        Raises RunFailed on entry if runners of this kind can't do that.
        """
        request = runtime_pb2.PublishRequest(ref=ref, thunk=thunk)
        return self._call("Publish", request, metadata, "progress", "published")

    async def resolve(self, ref: bass_pb2.ImageRef, metadata: Mapping[str, str]) -> bass_pb2.Thunk:
        """Resolve an image's name to a thunk. Raises RunFailed or RuntimeLost."""
        found: bass_pb2.Thunk | None = None
        async with self._call("Resolve", ref, metadata) as thunks:
            async for thunk in thunks:
                found = found or thunk
        if found is None:
            raise RunFailed(f"{self} answered Resolve with nothing", "MALFORMED")
        return found

    async def put_artifact(
        self, chunks: Callable[[], Awaitable[bytes]], metadata: Mapping[str, str]
    ) -> None:
        """Send an artifact to the runner, for a run that is about to begin. Raises RunFailed or RuntimeLost.

        Args:
            chunks: returns the next bytes, and b"" at the end.
        """
        request = runtime_pb2.ExportResponse()
        async with self._call("Put", request, metadata, chunks=chunks) as answers:
            async for _ in answers:
                pass

    async def quiet(self, seconds: float) -> None:
        """Wait until there has been no call for so many seconds."""
        while True:
            with trio.move_on_after(math.inf if self._calls else seconds) as unchanged:
                await self._calls_changed.wait()
            if unchanged.cancelled_caught:
                return

    def lose(self, reason: str) -> None:
        """Make all current and future calls raise RuntimeLost with this reason."""
        self._lost = self._lost or reason
        for scope in self._calls:
            scope.cancel()

    @asynccontextmanager
    async def _call(
        self,
        method: str,
        request: Message,
        metadata: Mapping[str, str],
        *kinds: str,
        trailers: dict[str, str] | None = None,
        chunks: Callable[[], Awaitable[bytes]] | None = None,
        on_open: OnOpen | None = None,
    ) -> AsyncGenerator[Answers]:
        with spans.span(f"rpc {method}", runtime=self.id, runner=self.login) as span:
            if method == "Publish" and (why := caveat(self.kind, "publishing")) is not None:
                raise RunFailed(f"{self} is of a kind that fails: {why}", "UNIMPLEMENTED")
            call = RunnerCall(
                runner=str(self),
                method=method,
                request=request,
                metadata={**metadata, **spans.headers()},
                pick=_picking(kinds),
                check_message=check_progress if "progress" in kinds else None,
                # The answers of other calls wait for visitors, who may be slow; there are few of them.
                room=self.room if method == "Run" else None,
                trailers={} if trailers is None else trailers,
                chunks=chunks,
                limits=self.limits,
                timeout=self.answer_within,
            )
            answers = Answers(self.limits.answers)
            errors: list[RunFailed | RuntimeLost] = []
            is_left = True
            try:
                async with open_flat_nursery() as nursery:
                    nursery.start_soon(self._make_call, call, answers, errors, on_open)
                    with closing(answers):
                        yield answers
                    nursery.cancel_scope.cancel()
                is_left = False
            except trio.EndOfChannel:
                if not errors:
                    raise
            finally:
                outcome = _outcome(errors, is_left=is_left)
                span.set_attribute("outcome", outcome)
                self._count(method, outcome)
            if errors:
                raise errors[0]

    async def _make_call(
        self,
        call: RunnerCall,
        answers: Answers,
        errors: list[RunFailed | RuntimeLost],
        on_open: OnOpen | None,
    ) -> None:
        """Make a call and close its channel. An error is stored, because the body may still be reading answers."""
        if self._lost is not None:
            answers.send.close()
            errors.append(RuntimeLost(self._lost))
            return
        opening = _Opening(self._opening, on_open)
        with answers.send, trio.CancelScope() as scope:
            self._calls[scope] = call.metadata.get("bassloop-run") or call.method
            self._note_calls()
            try:
                await opening.begin()
                await call_asyncio(make_call, call, self.open_channel, answers, opening.end)
            except (RunFailed, RuntimeLost) as error:
                errors.append(error)
            finally:
                opening.release()
                del self._calls[scope]
                self._note_calls()
        if opening.error is not None:
            raise opening.error
        if scope.cancelled_caught:
            errors.append(RuntimeLost(self._lost or f"{self} is gone"))

    def _note_calls(self) -> None:
        self._calls_changed.set()
        self._calls_changed = trio.Event()

    def _count(self, method: str, outcome: str) -> None:
        self.outcomes[method, outcome] += 1
        if outcome != "left":
            silent = SILENT_SECONDS if outcome == "lost" else -math.inf
            self._silent_until = trio.current_time() + silent


def _outcome(errors: list[RunFailed | RuntimeLost], *, is_left: bool) -> str:
    """Return how a call ended, in a word."""
    if errors:
        return errors[0].status if isinstance(errors[0], RunFailed) else "lost"
    return "left" if is_left else "ok"


def _picking(kinds: tuple[str, ...]) -> Callable[[Any], Any]:
    """Return a function that returns the field that is set in an answer's `inner`, or the whole answer."""

    def pick(answer: Any) -> Any:
        if not kinds:
            return answer
        kind = answer.WhichOneof("inner")
        if kind not in kinds:
            raise ValueError(f"a {type(answer).__name__} without {' or '.join(kinds)}")
        picked = getattr(answer, kind)
        if kind == "progress" and len(picked.vertexes) + len(picked.logs) > MAX_ENTRIES:
            raise ValueError(f"more than {MAX_ENTRIES:,} steps and logs in one message")
        return picked

    return pick
