"""A flood costs its own connection, and delays others by no more than some milliseconds."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
import trio
import trio.lowlevel
from asyncssh.constants import MSG_IGNORE
from asyncssh.packet import String

from bassloop.bridge import call_asyncio, metering
from bassloop.bridge.metering import (
    UNAUTHENTICATED_BYTES,
    UNAUTHENTICATED_PACKETS,
    TimeBudget,
)
from bassloop.gateway import ssh_server
from conftest import OTHER_KEY, User, open_gateway, public

IGNORE = struct.pack(">IBB4x6x", 12, 6, MSG_IGNORE)
"""The smallest packet, in clear, of a type that means nothing."""

LARGE_IGNORE = struct.pack(">IBBI30006x", 30_012, 6, MSG_IGNORE, 30_000)
"""A large one: few of them reach the limit of bytes, and not that of packets."""


@pytest.mark.parametrize(
    ("packet", "allowed"),
    [(IGNORE, UNAUTHENTICATED_PACKETS), (LARGE_IGNORE, UNAUTHENTICATED_BYTES // len(LARGE_IGNORE))],
    ids=["many packets", "many bytes"],
)
async def test_the_amount_that_a_connection_sends_before_authentication_is_bounded(packet, allowed):
    """It ends soon after as many of them as are allowed; waiting for it to authenticate would take an hour."""
    async with open_gateway(auth_seconds=3_600.0) as gateway:
        stream = await trio.open_tcp_stream("127.0.0.1", gateway.address.port)
        async with stream:
            with trio.fail_after(200), suppress(trio.BrokenResourceError):
                await stream.send_all(b"SSH-2.0-flood\r\n" + packet * (allowed + 10))
                while await stream.receive_some():
                    pass


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


async def test_all_connections_of_a_login_share_a_budget(gateway, monkeypatch):
    made = []

    class NotedBudget(TimeBudget):
        def __init__(self, *arguments: float) -> None:
            super().__init__(*arguments)
            self.charges = 0
            made.append(self)

        def charge(self, seconds: float, received: int = 0) -> None:
            self.charges += 1

    monkeypatch.setattr(ssh_server, "TimeBudget", NotedBudget)
    gateway.keys.users["other"] = User(9, "other")
    gateway.keys.listed["other"] = public(OTHER_KEY)

    async def ask(client) -> None:
        with trio.fail_after(200):
            await call_asyncio(client.run, "nonsense")

    await ask(await gateway.connect())
    [budget] = made
    charges = budget.charges
    assert charges
    await ask(await gateway.connect())
    assert made == [budget]
    assert budget.charges > charges
    charges = budget.charges
    await ask(await gateway.connect("other", key=OTHER_KEY))
    assert len(made) == 2
    assert made[1].charges
    assert budget.charges == charges
