"""HTTP/2 and gRPC on a channel, with peers of all sorts at the other end."""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING

import asyncssh
import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.events import RequestReceived

from bassloop.bridge import call_asyncio, open_bridge
from bassloop.bridge.grpc import (
    READ_BYTES,
    ChannelLimits,
    open_grpc_channel,
    open_grpc_server,
    owned_opener,
)
from bassloop.bridge.memory_channel import connect, memory_opener
from bassloop.wire import bass_pb2, progrock_pb2, runtime_pb2
from bassloop.wire.runtime_grpc import RuntimeBase, RuntimeStub

if TYPE_CHECKING:
    from collections.abc import Callable

OK = [(":status", "200"), ("content-type", "application/grpc")]
DONE = [("grpc-status", "0")]


def progress(data: bytes) -> runtime_pb2.RunResponse:
    log = progrock_pb2.VertexLog(vertex="v", data=data)
    return runtime_pb2.RunResponse(progress=progrock_pb2.StatusUpdate(logs=[log]))


def framed(payload: bytes, size: int | None = None) -> bytes:
    return struct.pack(">?I", False, len(payload) if size is None else size) + payload


class Service(RuntimeBase):
    """Sends prepared answers; `running` counts handlers that have not ended."""

    def __init__(self, answers: int = 3, size: int = 10) -> None:
        self.answers, self.size = answers, size
        self.running = 0
        self.sent = 0

    async def Run(self, stream):
        self.running += 1
        try:
            thunk = await stream.recv_message()
            for _ in range(self.answers):
                await stream.send_message(progress(b"x" * self.size))
                self.sent += 1
            if thunk.insecure:
                await asyncio.Event().wait()
        finally:
            self.running -= 1

    async def Resolve(self, stream):
        await stream.recv_message()
        raise GRPCError(Status.NOT_FOUND, "no such image")

    Read = Export = Publish = ExportPath = Run


class Peer(asyncssh.SSHUNIXSession[bytes]):
    """A server without gRPC, whose responses the test makes."""

    def __init__(self, answer: Callable[[H2Connection, int], bytes | None]) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, validate_outbound_headers=False))
        self.answer = answer
        self.lost_event = asyncio.Event()

    @property
    def lost(self) -> bool:
        return self.lost_event.is_set()

    def connection_made(self, chan) -> None:
        self.chan = chan
        self.h2.initiate_connection()
        self.send()

    def send(self) -> None:
        data = self.h2.data_to_send()
        if data and not self.chan.is_closing():
            self.chan.write(data)

    def data_received(self, data, datatype) -> None:
        if self.h2.state_machine.state is ConnectionState.CLOSED:
            return
        for event in self.h2.receive_data(data):
            if isinstance(event, RequestReceived):
                raw = self.answer(self.h2, event.stream_id)
                self.send()
                if raw is not None and not self.chan.is_closing():
                    self.chan.write(raw)
        self.send()

    def connection_lost(self, exc) -> None:
        self.lost_event.set()


async def run(
    opener, *, limits: ChannelLimits | None = None, insecure: bool = False, timeout: float = 120
) -> list[bytes]:
    received = []

    async def on_asyncio_side() -> None:
        async with (
            open_grpc_channel(opener, limits=limits or ChannelLimits(), timeout=timeout) as channel,
            RuntimeStub(channel).Run.open() as stream,
        ):
            await stream.send_message(bass_pb2.Thunk(insecure=insecure), end=True)
            async for answer in stream:
                received.extend(log.data for log in answer.progress.logs)
            await stream.recv_trailing_metadata()

    await call_asyncio(on_asyncio_side)
    return received


async def run_against(answer, *, limits: ChannelLimits | None = None) -> list[bytes]:
    peer = Peer(answer)
    try:
        return await run(memory_opener(lambda: peer), limits=limits)
    finally:
        await trio.testing.wait_all_tasks_blocked()
        assert peer.lost, "the channel is closed, whatever happened"


