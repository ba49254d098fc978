"""gRPC over HTTP/2 on the channels of an SSH connection. No socket listens at either end.

The client end (the loop, which opens a channel to a runner for each run):

    async def resolve(opener):                              # asyncio side
        async with open_grpc_channel(opener) as channel:    # one SSH channel, one HTTP/2 connection
            await RuntimeStub(channel).Resolve(ref)

The server end (a runner, which requested the forward):

    async with open_grpc_server([service]) as new_session:       # Trio side
        await call_asyncio(connection.create_unix_server, new_session, "/runtime", encoding=None)
        ...

A peer's invalid bytes end that one channel, with a reason, and nothing else. `ChannelLimits` bounds the memory that a
channel can take. A session wakes tasks that wait to write before it reports a lost connection, because a handler would
wait forever otherwise. Every asyncio task has an owner that waits for its end, because a pending task that is garbage
collected stops the whole loop.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Self

import asyncssh
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.metadata import decode_grpc_message, encode_metadata
from grpclib.server import Server
from grpclib.utils import Wrapper
from multidict import MultiDict

from bassloop.bridge import call_asyncio
from bassloop.bridge.http2 import (
    DEFAULTS,
    BoundedProtocol,
    ChannelLimits,
    H2Session,
    Opener,
    SessionFactory,
    describe,
)
from bassloop.bridge.library_internals import client_protocol, send_request, server_protocol
from bassloop.concurrency import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping, Sequence

    import trio
    from google.protobuf.message import Message
    from grpclib.protocol import Stream

__all__ = [
    "LARGE_BYTES",
    "ChannelLimits",
    "GRPCCall",
    "GRPCChannel",
    "MalformedResponse",
    "MessageRoom",
    "Opener",
    "SessionFactory",
    "open_grpc_channel",
    "open_grpc_server",
    "owned_opener",
]

CONTENT_TYPES = ("application/grpc", "application/grpc+proto")
READ_BYTES = 1 << 14
LARGE_BYTES = 64 << 10
"""The size above which a message is large, and only read when there is room for it."""

END_SECONDS = 10.0
"""The maximum time in seconds for a server's calls to end when it's closed."""

MESSAGE_HEADER = ">?I"
"""The format of a message's header: whether it's compressed, and its size."""


class MessageRoom:
    """The memory for large messages, which calls share. A message isn't read before there is room, in FIFO order.

    Args:
        size: the total size of messages in bytes. A message larger than that must be the only one.
        shared: a room shared by several rooms, from which this one takes as well.
    """

    def __init__(self, size: int, shared: MessageRoom | None = None) -> None:
        self._size = size
        self._shared = shared
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def __repr__(self) -> str:
        return (
            f"<MessageRoom: {self._taken:,} of {self._size:,} bytes, {len(self._waiting)} waiting>"
        )

    async def take(self, size: int) -> None:
        """Wait until there is room for so many bytes, and take it. If cancelled, nothing is taken."""
        if self._waiting or not self._fits(size):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except BaseException:
                if not turn.cancelled():
                    self._taken -= size  # its turn had just come
                elif (size, turn) in self._waiting:
                    self._waiting.remove((size, turn))
                self._admit()
                raise
        else:
            self._taken += size
        if self._shared is not None:
            try:
                await self._shared.take(size)
            except BaseException:
                self._taken -= size
                self._admit()
                raise

    def give_back(self, size: int) -> None:
        """Give room back, and wake tasks that wait for it."""
        if self._shared is not None:
            self._shared.give_back(size)
        self._taken -= size
        self._admit()

    def _fits(self, size: int) -> bool:
        return not self._taken or self._taken + size <= self._size

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._taken += size
                turn.set_result(None)


class MalformedResponse(GRPCError):
    """A response that isn't gRPC, and has no status from the peer."""

    def __init__(self, message: str) -> None:
        super().__init__(Status.UNKNOWN, message)


