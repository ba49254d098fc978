"""One call to a runner: the half that runs in asyncio, and how it ends when it doesn't end well.

Each call opens an SSH channel and an HTTP/2 connection of its own: on a shared one a stalled run
would take the window from its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import asyncssh
import trio
from grpclib.client import StreamUnaryMethod
from grpclib.exceptions import GRPCError, StreamTerminatedError

from bassloop.bridge import call_trio, hand_over
from bassloop.bridge.grpc import (
    ChannelLimits,
    GRPCChannel,
    MalformedResponse,
    Opener,
    open_grpc_channel,
)
from bassloop.wire import runtime_pb2
from bassloop.wire.conventions import PUT_METHOD
from bassloop.wire.runtime_grpc import RuntimeStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from google.protobuf.message import Message

PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
HINT = "does a gRPC server answer behind the forward?"


class RuntimesError(Exception):
    """The base class of what can be wrong with runners. The messages are for people."""


class RunFailed(RuntimesError):
    """The runner answered with an error, or with something that isn't an answer.

    `status` is the name of the gRPC status, `MALFORMED` for the latter.
    """

    def __init__(self, message: str, status: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.status = status


class RuntimeLost(RuntimesError):
    """The runner can't be reached, or no longer: nothing is known of how the call ended."""


@dataclass(frozen=True, slots=True)
class RunnerCall:
    """A call of one method of `bass.Runtime`.

    Args:
        runner: names the runner in messages.
        pick: returns what is wanted of an answer, and raises ValueError when it isn't there.
        chunks: returns the next bytes to send, on Trio, and nothing at the end; for a call of `PUT_METHOD`,
            which has no request.
        trailers: filled with the metadata that comes after the last answer, also of a call that failed.
        timeout: seconds until there has to be an HTTP/2 connection.
    """

    runner: str
    method: str
    request: Message
    metadata: Mapping[str, str] = field(repr=False)
    pick: Callable[[Any], Any]
    trailers: dict[str, str] = field(default_factory=dict, repr=False)
    chunks: Callable[[], Awaitable[bytes]] | None = None
    limits: ChannelLimits = field(default_factory=ChannelLimits)
    timeout: float = 30.0


async def make_call(
    call: RunnerCall,
    opener: Opener,
    answers: trio.MemorySendChannel[Any],
    on_open: Callable[[], Awaitable[bool]],
) -> None:
    """Make a call and send its answers as they come. On the asyncio side.

    Returns when all are sent, or when nobody receives them any more. Raises RunFailed or RuntimeLost.

    Args:
        on_open: called on Trio when the runner has answered; returns False if it isn't to be asked after all.
    """
    channel: GRPCChannel | None = None
    try:
        async with open_grpc_channel(opener, limits=call.limits, timeout=call.timeout) as channel:
            if not await call_trio(on_open):
                return
            stream = _method(call, channel).open(metadata=_encode_metadata(call.metadata))
            try:
                async with stream:
                    await _send(call, stream)
                    async for answer in stream:
                        await hand_over(answers, call.pick(answer))
                    await stream.recv_trailing_metadata()
            finally:
                call.trailers.update(stream.trailers)
    except trio.BrokenResourceError:
        return
    except (
        Exception
    ) as error:  # a runner may answer anything: it ends the call, with an explanation
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
    """Return what an error of a call means to its caller."""
    if fault is not None:
        return _malformed(call, fault)
    match error:
        case MalformedResponse(message=message):
            return _malformed(call, str(message))
        case GRPCError(status=status, message=message):
            return RunFailed(message or f"{call.runner} answered {status.name}", status.name)
        case StreamTerminatedError() if "reset by remote" in str(error):
            return RunFailed(f"{call.runner} broke the call off", "CANCELLED")
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
    """Return metadata of printable ASCII; anything else is percent-encoded."""
    return {name: quote(value, safe=PRINTABLE).strip() for name, value in metadata.items()}
