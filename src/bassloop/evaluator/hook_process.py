"""The daemon's side of a hook's process: serving its calls, and measuring its time. Needs Trio."""

from __future__ import annotations

import math
import os
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import structlog
import trio

from bassloop.bass.machine import MESSAGE_BYTES
from bassloop.concurrency import open_flat_nursery
from bassloop.evaluator import (
    EvaluatorLost,
    HookCrashed,
    HookFailed,
    HookStopped,
    HostRefusal,
    ProtocolError,
)
from bassloop.evaluator.conversation import Conversation
from bassloop.evaluator.messages import (
    NOT_FORKED,
    Answer,
    AnyCall,
    Crashed,
    Data,
    Describe,
    Described,
    Done,
    Ended,
    Entries,
    Evaluate,
    Evaluated,
    ExportPath,
    ExportThunk,
    Failed,
    FinalMessage,
    FromProcess,
    Idle,
    ListDirectory,
    Log,
    Next,
    OutOfMemory,
    ReadFile,
    ReadThunk,
    Refusal,
    Resolve,
    RunThunk,
    StartCheck,
    Wait,
    as_text,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from bassloop.evaluator.fair_share import HookSlot
    from bassloop.evaluator.server_process import Job

log = structlog.get_logger(__name__)

_REPORT_SECONDS: Final = 30.0
"""How long the fork server may take to report how a process ended before it counts as lost, in seconds."""

_NEAR_LIMIT: Final = 0.75
"""The fraction of its memory limit that a process must have used for a crash to count as reaching the limit."""

_LOST_ERROR: Final = "SystemError: error return without exception set"
"""CPython says so, instead of raising MemoryError, when there is no memory for a frame."""

_READ: Final = 1 << 16


def evaluators_here() -> int:
    """Return how many hooks are evaluated at the same time by default: two for each processor."""
    return 2 * (os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class EvaluatorLimits:
    """The limits of hooks.

    Args:
        at_once: how many are evaluated at the same time, without those that wait for answers.
        waiting: how many may wait for answers.
        cpu_seconds: CPU time for each.
        seconds: wall time for each, without waiting.
        memory: bytes of memory for each.
        output: bytes that each may log.
        spares: how many processes are kept for future hooks.
    """

    at_once: int = field(default_factory=evaluators_here)
    waiting: int = 256
    cpu_seconds: float = 10.0
    seconds: float = 300.0
    memory: int = 512 << 20
    output: int = 1_000_000
    spares: int = 2


class HookHost(Protocol):
    """The daemon's services for a hook's process. Thunks, paths and references are encoded messages.

    A method raises HostRefusal for a reason that the script may see. Any other exception ends the evaluation.
    """

    async def payload(self) -> bytes:
        """Return the event's payload. Called once, when the process is ready."""

    async def read_file(self, path: str) -> bytes:
        """Return a file of the repository."""

    async def list_directory(self, path: str) -> Sequence[tuple[str, bool]]:
        """Return the members of a directory: each one's name, and whether it is a directory."""

    async def run(self, thunk: bytes) -> None:
        """Run a thunk to its end."""

    def read(self, thunk: bytes) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Run a thunk, and return what it prints."""

    def export(self, thunk: bytes) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Return a thunk's image as an archive."""

    def export_path(
        self, thunk: bytes, path: bytes
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Return a path out of a thunk as an archive."""

    async def resolve(self, reference: bytes) -> bytes:
        """Return the thunk of the image that a reference resolves to."""

    async def start_check(
        self, thunk: bytes, name: str, sha: str, after: Sequence[str], limit: float | None
    ) -> Callable[[], Awaitable[None]]:
        """Start a check, and return a function that waits until it has succeeded."""

    def log(self, message: str, fields: str) -> None:
        """Log a message that the script has printed."""


class HookProcess:
    """One process, from its first message to its last."""

    def __init__(
        self,
        limits: EvaluatorLimits,
        idle: IdleProcesses,
        host: HookHost | None,
        slot: HookSlot,
        job: Job,
        stream: trio.SocketStream,
    ) -> None:
        self.key = slot.key
        self._limits = limits
        self._idle = idle
        self._host = host
        self._slot = slot
        self._job = job
        self._stream = stream
        self._conversation = Conversation()
        self._sending = trio.Lock()
        self._scope = trio.CancelScope()
        self._seconds = self._limits.seconds
        self._stopped: HookStopped | None = None
        self._logged = 0
        self._ending: FinalMessage | None = None
        self._streams: dict[int, Pump] = {}
        self._checks: dict[int, Callable[[], Awaitable[None]]] = {}

    def stop(self, error: HookStopped) -> None:
        """End the evaluation with an error."""
        self._stopped = self._stopped or error
        self._scope.cancel()

    async def run(self, request: Evaluate | Describe) -> FinalMessage:
        """Serve the process until its end. Raises the same errors as `Evaluators.evaluate`."""
        try:
            with self._scope:
                self._start_clock()
                async with open_flat_nursery() as nursery:
                    nursery.start_soon(self._begin, request)
                    await self._receive(nursery)
                    nursery.cancel_scope.cancel()
        except ProtocolError as error:
            raise HookCrashed(f"its process violated the protocol: {error}") from error
        finally:
            self._idle.remove(self)
        if self._scope.cancelled_caught:
            raise self._stopped or HookStopped(
                f"it was evaluated for more than {self._limits.seconds:g} s", "HOOK_SECONDS"
            )
        match self._ending:
            case Evaluated() | Described() as ending:
                return ending
            case Failed(message, report):
                raise HookFailed(message, report)
            case OutOfMemory():
                raise self._out_of_memory()
            case Crashed(name, traceback):
                if name.startswith(_LOST_ERROR) and await self._ended_near_limit():
                    raise self._out_of_memory()
                log.error("evaluator crashed", error=name, traceback=traceback)
                raise HookCrashed(f"the loop's evaluator failed: {name}")
        raise await self._cause_of_death()

    # --- from the process ---

    async def _receive(self, nursery: trio.Nursery) -> None:
        """Handle messages until the last one, or until the process ends."""
        while self._ending is None:
            try:
                data = await self._stream.receive_some(_READ)
            except trio.BrokenResourceError:
                return
            if not data:
                return
            for message in self._conversation.receive(bytes(data)):
                self._handle(message, nursery)
                await trio.lowlevel.checkpoint()

    def _handle(self, message: FromProcess, nursery: trio.Nursery) -> None:
        match message:
            case Idle():
                self._stop_clock()
                self._idle.add(self)
                self._slot.release()
            case Log(text, fields):
                self._log(text, fields)
            case Evaluated() | Failed() | OutOfMemory() | Crashed() | Described():
                self._ending = message
            case ReadThunk() | ExportThunk() | ExportPath():
                pump = self._streams[message.call] = Pump()
                nursery.start_soon(self._pump, message, pump)
            case _:
                nursery.start_soon(self._serve, message)

    def _log(self, text: str, fields: str) -> None:
        """Pass a message on, but drop it above twice the limit.

        A script fails at the limit, in its own process (see `bass.Budget`). Only a process that has been taken over can
        get further.
        """
        self._logged += len(text) + len(fields) + MESSAGE_BYTES
        if self._logged <= 2 * self._limits.output + MESSAGE_BYTES and self._host is not None:
            self._host.log(text, fields)

    # --- calls ---

    async def _serve(self, call: AnyCall) -> None:
        try:
            answer = await self._answer(call)
        except HostRefusal as error:
            answer = Refusal(call.call, as_text(str(error)))
        await self._reply(answer)

    async def _answer(self, call: AnyCall) -> Answer:
        host, number = self._require_host(), call.call
        match call:
            case ReadFile(_, path):
                return Data(number, await host.read_file(path))
            case ListDirectory(_, path):
                entries = await host.list_directory(path)
                return Entries(number, tuple((as_text(name), folder) for name, folder in entries))
            case RunThunk(_, thunk):
                await host.run(thunk)
                return Done(number)
            case Resolve(_, reference):
                return Data(number, await host.resolve(reference))
            case StartCheck(_, name, sha, after, limit, thunk):
                self._checks[number] = await host.start_check(thunk, name, sha, after, limit)
                return Done(number)
            case Wait(_, check):
                await self._checks[check]()
                return Done(number)
            case Next(_, stream):
                return Data(number, await self._streams[stream].next())
        raise ProtocolError(f"{type(call).__name__} is not answered")

    async def _pump(self, call: ReadThunk | ExportThunk | ExportPath, pump: Pump) -> None:
        """Open a stream, and pass its pieces on as they are requested."""
        host = self._require_host()
        match call:
            case ReadThunk():
                stream = host.read(call.content)
            case ExportThunk():
                stream = host.export(call.content)
            case ExportPath():
                stream = host.export_path(call.content, call.path)
        is_open = False
        try:
            async with stream as pieces:
                is_open = True
                await self._reply(Done(call.call))
                async for piece in pieces:
                    if piece:
                        await pump.send.send(piece)
        except HostRefusal as error:
            if not is_open:
                await self._reply(Refusal(call.call, as_text(str(error))))
            pump.failure = error
        finally:
            pump.send.close()

    def _require_host(self) -> HookHost:
        if self._host is None:
            raise ProtocolError("a call where there is nothing to call")
        return self._host

    # --- to the process ---

    async def _begin(self, request: Evaluate | Describe) -> None:
        # This drops the last reference to the payload; the hook may run for hours.
        if isinstance(request, Evaluate):
            payload = await self._require_host().payload()
            request = msgspec.structs.replace(request, content=payload)
        await self._send(self._conversation.begin(request))

    async def _reply(self, answer: Answer) -> None:
        try:
            data = self._conversation.answer(answer)
        except ProtocolError as error:
            data = self._conversation.answer(Refusal(answer.call, f"the answer is {error}"))
        await self._send(data)

    async def _send(self, pieces: list[bytes]) -> None:
        """Send bytes, once the process has a slot again."""
        with suppress(
            trio.BrokenResourceError
        ):  # the process is gone, which the receiving task will notice
            async with self._sending:
                await self._slot.take()
                self._start_clock()
                while pieces:
                    await self._stream.send_all(pieces.pop(0))

    # --- time ---

    def _start_clock(self) -> None:
        self._idle.remove(self)
        if math.isinf(self._scope.deadline):
            self._scope.deadline = trio.current_time() + self._seconds

    def _stop_clock(self) -> None:
        # It may have stopped before: a process can say that it waits while its next answer waits for a slot.
        if not math.isinf(self._scope.deadline):
            self._seconds = self._scope.deadline - trio.current_time()
            self._scope.deadline = math.inf

    # --- the end ---

    async def _end(self) -> Ended | None:
        """Wait for the fork server's report of how the process ended. None if there is none."""
        with trio.move_on_after(_REPORT_SECONDS):
            await self._job.over.wait()
        return self._job.end

    def _is_near_limit(self, end: Ended) -> bool:
        return end.memory >= _NEAR_LIMIT * self._limits.memory

    async def _ended_near_limit(self) -> bool:
        end = await self._end()
        return end is not None and self._is_near_limit(end)

    def _out_of_memory(self) -> HookStopped:
        megabytes = self._limits.memory >> 20
        return HookStopped(f"it needs more than {megabytes} MiB of memory", "HOOK_MEMORY")

    async def _cause_of_death(self) -> Exception:
        """Return why the process ended without a last message."""
        end = await self._end()
        if end is None:
            return EvaluatorLost("the fork server has ended while it was evaluated")
        if end.status == NOT_FORKED:
            return EvaluatorLost("this machine has no room for another process")
        code = os.waitstatus_to_exitcode(end.status)
        cpu = self._limits.cpu_seconds
        if code == -signal.SIGXCPU or (code == -signal.SIGKILL and end.cpu_seconds >= cpu):
            return HookStopped(f"it took more than {cpu:g} s of processor time", "HOOK_CPU")
        if code == -signal.SIGKILL:
            return HookStopped(
                "the system killed it, most likely because this machine is short of memory",
                "EVALUATORS",
            )
        if code != 0 and self._is_near_limit(end):
            # C code, or a stack that can't grow, dies where Python raises MemoryError; and Python may have no memory
            # left to say that it did.
            return self._out_of_memory()
        if code < 0:
            name = signal.Signals(-code).name
            return HookCrashed(f"its process died of {name}; it may nest too deep")
        return HookCrashed(f"its process ended with status {code} before it was done")


class Pump:
    """The pieces of a stream that the process reads."""

    def __init__(self) -> None:
        self.failure: HostRefusal | None = None
        self.send, self._receive = trio.open_memory_channel[bytes](0)

    async def next(self) -> bytes:
        """Return the next piece, b"" at the end. Raises HostRefusal if the stream failed."""
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            if self.failure is not None:
                raise self.failure from None
            return b""


class IdleProcesses:
    """The processes that wait for answers. If there are too many, one of the repository with the most is stopped.

    Args:
        limit: how many there may be.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._processes: dict[HookProcess, None] = {}

    def __len__(self) -> int:
        return len(self._processes)

    def add(self, process: HookProcess) -> None:
        """Note that a process waits."""
        self._processes[process] = None
        if len(self._processes) > self._limit:
            [(key, _)] = Counter(each.key for each in self._processes).most_common(1)
            message = (
                f"more than {self._limit} hooks waited for their checks or runners, "
                "and of the repository that had the most this one had waited the longest"
            )
            longest = next(each for each in self._processes if each.key == key)
            longest.stop(HookStopped(message, "HOOKS_WAITING"))

    def remove(self, process: HookProcess) -> None:
        """Note that a process does not wait any more."""
        self._processes.pop(process, None)
