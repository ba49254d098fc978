"""Visitors who send garbage, or never disconnect."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.concurrency import open_flat_nursery
from bassloop.settings import Settings

from .conftest import STUCK_SECONDS
from .test_runners import frame

if TYPE_CHECKING:
    from .conftest import Target

pytestmark = pytest.mark.attacks

CONNECTIONS = 3
IDLE = 1_500
PAGES = 1_500
PAGES_OF_ADDRESS = 100
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UPGRADE = (
    b"GET /runs/live HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\n" + KEY + b"\r\n"
)

SERVED_SECONDS = 0.05
"""The processor seconds that the daemon has, of each connection of a flood, before the next one is opened. So, a busy
machine makes a flood no worse: it would keep the daemon from its work, and not from opening connections."""

CLOSE_FRAME = 0x88

HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
PAGE = b"\x82\x86\x41\x01x\x04\x05/runs"
"""The headers of `GET /runs`, in HPACK."""

REQUESTS: dict[str, bytes | tuple[bytes, bytes]] = {
    "many headers": b"GET /up HTTP/1.1\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
    "small chunks": b"POST /integrations/github/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"1\r\nx\r\n" * 200_000,
    "forms": b"POST /looks HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 4000000\r\n\r\n" + b"a=b&" * 1_000_000,
    "parts of forms": b"POST /looks HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 9000000\r\n\r\n"
    + b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
    * 160_000,
    "upgrades": UPGRADE,
    "websocket messages": (UPGRADE, b"\x81\x80\0\0\0\0" * 100_000),
    "websocket pings": (UPGRADE, b"\x89\x80\0\0\0\0" * 100_000),
    "websocket pieces": (UPGRADE, b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 100_000),
    "HTTP/2 pings": HTTP2 + frame(6, 0, 0, bytes(8)) * 50_000,
    "HTTP/2 requests": HTTP2 + b"".join(frame(1, 5, number, PAGE) for number in range(1, 64, 2)),
    "HTTP/2 resets": HTTP2
    + b"".join(
        frame(1, 5, number, PAGE) + frame(3, 0, number, bytes(4)) for number in range(1, 380, 2)
    ),
}


def address(target: Target) -> tuple[str, int]:
    host, _, port = target.daemon.url.rpartition("//")[2].rpartition(":")
    return host, int(port)


async def request_again(target: Target, request: bytes | tuple[bytes, bytes]) -> None:
    """Send a request on one connection after the other, and read the answers.

    Args:
        request: of two parts, the second one is sent once the first one has been answered: a websocket is refused
            whose messages come before it is accepted.
    """
    while True:
        with suppress(
            OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError
        ):
            stream = await trio.open_tcp_stream(*address(target))
            used, is_over = target.processor_seconds(), trio.Event()
            with trio.move_on_after(1):
                async with stream, open_flat_nursery() as nursery:
                    if isinstance(request, tuple):
                        await stream.send_all(request[0])
                        assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")
                        rest = request[1]
                    else:
                        rest = request
                    nursery.start_soon(read_all, stream, is_over)
                    await stream.send_all(rest)
                    await trio.sleep(0.05)
                    while target.processor_seconds() - used < SERVED_SECONDS:
                        if is_over.is_set():
                            break
                        await trio.sleep(0.05)
                    nursery.cancel_scope.cancel()
        await trio.sleep(0.002)


async def read_all(stream: trio.SocketStream, is_over: trio.Event) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while await stream.receive_some():
            pass
    is_over.set()


@pytest.mark.parametrize("names", [tuple(REQUESTS)[::2], tuple(REQUESTS)[1::2]])
async def test_floods_of_requests_do_not_hold_up_others(
    target: Target, names: tuple[str, ...]
) -> None:
    for name in names:

        async def flood(name: str = name) -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(CONNECTIONS):
                    nursery.start_soon(request_again, target, REQUESTS[name])

        await target.withstand(name, flood)
        assert target.daemon.process.returncode is None


async def answered(target: Target, request: bytes | tuple[bytes, bytes], enough: int) -> int:
    """Send a request on one connection; return how many bytes come until the daemon closes it, or are enough."""
    first, rest = request if isinstance(request, tuple) else (b"", request)
    received = 0
    with trio.fail_after(STUCK_SECONDS):
        async with (
            await trio.open_tcp_stream(*address(target)) as stream,
            open_flat_nursery() as nursery,
        ):
            if first:
                await stream.send_all(first)
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")

            async def send() -> None:
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(rest)

            nursery.start_soon(send)
            with suppress(trio.BrokenResourceError):
                while received < enough and (data := await stream.receive_some()):
                    received += len(data)
            nursery.cancel_scope.cancel()
    return received


@pytest.mark.parametrize(
    ("name", "enough"), [("HTTP/2 pings", 20_000 * 17), ("websocket pings", 50_000 * 2)]
)
async def test_pings_are_answered_until_there_are_too_many(
    target: Target, name: str, enough: int
) -> None:
    """A page needs few frames. `enough` is the size of the answers to about half of the pings."""
    assert await answered(target, REQUESTS[name], enough) < enough


async def test_idle_connections_do_not_hold_up_others(target: Target) -> None:
    with ExitStack() as stack:

        async def connect() -> None:
            for number in range(IDLE):
                visitor = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                stack.callback(visitor.close)
                with trio.move_on_after(0.2), suppress(OSError):
                    await visitor.bind((f"127.0.2.{number % 200 + 1}", 0))
                    await visitor.connect(address(target))
                    await visitor.send(b"GET /up HTTP/1.1\r\nHost:")
            await trio.sleep_forever()

        await target.withstand("idle connections", connect)


async def test_floods_of_websockets_do_not_hold_up_others(target: Target) -> None:
    """So many pages that follow something would hold the loop whenever garbage is collected."""
    closed: list[bytes] = []
    all_open = trio.Event()
    with ExitStack() as stack:

        async def connect() -> None:
            for number in range(PAGES):
                visitor = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                stack.callback(visitor.close)
                await visitor.bind((f"127.0.3.{number // PAGES_OF_ADDRESS + 1}", 0))
                await visitor.connect(address(target))
                await visitor.send(UPGRADE)
                received = bytearray()
                while b"\r\n\r\n" not in received or received.endswith(b"\r\n\r\n"):
                    received += await visitor.recv(65536)
                frame_start = received.index(b"\r\n\r\n") + 4
                if received[frame_start] == CLOSE_FRAME:
                    closed.append(bytes(received[frame_start + 2 :]))
            all_open.set()
            await trio.sleep_forever()

        await target.withstand("websockets", connect, all_open)
    allowed = Settings()
    assert len(closed) == PAGES - allowed.websockets
    assert {each[:2] for each in closed} == {(1013).to_bytes(2)}
    reason = f"127.0.3.1 has {allowed.websockets_per_visitor} pages open already"
    assert any(each.endswith(reason.encode()) for each in closed)