async def test_a_call_yields_its_responses_or_raises_its_error():
    async with open_bridge(), open_grpc_server([Service()]) as new_session:
        opener = memory_opener(new_session)
        assert await run(opener) == [b"x" * 10] * 3

        async def resolve() -> None:
            async with open_grpc_channel(opener) as channel:
                await RuntimeStub(channel).Resolve(bass_pb2.ImageRef())

        with pytest.raises(GRPCError, match="no such image"):
            await call_asyncio(resolve)


async def test_messages_larger_than_the_window_are_delivered():
    async with open_bridge(), open_grpc_server([Service(2, 3_000_000)]) as new_session:
        received = await run(memory_opener(new_session))
    assert [len(data) for data in received] == [3_000_000] * 2


async def test_a_peer_waits_for_a_slow_reader():
    service = Service(200, 100_000)
    async with open_bridge(), open_grpc_server([service]) as new_session:
        opener = memory_opener(new_session)

        async def read_nothing() -> None:
            async with (
                open_grpc_channel(opener) as channel,
                RuntimeStub(channel).Run.open() as stream,
            ):
                await stream.send_message(bass_pb2.Thunk(), end=True)
                await asyncio.Event().wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call_asyncio, read_nothing)
            await trio.testing.wait_all_tasks_blocked()
            assert service.sent * service.size <= 2 * ChannelLimits().window
            nursery.cancel_scope.cancel()


async def test_cancelling_a_call_ends_its_handler():
    service = Service()
    async with open_bridge(), open_grpc_server([service]) as new_session:
        async with trio.open_nursery() as nursery:

            async def call() -> None:
                await run(memory_opener(new_session), insecure=True)

            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            assert service.running == 1
            nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert service.running == 0


async def test_a_handler_that_waits_for_room_ends_when_the_channel_is_lost():
    service = Service(100, 100_000)
    async with open_bridge(), open_grpc_server([service]) as new_session:

        async def connect_and_ask():
            server = new_session()
            client, _ = connect(asyncssh.SSHUNIXSession(), server)
            h2 = H2Connection(H2Configuration(client_side=True))
            h2.initiate_connection()
            headers = [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/bass.Runtime/Run"),
                (":authority", "x"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
            ]
            h2.send_headers(1, headers)
            h2.send_data(1, framed(b""), end_stream=True)
            client.write(h2.data_to_send())
            return client, server

        client, server = await call_asyncio(connect_and_ask)
        await trio.testing.wait_all_tasks_blocked()
        assert service.running == 1

        async def stall_then_abort() -> None:
            server.pause_writing()
            await asyncio.sleep(0)
            client.abort()

        await call_asyncio(stall_then_abort)
        await trio.testing.wait_all_tasks_blocked()
        assert service.running == 0


async def test_leaving_the_server_ends_its_handlers():
    service = Service()
    async with open_bridge(), trio.open_nursery() as nursery:
        async with open_grpc_server([service]) as new_session:
            opener = memory_opener(new_session)

            async def call() -> None:
                with pytest.raises(StreamTerminatedError):
                    await run(opener, insecure=True)

            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            assert service.running == 1
        assert service.running == 0


def malformed(*parts: bytes, headers=OK, trailers=DONE, end=False):
    def answer(h2: H2Connection, stream: int) -> None:
        h2.send_headers(stream, headers)
        for part in parts:
            h2.send_data(stream, part)
        if trailers is not None:
            h2.send_headers(stream, trailers, end_stream=True)
        elif end:
            h2.send_data(stream, b"", end_stream=True)

    return answer


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (malformed(framed(b"", 5 << 20)), ValueError, "a message of 5,242,880 bytes; at most"),
        (malformed(framed(b"\xff\xff")), ValueError, "a message that is no RunResponse"),
        (malformed(b"\x01" + framed(b"x")[1:]), ValueError, "compressed"),
        (malformed(framed(b"x", 10)), AssertionError, "less data than expected"),
        (malformed(framed(b"", 10)), ValueError, "a message of 10 bytes that ends after 0"),
        (
            malformed(framed(bytes(READ_BYTES), READ_BYTES + 1)[:READ_BYTES], b"last5"),
            ValueError,
            "a message of 16,385 bytes that ends after 16,384",
        ),
        (malformed(headers=[(":status", "502")]), GRPCError, "Received :status"),
        (malformed(headers=[(":status", "200")]), GRPCError, "content-type"),
        (malformed(trailers=[("grpc-status", "many")]), GRPCError, "Invalid grpc-status"),
        (malformed(trailers=[("x-other", "1")]), GRPCError, "Missing grpc-status"),
        (malformed(trailers=None, end=True), GRPCError, "Missing grpc-status"),
        (lambda h2, stream: h2.reset_stream(stream), StreamTerminatedError, "reset by remote"),
        (lambda h2, stream: h2.close_connection(), StreamTerminatedError, "GOAWAY"),
        (
            lambda h2, stream: b"HTTP/1.1 400 Bad Request\r\n\r\n",
            StreamTerminatedError,
            "not HTTP/2",
        ),
        (lambda h2, stream: b"HTTP/1.1 ", StreamTerminatedError, "a frame of 4,740,180 bytes"),
        (lambda h2, stream: bytes(9) + b"\xff" * 500, StreamTerminatedError, "not HTTP/2"),
        (malformed(headers=[*OK, ("x-long", "x" * 80_000)]), StreamTerminatedError, "not HTTP/2"),
    ],
)
async def test_an_invalid_response_is_an_error_of_that_call_only(answer, error, says):
    async with open_bridge():
        with pytest.raises(error, match=says):
            await run_against(answer)


