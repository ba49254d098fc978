"""Any bytes from a runner end a call with one of its documented errors."""

from __future__ import annotations

import asyncio

import asyncssh
import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from hypothesis import given, settings
from hypothesis import strategies as st

from bassloop.bridge import open_bridge
from bassloop.bridge.memory_channel import memory_opener
from bassloop.runtimes import Platform, RunFailed, Runtime, RuntimeLost
from bassloop.wire import bass_pb2, progrock_pb2, runtime_pb2


def answer() -> tuple[bytes, bytes]:
    """Return the bytes that a runner sends for a call that succeeds: its greeting, and the answer."""
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    request = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "x")]
    client.send_headers(1, request, end_stream=True)
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    greeting = server.data_to_send()
    server.receive_data(client.data_to_send())
    server.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
    update = progrock_pb2.StatusUpdate(vertexes=[progrock_pb2.Vertex(id="v", name="echo")])
    message = runtime_pb2.RunResponse(progress=update).SerializeToString()
    for _ in range(3):
        server.send_data(1, b"\x00" + len(message).to_bytes(4, "big") + message)
    server.send_headers(1, [("grpc-status", "0")], end_stream=True)
    return greeting, server.data_to_send()


GREETING, ANSWER = answer()
edits = st.lists(
    st.tuples(
        st.integers(0, len(ANSWER)), st.integers(0, 12), st.binary(max_size=12), st.booleans()
    ),
    max_size=6,
)


class Player(asyncssh.SSHUNIXSession[bytes]):
    """Sends some bytes when it is asked for anything, then hangs up."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.h2 = H2Connection(H2Configuration(client_side=False))

    def connection_made(self, chan) -> None:
        self.chan = chan
        self.chan.write(GREETING)
        self.h2.initiate_connection()

    def data_received(self, data, datatype) -> None:
        if not any(isinstance(each, RequestReceived) for each in self.h2.receive_data(data)):
            return
        for piece in self.pieces:
            self.chan.write(piece)
        asyncio.get_running_loop().call_soon(self.chan.abort)


async def outcome(pieces: list[bytes]) -> str:
    opener = memory_opener(lambda: Player(pieces))
    runtime = Runtime("r", 1, "vito", Platform("linux", "amd64"), 0, 0.0, opener)
    async with open_bridge():
        with trio.fail_after(120):
            try:
                async with runtime.run(bass_pb2.Thunk(), {}) as updates:
                    async for _ in updates:
                        pass
            except (RunFailed, RuntimeLost) as error:
                return str(error)
    return "well"


async def test_the_response_that_other_tests_alter_is_valid():
    assert await outcome([ANSWER]) == "well"
    assert await outcome([ANSWER[at : at + 1] for at in range(len(ANSWER))]) == "well"


@given(edits)
async def test_an_altered_response_is_accepted_or_an_error_of_the_call(changes):
    data, pieces = ANSWER, []
    for at, length, instead, cut in changes:
        data = data[:at] + instead + data[at + length :]
        if cut:
            pieces.append(data[:at])
            data = data[at:]
    assert await outcome([*pieces, data])


@settings(max_examples=50)
@given(st.binary(max_size=200))
async def test_any_bytes_end_in_an_error_of_the_call(data):
    assert await outcome([data]) != "well"
