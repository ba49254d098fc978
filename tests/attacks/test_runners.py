"""Attacks by registered runners, in their answers and logs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncssh
import pytest
import trio
from h2.config import H2Configuration
from h2.connection import H2Connection

from bassloop.bridge.grpc import open_grpc_server
from bassloop.wire import progrock_pb2, runtime_pb2
from bassloop.wire.nesting import encode_varint
from bassloop.wire.runtime_grpc import RuntimeBase

from .runners import HOOK, registered

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Target

pytestmark = pytest.mark.attacks


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    size, head = len(payload).to_bytes(3, "big"), bytes([kind, flags])
    return size + head + stream.to_bytes(4, "big") + payload


FRAMES = {
    "PING": frame(6, 0, 0, bytes(8)),
    "SETTINGS": frame(4, 0, 0),
    "SETTINGS with a size": frame(4, 0, 0, b"\x00\x04\x00\x00\xff\xff"),
    "RST_STREAM": frame(3, 0, 1, bytes(4)),
    "empty DATA": frame(0, 0, 1),
    "WINDOW_UPDATE": frame(8, 0, 0, b"\x00\x00\x00\x01"),
    "PRIORITY": frame(2, 0, 1, b"\x00\x00\x00\x03\x10"),
    "unknown": frame(0xFA, 0, 0),
    "CONTINUATION": frame(1, 0, 1, b"\x88") + frame(9, 0, 1) * 500,
    "CONTINUATION with headers": frame(1, 0, 1, b"\x88") + frame(9, 0, 1, b"\x88" * 100) * 500,
    "overflowing WINDOW_UPDATE": frame(8, 0, 0, b"\x7f\xff\xff\xff"),
    "ALTSVC": frame(10, 0, 0, b"\x00\x01xh2"),
    "GOAWAY": frame(7, 0, 0, bytes(8)),
    "large tables": frame(4, 0, 0, b"\x00\x01\x7f\xff\xff\xff"),
    "PUSH_PROMISE": frame(5, 4, 1, b"\x00\x00\x00\x02\x88"),
}

LOGS = {
    "inserted lines": b"\x1b[1000L",
    "far positions": b"\x1b[500;500Hx",
    "inserted characters": b"x\r\x1b[1000@",
    "erased screens": b"\x1b[2J",
    "far columns": b"\x1b[9999Gx\n",
    "columns, then text": b"\x1b[400Cx\x1b[400Dy\n",
    "vertical tabs": b"x\x0b",
    "colours": b"\x1b[31m\x1b[1m\x1b[0m",
}
MESSAGE_BYTES = 256 << 10


class Flood(asyncssh.SSHUNIXSession[bytes]):
    """Greets, and then sends the same frames as long as it may."""

    def __init__(self, frames: bytes) -> None:
        self._frames = frames * (8192 // len(frames) + 1)
        self._open = True

    def connection_made(self, chan: asyncssh.SSHUNIXChannel[bytes]) -> None:
        self._channel = chan
        server = H2Connection(H2Configuration(client_side=False))
        server.initiate_connection()
        chan.write(server.data_to_send())
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False

    def _send(self) -> None:
        if self._open and not self._channel.is_closing():
            if self._channel.get_write_buffer_size() < 1 << 16:
                self._channel.write(self._frames)
            asyncio.get_running_loop().call_later(0.002, self._send)


NUMBER_BYTES = 1 << 20


def number_without_an_end() -> progrock_pb2.StatusUpdate:
    """An unknown field, as bytes: a varint in which each byte says that another one follows."""
    field = encode_varint(99 << 3 | 2) + encode_varint(NUMBER_BYTES)
    return progrock_pb2.StatusUpdate.FromString(field + b"\xff" * NUMBER_BYTES)


def log_update(text: bytes) -> progrock_pb2.StatusUpdate:
    data = text * (MESSAGE_BYTES // len(text))
    return progrock_pb2.StatusUpdate(logs=[progrock_pb2.VertexLog(vertex="it", data=data)])


EMPTY = 1_900_000
"""Empty parts that a message has room for; decoded, they take 100 MB."""

UPDATES: dict[str, Callable[[], progrock_pb2.StatusUpdate]] = {
    "empty logs": lambda: progrock_pb2.StatusUpdate(logs=[progrock_pb2.VertexLog()] * EMPTY),
    "empty tasks": lambda: progrock_pb2.StatusUpdate(tasks=[progrock_pb2.VertexTask()] * EMPTY),
    "empty inputs": lambda: progrock_pb2.StatusUpdate(
        vertexes=[progrock_pb2.Vertex(inputs=[""] * EMPTY)]
    ),
    "logs of a byte": lambda: progrock_pb2.StatusUpdate(
        logs=[progrock_pb2.VertexLog(vertex="it", data=b"x")] * 19_000
    ),
    "steps": lambda: progrock_pb2.StatusUpdate(
        vertexes=[progrock_pb2.Vertex(id=str(number)) for number in range(20_000)]
    ),
    "numbers without an end": number_without_an_end,
}
"""Functions, because the messages take seconds and 300 MB, in each process that collects this module."""


class Updates(RuntimeBase):
    """Answers each call with one message, again and again."""

    def __init__(self, update: progrock_pb2.StatusUpdate) -> None:
        self._update = update

    async def Run(self, stream) -> None:  # type: ignore[no-untyped-def]
        await stream.recv_message()
        while True:
            await stream.send_message(runtime_pb2.RunResponse(progress=self._update))

    Read = Export = ExportPath = Publish = Resolve = Run


@pytest.mark.parametrize("names", [tuple(FRAMES)[at::3] for at in range(3)], ids=", ".join)
async def test_floods_of_http2_frames_do_not_hold_up_others(
    target: Target, names: tuple[str, ...]
) -> None:
    for name in names:
        async with registered(target, lambda name=name: Flood(FRAMES[name])):  # type: ignore[misc]

            async def pushes() -> None:
                # Not more: GitHub's points for a minute would be spent, and everybody would wait for the next ones.
                for _ in range(2):
                    await target.push(HOOK)
                    await trio.sleep(0.5)
                await trio.sleep_forever()

            await target.withstand(f"a flood of {name} frames", pushes)


async def withstand_updates(target: Target, name: str, update: progrock_pb2.StatusUpdate) -> None:
    async def push() -> None:
        await target.push(HOOK)
        await trio.sleep_forever()

    async with (
        open_grpc_server([Updates(update)]) as new_session,
        registered(target, new_session),
    ):
        await target.withstand(name, push)


async def test_logs_that_are_expensive_to_settle_do_not_hold_up_others(target: Target) -> None:
    for name, text in LOGS.items():
        await withstand_updates(target, f"a log of {name}", log_update(text))


async def test_messages_with_very_many_steps_or_logs_do_not_hold_up_others(target: Target) -> None:
    for name, make in UPDATES.items():
        await withstand_updates(target, f"messages of {name}", make())
