"""One call to a runner: the part that runs in asyncio, and its errors.

Each call opens an SSH channel and an HTTP/2 connection of its own. On a shared one, a stalled run would use up its
neighbours' flow control window.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import quote

import asyncssh
import trio
from grpclib.client import StreamUnaryMethod
from grpclib.exceptions import GRPCError, StreamTerminatedError

from bassloop.bridge import call_trio, hand_over
from bassloop.bridge.grpc import (
    LARGE_BYTES,
    ChannelLimits,
    GRPCChannel,
    MalformedResponse,
    MessageRoom,
    Opener,
    open_grpc_channel,
)
from bassloop.wire import runtime_pb2
from bassloop.wire.conventions import PUT_METHOD
from bassloop.wire.runtime_grpc import RuntimeStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from google.protobuf.message import Message

MAX_FIELDS = 50_000
"""The limit on fields in a large message of progress and its entries. Each takes memory when it is decoded, however
short it is: 4 MB of empty ones would take 100 MB, and a tenth of a second."""

PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
HINT = "does a gRPC server answer behind the forward?"


class RuntimesError(Exception):
    """The base class of runner errors. Their messages are for people."""


class RunFailed(RuntimesError):
    """The runner answered with an error, or with something that isn't an answer.

    `status` is the name of the gRPC status, or `MALFORMED`.
    """

    def __init__(self, message: str, status: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.status = status


class RuntimeLost(RuntimesError):
    """The runner can't be reached, or was lost. How the call ended isn't known."""


@dataclass(frozen=True, slots=True)
class RunnerCall:
    """A call of one method of `bass.Runtime`.

    Args:
        runner: names the runner in messages.
        pick: returns the part of an answer that the caller wants. Raises ValueError if it's missing.
        chunks: returns the next bytes to send, and b"" at the end; runs in Trio. For a call of `PUT_METHOD`, which
            has no request.
        check_message: raises ValueError for a message that must not be decoded.
        room: the memory for large answers, which several calls share; None for this call's own.
        trailers: filled with the trailing metadata, even if the call fails.
        timeout: the time limit for establishing the HTTP/2 connection, in seconds.
    """

    runner: str
    method: str
    request: Message
    metadata: Mapping[str, str] = field(repr=False)
    pick: Callable[[Any], Any]
    check_message: Callable[[bytearray], None] | None = None
    room: MessageRoom | None = None
    trailers: dict[str, str] = field(default_factory=dict, repr=False)
    chunks: Callable[[], Awaitable[bytes]] | None = None
    limits: ChannelLimits = field(default_factory=ChannelLimits)
    timeout: float = 30.0


class Answers:
    """The answers to a call, as an async iterator.

    Args:
        most: how many may wait to be received; after a large one, none until it has been processed.
    """

    def __init__(self, most: int) -> None:
        self.send, self._receive = trio.open_memory_channel[Any](most)
        self._sent = self._asked = 0
        self._large = 0
        self._is_done = trio.Event()

    async def receive(self) -> Any:
        """Return the next answer, and release the one before it. Raises trio.EndOfChannel at the end."""
        self._asked += 1
        if self._asked > self._large:
            self._is_done.set()
        return await self._receive.receive()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def hand_over(self, answer: Any, size: int) -> None:
        """Pass an answer of so many bytes to the caller. Runs in asyncio.

        Raises trio.BrokenResourceError if nobody receives any more.
        """
        await hand_over(self.send, answer)
        self._sent += 1
        if size > LARGE_BYTES and self._asked <= self._sent:
            self._large, self._is_done = self._sent, trio.Event()
            await call_trio(self._is_done.wait)

    def close(self) -> None:
        """Receive nothing more."""
        self._receive.close()
        self._large = 0
        self._is_done.set()


def check_progress(data: bytearray) -> None:
    """Refuse a large message with too many fields, before it is decoded. Raises ValueError.

    Progress consists of entries, such as logs, with fields of their own. Nothing deeper is looked at.
    """
    if len(data) <= LARGE_BYTES:
        return
    at, ends, left = 0, [len(data)], MAX_FIELDS
    try:
        while ends:
            if at >= ends[-1]:
                ends.pop()
                continue
            left -= 1
            if left < 0:
                raise ValueError(f"more than {MAX_FIELDS:,} fields in one message")
            tag, at = _number(data, at)
            kind = tag & 7
            if kind == _BYTES:
                size, at = _number(data, at)
                if len(ends) == _ENTRIES or (len(ends) < _ENTRIES and tag >> 3 == _PROGRESS):
                    ends.append(min(at + size, ends[-1]))
                else:
                    at += size
            elif kind == _NUMBER:
                _, at = _number(data, at)
            else:
                at += _FIXED_SIZES[kind]
    except (IndexError, KeyError):
        return  # it isn't a message, as decoding it will show


MAX_VARINT = 10
"""The maximum length of a varint in bytes, with which one has 64 bits. Reading longer ones takes quadratic time."""

_NUMBER, _BYTES = 0, 2
_ENTRIES = 2
"""The nesting depth of entries in an answer."""
_PROGRESS = 1
"""The field of an answer's `inner` that is progress."""
_FIXED_SIZES = {1: 8, 5: 4}