async def test_data_in_too_many_pieces_is_refused_before_it_fills_the_memory():
    def answer(h2: H2Connection, stream: int) -> bytes:
        h2.send_headers(stream, OK)
        h2.send_data(stream, framed(b"", 100_000))
        frame = b"\x00\x00\x01\x00\x00" + stream.to_bytes(4, "big") + b"x"
        return frame * 1_000

    async def read_nothing() -> None:
        peer = Peer(answer)
        async with (
            open_grpc_channel(
                memory_opener(lambda: peer), limits=ChannelLimits(pieces=500)
            ) as channel,
            RuntimeStub(channel).Run.open() as stream,
        ):
            await stream.send_message(bass_pb2.Thunk(), end=True)
            await peer.lost_event.wait()
            await stream.recv_message()

    async with open_bridge():
        with pytest.raises(StreamTerminatedError, match="too many pieces"):
            await call_asyncio(read_nothing)


async def test_a_message_in_many_pieces_is_read():
    message = framed(progress(b"x" * 20_000).SerializeToString())

    def answer(h2: H2Connection, stream: int) -> None:
        h2.send_headers(stream, OK)
        for byte in message:
            h2.send_data(stream, bytes([byte]))
        h2.send_headers(stream, DONE, end_stream=True)

    async with open_bridge():
        assert await run_against(answer) == [b"x" * 20_000]


PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)
SETTINGS = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"


@pytest.mark.parametrize("frame", [PING, SETTINGS], ids=["ping", "settings"])
async def test_a_flood_of_control_frames_ends_its_channel(frame):
    def answer(h2: H2Connection, stream: int) -> bytes:
        return frame * 200_000

    began = time.process_time()
    async with open_bridge():
        with pytest.raises(StreamTerminatedError, match="more than 1,000 control frames"):
            await run_against(answer)
    assert time.process_time() - began < 3


async def test_empty_data_frames_count_as_control_frames():
    def answer(h2: H2Connection, stream: int) -> bytes:
        h2.send_headers(stream, OK)
        return (b"\x00\x00\x00\x00\x00" + stream.to_bytes(4, "big")) * 5_000

    async with open_bridge():
        with pytest.raises(StreamTerminatedError, match="more than 1,000 control frames"):
            await run_against(answer)


