"""One call to a runner: the half that runs in asyncio, and what its errors mean.

Each call opens an SSH channel and an HTTP/2 connection of its own: on a shared one a stalled run
would take the window from its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import asyncssh
import trio
from grpclib.exceptions import GRPCError, StreamTerminatedError

from bassloop.bridge import hand_over
from bassloop.bridge.grpc import GRPCChannel, Limits, Opener, open_grpc_channel
from bassloop.runtimes.errors import RunFailed, RuntimeLost
from bassloop.wire.runtime_grpc import RuntimeStub

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message

ASCII = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
OUR_WORDS = ("Missing ", "Invalid ", "Received :status")
"""How grpclib's own complaints about an answer begin; they come as if the runner had sent them."""

HINT = "does a gRPC server answer behind the forward?"


@dataclass(frozen=True, slots=True)
class Call:
    """One method of `bass.Runtime`, called.

    `who` names the runner in messages; `pick` takes what is wanted out of an answer, and raises
    ValueError when it isn't there.
    """

    who: str
    method: str
    request: Message
    metadata: Mapping[str, str] = field(repr=False)
    pick: Callable[[Any], Any]
    limits: Limits = field(default_factory=Limits)
    timeout: float = 30.0


async def carry(call: Call, opener: Opener, answers: trio.MemorySendChannel[Any]) -> None:
    """Make the call and hand over its answers as they come. On the asyncio side.

    Raises RunFailed or RuntimeLost. Returns without a word when nobody receives any more.
    """
    channel: GRPCChannel | None = None
    try:
        async with open_grpc_channel(opener, limits=call.limits, timeout=call.timeout) as channel:
            method = getattr(RuntimeStub(channel), call.method)
            async with method.open(metadata=_sendable(call.metadata)) as stream:
                await stream.send_message(call.request, end=True)
                async for answer in stream:
                    await hand_over(answers, call.pick(answer))
                await stream.recv_trailing_metadata()
    except trio.BrokenResourceError:
        return
    except Exception as error:  # a runner may answer anything: it is the call's end, told in words
        fault = channel.fault if channel is not None else None
        raise explain(call, error, fault) from error


def explain(call: Call, error: Exception, fault: str | None) -> RunFailed | RuntimeLost:
    """What an error of a call means to who made it."""
    if fault is not None:
        return _malformed(call, fault)
    match error:
        case GRPCError(status=status, message=message):
            if message and message.startswith(OUR_WORDS):
                return _malformed(call, message)
            return RunFailed(message or f"{call.who} answered {status.name}", status.name)
        case StreamTerminatedError() if "reset by remote" in str(error):
            return RunFailed(f"{call.who} broke the call off", "CANCELLED")
        case StreamTerminatedError():
            return RuntimeLost(f"{call.who} was lost ({error})")
        case asyncssh.ChannelOpenError():
            return RuntimeLost(f"{call.who} refused a channel ({error.reason}); {HINT}")
        case TimeoutError():
            return RuntimeLost(f"{call.who} did not answer within {call.timeout:g} s; {HINT}")
        case ConnectionError():
            return RuntimeLost(f"{call.who} is not to be reached ({error}); {HINT}")
        case asyncssh.Error() | OSError():
            return RuntimeLost(f"{call.who} was lost ({error})")
    return _malformed(call, str(error) or type(error).__name__)


def _malformed(call: Call, what: str) -> RunFailed:
    return RunFailed(
        f"{call.who} answered {call.method} with what is no answer: {what}", "MALFORMED"
    )


def _sendable(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata values are printable ASCII; anything else is percent-encoded."""
    return {name: quote(value, safe=ASCII).strip() for name, value in metadata.items()}