def _number(data: bytearray, at: int) -> tuple[int, int]:
    """Return a varint of Protocol Buffers, and the offset after it. Raises IndexError if it has no end."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    number = 0
    for place in range(MAX_VARINT):
        byte = data[at + place]
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise IndexError(f"a number of more than {MAX_VARINT} bytes")


async def make_call(
    call: RunnerCall,
    opener: Opener,
    answers: Answers,
    on_open: Callable[[], Awaitable[bool]],
) -> None:
    """Make a call and pass its answers on as they arrive. Runs in asyncio.

    Returns when all are sent, or when nobody receives them any more. Raises RunFailed or RuntimeLost.

    Args:
        on_open: called in Trio when the runner has answered; returns False if the request shouldn't be sent after
        all.
    """
    channel: GRPCChannel | None = None
    try:
        async with open_grpc_channel(
            opener,
            limits=call.limits,
            timeout=call.timeout,
            check_message=call.check_message,
            room=call.room,
        ) as channel:
            if not await call_trio(on_open):
                return
            stream = _method(call, channel).open(metadata=_encode_metadata(call.metadata))
            try:
                async with stream:
                    await _send(call, stream)
                    async for answer in stream:
                        await answers.hand_over(call.pick(answer), answer.ByteSize())
                    await stream.recv_trailing_metadata()
            finally:
                call.trailers.update(stream.trailers)
    except trio.BrokenResourceError:
        return
    except Exception as error:  # a runner may send anything, which must only end this call
        fault = channel.fault if channel is not None else None
        raise explain(call, error, fault) from error


def _method(call: RunnerCall, channel: GRPCChannel) -> Any:
    if call.chunks is None:
        return getattr(RuntimeStub(cast(Any, channel)), call.method)
    message = runtime_pb2.ExportResponse
    return StreamUnaryMethod(cast(Any, channel), PUT_METHOD, message, message)


async def _send(call: RunnerCall, stream: Any) -> None:
    """Send the request, or the stream of bytes in its place."""
    if call.chunks is None:
        await stream.send_message(call.request, end=True)
        return
    chunk = await call_trio(call.chunks)
    while True:
        following = await call_trio(call.chunks) if chunk else b""
        await stream.send_message(runtime_pb2.ExportResponse(data=chunk), end=not following)
        if not following:
            return
        chunk = following


def explain(call: RunnerCall, error: Exception, fault: str | None) -> RunFailed | RuntimeLost:
    """Translate an error of a call for its caller."""
    if fault is not None:
        return _malformed(call, fault)
    match error:
        case MalformedResponse(message=message):
            return _malformed(call, str(message))
        case GRPCError(status=status, message=message):
            return RunFailed(message or f"{call.runner} answered {status.name}", status.name)
        case StreamTerminatedError() if "reset by remote" in str(error):
            return RunFailed(f"{call.runner} aborted the call", "CANCELLED")
        case StreamTerminatedError():
            return RuntimeLost(f"{call.runner} was lost ({error})")
        case asyncssh.ChannelOpenError():
            return RuntimeLost(f"{call.runner} refused a channel ({error.reason}); {HINT}")
        case TimeoutError():
            return RuntimeLost(f"{call.runner} did not answer within {call.timeout:g} s; {HINT}")
        case ConnectionError():
            return RuntimeLost(f"{call.runner} can't be reached ({error}); {HINT}")
        case asyncssh.Error() | OSError():
            return RuntimeLost(f"{call.runner} was lost ({error})")
    return _malformed(call, str(error) or type(error).__name__)


def _malformed(call: RunnerCall, reason: str) -> RunFailed:
    message = f"{call.runner} answered {call.method} with something that isn't an answer: {reason}"
    return RunFailed(message, "MALFORMED")


def _encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata with everything but printable ASCII percent-encoded."""
    return {name: quote(value, safe=PRINTABLE).strip() for name, value in metadata.items()}
