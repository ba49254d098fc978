"""HTTP/2, and so gRPC, on the channels of an SSH connection. No socket listens at either end.

The client end (the loop, which opens a channel to a runner for each run):

    async def ask(opener):                                  # asyncio side
        async with open_grpc_channel(opener) as channel:    # one SSH channel, one HTTP/2 connection
            await RuntimeStub(channel).Resolve(ref)

The server end (a runner, which asked for the forward):

    async with open_grpc_server([service]) as new_session:       # Trio side
        await call_asyncio(connection.create_unix_server, new_session, "/runtime", encoding=None)
        ...

Whatever a peer's bytes provoke ends that one channel, with a reason, and nothing else. What a
channel can make this end hold is bounded by `Limits`. A session wakes whoever waits for room to
write before it reports a lost connection, or a handler would wait for ever; and every asyncio task
has an owner that waits for its end, for a pending task that is collected takes the whole loop down.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, cast

import trio
from grpclib.client import Channel, Stream
from grpclib.exceptions import StreamTerminatedError
from grpclib.server import Server
from multidict import MultiDict

from bassloop.bridge.event_loop import call_asyncio
from bassloop.bridge.http2 import (
    DEFAULTS,
    BoundedProtocol,
    H2Session,
    Limits,
    Opener,
    SessionFactory,
    said,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator

    from grpclib.protocol import H2Protocol

__all__ = [
    "GRPCChannel",
    "Limits",
    "Opener",
    "SessionFactory",
    "open_grpc_channel",
    "open_grpc_server",
]


class BoundedStream(Stream[Any, Any]):
    """A call whose messages are refused when they are larger than the channel's limit."""

    _channel: GRPCChannel

    async def recv_message(self) -> Any:
        """The next message, None at the end.

        Raises ValueError for one that is too large or isn't a message of this type, and what
        grpclib's does.
        """
        if not self._recv_initial_metadata_done:
            await self.recv_initial_metadata()
        with self._unless_lost():
            return await self._read(self._channel.limits.message)

    def _raise_for_content_type(self, headers_map: dict[str, str]) -> None:
        if "grpc-status" not in headers_map:  # a refusal needs no content, and says more
            super()._raise_for_content_type(headers_map)

    @contextmanager
    def _unless_lost(self) -> Iterator[None]:
        if self._stream.trailers is not None:
            yield  # all of the answer is here, so it no longer matters whether the peer is
            return
        with self._wrapper:
            yield

    async def _read(self, limit: int) -> Any:
        head = await self._stream.recv_data(5)
        if not head:
            return None
        compressed, size = struct.unpack(">?I", head)
        if compressed:
            raise ValueError("a compressed message, which was not agreed on")
        if size > limit:
            raise ValueError(f"a message of {size:,} bytes; at most {limit:,} are read")
        data = await self._stream.recv_data(size)
        try:
            return self._codec.decode(data, self._recv_type)
        except Exception as error:
            expected = self._recv_type.__name__
            raise ValueError(f"a message that is no {expected} ({said(error)})") from error


class GRPCChannel(Channel):
    """A grpclib channel of one HTTP/2 connection, which is never made anew.

    For use with a generated stub. After a failure `fault` says what the peer sent, if that was it.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__(config=limits.configuration())
        self.limits = limits
        self.session = H2Session(BoundedProtocol(self._protocol_factory(), limits))

    @property
    def fault(self) -> str | None:
        return self.session.protocol.fault

    async def _create_connection(self) -> H2Protocol:
        raise StreamTerminatedError(self.fault or "the connection was lost")

    def request(
        self,
        name: str,
        cardinality: Any,
        request_type: type[Any],
        reply_type: type[Any],
        *,
        metadata: Any = None,
        **how: Any,
    ) -> BoundedStream:
        if any(each is not None for each in how.values()):
            raise TypeError("time limits are the caller's cancel scopes, not the call's")
        return BoundedStream(
            self,
            name,
            cast(Any, MultiDict(metadata or ())),
            cardinality,
            request_type,
            reply_type,
            codec=self._codec,
            status_details_codec=self._status_details_codec,
            dispatch=self.__dispatch__,
        )


@asynccontextmanager
async def open_grpc_channel(
    opener: Opener, *, limits: Limits = DEFAULTS, timeout: float = 30.0
) -> AsyncIterator[GRPCChannel]:
    """Open one SSH channel and the HTTP/2 connection on it. On the asyncio side.

    Raises what `opener` does, `ConnectionError` when the other end hangs up or sends something else
    than HTTP/2, and `TimeoutError` when it says nothing within `timeout` seconds. The channel is
    closed on the way out; if it was still being opened then, it is closed as soon as it is open.
    """
    channel = GRPCChannel(limits)
    session = channel.session
    opening: asyncio.Future[object] = asyncio.ensure_future(opener(lambda: session))
    try:
        async with asyncio.timeout(timeout):
            await asyncio.shield(opening)
            await session.greeted.wait()
        if session.gone:
            raise ConnectionError(channel.fault or "it closed the channel at once")
        channel._protocol = session.protocol
        yield channel
    finally:
        opening.add_done_callback(_retrieve)
        channel._protocol = None
        session.close("closed")


def _retrieve(future: asyncio.Future[object]) -> None:
    """Look at how it ended, so that asyncio doesn't complain that nobody did."""
    if not future.cancelled():
        future.exception()


class _GRPCServer(Server):
    def __init__(self, services: Collection[Any], limits: Limits) -> None:
        super().__init__(services, config=limits.configuration())
        self.limits = limits
        self.sessions: set[H2Session] = set()

    def new_session(self) -> H2Session:
        self.sessions = {each for each in self.sessions if not each.gone}
        session = H2Session(BoundedProtocol(self._protocol_factory(), self.limits))
        self.sessions.add(session)
        return session

    async def end(self) -> None:
        for session in self.sessions:
            session.close("the server ends")
        for handler in list(self._handlers):
            handler.close()
            await handler.wait_closed()


@asynccontextmanager
async def open_grpc_server(
    services: Collection[Any], *, limits: Limits = DEFAULTS, grace: float = 10.0
) -> AsyncIterator[SessionFactory]:
    """Serve grpclib services on the channels of SSH connections. On the Trio side.

    Yields what to give to `asyncssh.SSHClientConnection.create_unix_server` (with `encoding=None`);
    it may be given to one connection after the other, as a runner does that reconnects. Methods run
    as asyncio tasks; they are cancelled when their call is, when the connection is lost, and on the
    way out, where at most `grace` seconds are waited for their end (also under cancellation).
    """
    server = _GRPCServer(services, limits)
    try:
        yield server.new_session
    finally:
        with trio.move_on_after(grace, shield=True):
            await call_asyncio(server.end)
