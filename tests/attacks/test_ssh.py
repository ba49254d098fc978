"""Whoever dials in to the SSH port, with a key or without."""

from __future__ import annotations

import socket
import struct
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import asyncssh
import pytest
import trio
from asyncssh.constants import MSG_IGNORE
from asyncssh.packet import String

from bassloop.bridge import call_asyncio

if TYPE_CHECKING:
    from .conftest import Target

pytestmark = pytest.mark.attacks

IGNORE = struct.pack(">IBB4x6x", 12, 6, MSG_IGNORE)
"""The smallest packet, in clear, of a type that means nothing."""

SECONDS = 8


async def test_tiny_packets_before_the_key_exchange(target: Target) -> None:
    async def flood() -> None:
        while True:
            with suppress(OSError, trio.BrokenResourceError):
                stream = await trio.open_tcp_stream("127.0.0.1", target.daemon.ssh_port)
                async with stream:
                    await stream.send_all(b"SSH-2.0-flood\r\n")
                    while True:
                        await stream.send_all(IGNORE * 4_000)
            await trio.sleep(0.01)

    async with target.visited(), trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(flood)
        await trio.sleep(SECONDS)
        nursery.cancel_scope.cancel()


async def test_packets_of_no_meaning_after_authentication(target: Target) -> None:
    known = asyncssh.import_known_hosts(target.daemon.host_key)

    async def flood() -> None:
        client = await call_asyncio(
            asyncssh.connect,
            "127.0.0.1",
            target.daemon.ssh_port,
            username="octocat",
            client_keys=[target.world.key],
            known_hosts=known,
            config=None,
            agent_path=None,
        )
        with suppress(OSError, asyncssh.Error):
            while not client.is_closed():
                # In small bursts: the visitor shares this process.
                for _ in range(100):
                    client.send_packet(MSG_IGNORE, String(b""))
                await trio.sleep(0.002)

    async with target.visited(), trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        await trio.sleep(SECONDS)
        nursery.cancel_scope.cancel()


async def test_idle_strangers_keep_no_known_runner_out(target: Target) -> None:
    async with target.world.runner(target.daemon):
        pass
    async with AsyncExitStack() as stack:
        for number in range(60):
            stranger = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            stack.callback(stranger.close)
            await stranger.bind((f"127.0.1.{number % 12}", 0))
            with suppress(OSError):
                await stranger.connect(("127.0.0.1", target.daemon.ssh_port))
        with trio.fail_after(30):
            async with target.world.runner(target.daemon):
                pass
