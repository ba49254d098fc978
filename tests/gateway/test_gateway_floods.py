"""A flood costs its own connection, and delays others by no more than some milliseconds."""

from __future__ import annotations

import struct

import pytest
import trio
import trio.lowlevel
from asyncssh.constants import MSG_IGNORE
from asyncssh.packet import String

from bassloop.bridge import call_asyncio, metering
from bassloop.bridge.metering import TimeBudget

IGNORE = struct.pack(">IBB4x6x", 12, 6, MSG_IGNORE)
"""The smallest packet, in clear, of a type that means nothing."""


async def test_tiny_packets_before_authentication_end_the_connection(gateway):
    stream = await trio.open_tcp_stream("127.0.0.1", gateway.address.port)
    async with stream:
        await stream.receive_some()
        sent = 0
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(200):  # noqa: PT012
            await stream.send_all(b"SSH-2.0-flood\r\n")
            while True:
                await stream.send_all(IGNORE * 4_000)
                sent += 1
    assert sent < 100


async def test_the_bytes_of_a_connection_before_authentication_are_bounded(gateway):
    stream = await trio.open_tcp_stream("127.0.0.1", gateway.address.port)
    big = struct.pack(">IBB", 30_012, 6, MSG_IGNORE) + struct.pack(">I", 30_000) + bytes(30_006)
    async with stream:
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(200):  # noqa: PT012
            await stream.send_all(b"SSH-2.0-flood\r\n")
            while True:
                await stream.send_all(big)


async def test_a_flood_after_authentication_is_slowed_down_and_others_are_served(
    gateway, monkeypatch
):
    """One connection sends packets of no meaning as fast as it can; another one's calls go through."""
    charged = []
    charge = TimeBudget.charge

    def note(self, seconds: float, received: int = 0) -> None:
        charged.append(seconds)
        charge(self, seconds, received)

    monkeypatch.setattr(metering.TimeBudget, "charge", note)
    attacker = await gateway.connect()

    async def flood() -> None:
        def send() -> None:
            for _ in range(2_000):
                if attacker._transport.get_write_buffer_size() > 65_536:
                    return  # asyncio takes the longer for each write, the more is waiting
                attacker.send_packet(MSG_IGNORE, String(b""))

        while True:
            send()
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        with trio.fail_after(200):
            client = await gateway.connect()
            await call_asyncio(client.run, "nonsense")
        nursery.cancel_scope.cancel()
    assert charged
    assert sorted(charged)[int(len(charged) * 0.99) - 1] < 0.05