class GRPCCall:
    """One call: requests, then messages until there are no more. An async context manager and iterator.

    Leaving the context waits for the call's status, and raises GRPCError if it isn't OK. If the context is left because
    of an error or cancellation, the call is reset at the peer instead.
    """

    def __init__(
        self, channel: GRPCChannel, method: str, metadata: Mapping[str, str], answer: type[Message]
    ) -> None:
        self._channel = channel
        self._method = method
        self._metadata = metadata
        self._answer = answer
        self._wrapper = Wrapper()
        self._stream: Stream | None = None
        self._release: Callable[[], None] | None = None
        self._has_headers = False
        self._has_status = False
        self._room_taken = 0
        self.trailers: dict[str, str] = {}
        """The metadata after the last message, or of a refused call; values of `-bin` names are in base64."""

    async def send_message(self, message: Message, *, end: bool = True) -> None:
        """Send a request. The first one begins the call.

        Args:
            end: whether it's the last one.
        """
        data = message.SerializeToString()
        framed = struct.pack(MESSAGE_HEADER, False, len(data)) + data
        with self._wrapper:
            stream = self._stream or await self._begin()
            await stream.send_data(framed, end_stream=end)

    async def _begin(self) -> Stream:
        protocol = self._channel.protocol()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", self._method),
            (":authority", "runtime"),
            ("te", "trailers"),
            ("content-type", CONTENT_TYPES[0]),
            *encode_metadata(MultiDict(self._metadata)),
        ]
        stream = protocol.processor.connection.create_stream(wrapper=self._wrapper)
        self._release = await send_request(stream, headers, protocol.processor)
        self._stream = stream
        return stream

    async def recv_message(self) -> Any:
        """Return the next message, None at the end. This gives back the previous message's room.

        Raises ValueError for a message that is too large or of the wrong type, GRPCError if the peer refuses the call,
        and StreamTerminatedError if the peer ends the call or is lost.
        """
        self._give_back()
        await self._receive_headers()
        with self._unless_lost() as stream:
            return await self._read(stream)

    def _give_back(self) -> None:
        room, taken, self._room_taken = self._channel.room, self._room_taken, 0
        if room is not None and taken:
            room.give_back(taken)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        message = await self.recv_message()
        if message is None:
            raise StopAsyncIteration
        return message

    async def recv_trailing_metadata(self) -> None:
        """Wait for the end of the call. Raises GRPCError if its status isn't OK."""
        await self._receive_headers()
        if not self._has_status:
            with self._unless_lost() as stream:
                self.trailers = dict(await stream.recv_trailers())
                self._has_status = True
                _raise_for_status(self.trailers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._give_back()
        stream = self._stream
        if stream is None or self._release is None:
            return
        try:
            if error is None:
                await self.recv_trailing_metadata()
        except StreamTerminatedError:
            self._raise_if_refused(stream)
            raise
        else:
            if isinstance(error, StreamTerminatedError):
                self._raise_if_refused(stream)
        finally:
            if stream.closable:
                stream.reset_nowait()
            self._release()

    def _raise_if_refused(self, stream: Stream) -> None:
        """Raise the status of a call that has been ended, if the peer sent one before."""
        for headers in (dict(stream.headers or ()), dict(stream.trailers or ())):
            if "grpc-status" in headers:
                self.trailers = headers
                _raise_for_status(headers)

    async def _receive_headers(self) -> None:
        if self._has_headers:
            return
        with self._unless_lost() as stream:
            headers = dict(await stream.recv_headers())
            self._has_headers = True
            if not headers:
                raise StreamTerminatedError("the answer ended before it began")
            if (status := headers.get(":status")) != "200":
                raise MalformedResponse(f"Received :status = {status!r}")
            if "grpc-status" in headers:  # a refusal has no content, but a status
                self._has_status = True
                self.trailers = headers
                _raise_for_status(headers)
            elif (content := headers.get("content-type")) not in CONTENT_TYPES:
                raise MalformedResponse(f"Invalid content-type: {content!r}")

    @contextmanager
    def _unless_lost(self) -> Generator[Stream]:
        """Raise StreamTerminatedError if the call ends early, also while the body waits."""
        assert self._stream is not None
        if self._stream.trailers is not None:
            yield self._stream  # the response is complete, so a lost peer doesn't matter any more
            return
        with self._wrapper:
            yield self._stream

    async def _read(self, stream: Stream) -> Any:
        header = await stream.recv_data(5)
        if not header:
            return None
        compressed, size = struct.unpack(MESSAGE_HEADER, header)
        if compressed:
            raise ValueError("a compressed message, which was not agreed on")
        if size > self._channel.limits.message:
            limit = self._channel.limits.message
            raise ValueError(f"a message of {size:,} bytes; at most {limit:,} are read")
        if self._channel.room is not None and size > LARGE_BYTES:
            # Nothing is read meanwhile, so the peer has to wait, too.
            await self._channel.room.take(size)
            self._room_taken = size
        data = bytearray()
        while len(data) < size:  # in pieces: grpclib would keep all frames otherwise
            piece = await stream.recv_data(min(size - len(data), READ_BYTES))
            if not piece:  # from now on, it would return nothing at once, without a checkpoint
                raise ValueError(f"a message of {size:,} bytes that ends after {len(data):,}")
            data += piece
        if self._channel.check_message is not None:
            self._channel.check_message(data)
        try:
            return self._answer.FromString(bytes(data))
        except Exception as error:
            expected = self._answer.__name__
            raise ValueError(f"a message that is no {expected} ({describe(error)})") from error


def _raise_for_status(headers: Mapping[str, str]) -> None:
    """Raise GRPCError unless the status in headers or trailers is OK."""
    number = headers.get("grpc-status")
    if number is None:
        raise MalformedResponse("Missing grpc-status header")
    try:
        status = Status(int(number))
    except ValueError:
        raise MalformedResponse(f"Invalid grpc-status: {number!r}") from None
    if status is not Status.OK:
        message = headers.get("grpc-message")
        raise GRPCError(status, message and decode_grpc_message(message))


class GRPCChannel:
    """One HTTP/2 connection, for a generated stub in place of grpclib's channel.

    After a failure, `fault` describes the peer's mistake, if there was one. A lost connection isn't reopened.
    """

    def __init__(
        self,
        limits: ChannelLimits,
        check_message: Callable[[bytearray], None] | None,
        room: MessageRoom | None = None,
    ) -> None:
        self.limits = limits
        self.room = room
        self.check_message = check_message
        self.session = H2Session(BoundedProtocol(client_protocol(limits.configuration()), limits))

    @property
    def fault(self) -> str | None:
        return self.session.protocol.fault

    @property
    def is_lost(self) -> bool:
        """True after the connection has ended, on either end."""
        return self.session.gone or self.session.protocol.processor.is_closed

    def protocol(self) -> BoundedProtocol:
        """Return the connection. Raises StreamTerminatedError if it's lost."""
        if self.is_lost:
            raise StreamTerminatedError(self.fault or "the connection was lost")
        return self.session.protocol

    def request(
        self,
        name: str,
        cardinality: object,
        request_type: type[Message],
        reply_type: type[Message],
        *,
        metadata: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        **options: object,
    ) -> GRPCCall:
        """Return a call that hasn't begun. Raises TypeError for a time limit: use a cancel scope instead."""
        if any(each is not None for each in options.values()):
            raise TypeError("time limits are the caller's cancel scopes, not the call's")
        return GRPCCall(self, name, dict(metadata or ()), reply_type)


@asynccontextmanager
async def open_grpc_channel(
    opener: Opener,
    *,
    limits: ChannelLimits = DEFAULTS,
    timeout: float = 30.0,
    check_message: Callable[[bytearray], None] | None = None,
    room: MessageRoom | None = None,
) -> AsyncGenerator[GRPCChannel]:
    """Open one SSH channel and the HTTP/2 connection on it. On the asyncio side.

    Raises what `opener` does, `ConnectionError` if the other end hangs up or doesn't send HTTP/2, and `TimeoutError` if
    it sends nothing within `timeout` seconds. Leaving the context closes the channel; if it's still being opened, it is
    closed once it's open.

    Args:
        check_message: called with each message before it's decoded; raises ValueError for one that mustn't be.
        room: the memory for large messages, shared with other channels; None for no limit.
    """
    channel = GRPCChannel(limits, check_message, room)
    session = channel.session
    try:
        async with asyncio.timeout(timeout):
            await opener(lambda: session)
            await session.greeted.wait()
        if channel.is_lost:
            raise ConnectionError(channel.fault or "it closed the channel at once")
        yield channel
    finally:
        session.close("closed")


def owned_opener(nursery: trio.Nursery, opener: Opener) -> Opener:
    """Return an opener whose channels are opened by tasks of a nursery.

    asyncssh can't withdraw its request for a channel. So if the caller is cancelled, the task still waits for the
    peer's answer, until its nursery is cancelled. Raises `asyncssh.ConnectionLost` after that.
    """

    async def open_channel(session_factory: SessionFactory) -> object:
        opened: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        try:
            nursery.start_soon(_open, opener, session_factory, opened)
        except RuntimeError as error:  # the nursery is closed
            raise asyncssh.ConnectionLost("the connection was lost") from error
        return await opened

    return open_channel


async def _open(
    opener: Opener, session_factory: SessionFactory, opened: asyncio.Future[object]
) -> None:
    """Open a channel, and set the future unless its waiter has been cancelled."""
    try:
        channel = await call_asyncio(opener, session_factory)
    except (asyncssh.Error, OSError) as error:
        if not opened.done():
            opened.set_exception(error)
    else:
        if not opened.done():
            opened.set_result(channel)
    finally:
        if not opened.done():
            opened.set_exception(asyncssh.ConnectionLost("the connection was lost"))


class _Sessions:
    """A server's sessions, and through them its calls' tasks."""

    def __init__(self, services: Collection[Any], limits: ChannelLimits) -> None:
        self._server = Server(services, config=limits.configuration())
        self._limits = limits
        self._sessions: set[H2Session] = set()

    def new_session(self) -> H2Session:
        self._sessions = {each for each in self._sessions if not _has_ended(each)}
        session = H2Session(BoundedProtocol(server_protocol(self._server), self._limits))
        self._sessions.add(session)
        return session

    async def end(self) -> None:
        for session in self._sessions:
            session.close("the server ends")
        for session in self._sessions:
            handler: Any = session.protocol.handler
            handler.close()
            await handler.wait_closed()


def _has_ended(session: H2Session) -> bool:
    handler: Any = session.protocol.handler
    ended: bool = session.gone and handler.check_closed()
    return ended


@asynccontextmanager
async def open_grpc_server(
    services: Collection[Any], *, limits: ChannelLimits = DEFAULTS
) -> AsyncGenerator[SessionFactory]:
    """Serve grpclib services on the channels of SSH connections. On the Trio side.

    Yields a session factory for `asyncssh.SSHClientConnection.create_unix_server` (with `encoding=None`). It can be
    used for one connection after another, as when a runner reconnects. Methods run as asyncio tasks. They are cancelled
    when their call is, when the connection is lost, and when the context is left, which waits at most
    END_SECONDS for their end (even if cancelled).
    """
    sessions = _Sessions(services, limits)
    try:
        yield sessions.new_session
    finally:
        with shielded(END_SECONDS):
            await call_asyncio(sessions.end)