async def test_a_peer_that_sends_requests_without_reading_responses_is_refused():
    class Deaf(Peer):
        def connection_made(self, chan) -> None:
            super().connection_made(chan)
            chan.peer.unread = ChannelLimits().unsent + 1

    async with open_bridge():
        with pytest.raises((ConnectionError, StreamTerminatedError), match="without reading"):
            await run(memory_opener(lambda: Deaf(malformed())))


async def test_unknown_and_empty_frames_are_ignored():
    def answer(h2: H2Connection, stream: int) -> bytes:
        h2.send_headers(stream, OK)
        number = stream.to_bytes(4, "big")
        message = framed(progress(b"hello").SerializeToString())
        unknown = b"\x00\x00\x01\xfa\x00" + number + b"?"
        empty = b"\x00\x00\x00\x00\x00" + number
        first = len(message[:7]).to_bytes(3, "big") + b"\x00\x00" + number + message[:7]
        rest = len(message[7:]).to_bytes(3, "big") + b"\x00\x00" + number + message[7:]
        trailers = h2.encoder.encode(DONE)
        end = len(trailers).to_bytes(3, "big") + b"\x01\x05" + number + trailers
        return first + unknown + empty + rest + end

    async with open_bridge():
        assert await run_against(answer) == [b"hello"]


async def test_a_complete_response_is_read_even_if_its_sender_is_gone():
    message = framed(progress(b"x" * 1000).SerializeToString())

    class Hasty(Peer):
        def send(self) -> None:
            super().send()
            if self.h2.state_machine.state is ConnectionState.CLOSED:
                self.chan.abort()

    def answer(h2: H2Connection, stream: int) -> None:
        malformed(*[message] * 10)(h2, stream)
        h2.close_connection()

    async with open_bridge():
        received = await run(memory_opener(lambda: Hasty(answer)))
    assert len(received) == 10


async def test_a_call_to_a_silent_peer_times_out(autojump_clock):
    class Mute(asyncssh.SSHUNIXSession[bytes]):
        pass

    async with open_bridge():
        with pytest.raises(TimeoutError):
            await run(memory_opener(Mute), timeout=5)
    assert trio.current_time() == pytest.approx(5, abs=0.5)


async def test_a_peer_that_hangs_up_at_once_is_an_error():
    class Brusque(asyncssh.SSHUNIXSession[bytes]):
        def connection_made(self, chan) -> None:
            chan.write_eof()

    async with open_bridge():
        with pytest.raises(ConnectionError, match="closed the channel at once"):
            await run(memory_opener(Brusque))


async def test_a_channel_that_opens_after_its_call_was_cancelled_is_closed_again():
    peer = Peer(malformed())
    async with open_bridge():
        late = asyncio.Event()

        async def open_late(session_factory):
            await late.wait()
            return connect(session_factory(), peer)

        async with trio.open_nursery() as connection:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, owned_opener(connection, open_late))
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            late.set()
    assert peer.lost


async def test_a_channel_that_never_opens_has_an_owner_that_ends(autojump_clock):
    opened = asyncio.Event()

    async def open_never(session_factory):
        try:
            await asyncio.Event().wait()
        finally:
            opened.set()

    async with open_bridge(), trio.open_nursery() as connection:
        opener = owned_opener(connection, open_never)
        with pytest.raises(TimeoutError):
            await run(opener, timeout=5)
        assert not opened.is_set(), "the nursery goes on waiting"
        connection.cancel_scope.cancel()
    assert opened.is_set()
    async with open_bridge():
        with pytest.raises(asyncssh.ConnectionLost):
            await run(opener)


async def test_a_refused_channel_is_the_openers_error():
    async def refuse(session_factory):
        raise asyncssh.ChannelOpenError(2, "connection refused")

    async with open_bridge():
        with pytest.raises(asyncssh.ChannelOpenError):
            await run(refuse)
