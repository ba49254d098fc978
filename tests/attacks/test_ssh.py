"""Attackers who connect to the SSH port, with a key or without."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest
import trio
from asyncssh.constants import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_DEBUG,
    MSG_GLOBAL_REQUEST,
    MSG_IGNORE,
    MSG_KEXINIT,
)
from asyncssh.packet import Boolean, NameList, String, UInt32

from bassloop.bridge import call_asyncio
from bassloop.bridge.library_internals import transport_of

from .conftest import STUCK_SECONDS
from .runners import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Target

pytestmark = pytest.mark.attacks

IGNORE = struct.pack(">IBB4x6x", 12, 6, MSG_IGNORE)
"""The smallest packet, in clear, of a type that means nothing."""

NAMES = [b"curve25519-sha256", b"ssh-ed25519"] + [b"aes256-gcm@openssh.com"] * 2 + [b""] * 2
EXCHANGE = b"".join(
    NameList([name] if name else []) for name in [*NAMES, b"none", b"none", b"", b""]
)

MSG_KEX_ECDH_INIT = 30
X25519_POINT = b"\x09" + bytes(31)
QUESTIONS = 20_000
STRANGERS = 50
"""How many connections may be open that haven't authenticated yet (`GatewaySettings.unauthenticated`)."""

Client = asyncssh.SSHClientConnection
Send = "Callable[[Client, int], None]"


class Discarding(asyncio.Protocol):
    """Reads nothing: asyncssh would end a connection that gets answers to what it hasn't asked."""

    def __init__(self) -> None:
        self.lost = trio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


def ignore(client: Client, number: int) -> None:
    client.send_packet(MSG_IGNORE, String(b""))


def ask(client: Client, number: int) -> None:
    client.send_packet(MSG_GLOBAL_REQUEST, String(b"what@example.com"), Boolean(True))


def open_sessions(client: Client, number: int) -> None:
    sizes = UInt32(number), UInt32(1 << 20), UInt32(1 << 15)
    client.send_packet(MSG_CHANNEL_OPEN, String(b"session"), *sizes)


def open_addresses(client: Client, number: int) -> None:
    sizes = UInt32(number), UInt32(1 << 20), UInt32(1 << 15)
    where = String(b"localhost"), UInt32(22), String(b"localhost"), UInt32(22)
    client.send_packet(MSG_CHANNEL_OPEN, String(b"direct-tcpip"), *sizes, *where)


def forward(client: Client, number: int) -> None:
    kind = String(b"streamlocal-forward@openssh.com")
    client.send_packet(MSG_GLOBAL_REQUEST, kind, Boolean(True), String(b"/%d/runtime" % number))


def exchange_keys(client: Client, number: int) -> None:
    client.send_packet(MSG_KEXINIT, bytes(16), EXCHANGE, Boolean(False), UInt32(0))


def debug(client: Client, number: int) -> None:
    client.send_packet(MSG_DEBUG, Boolean(True), String(b"x" * 1_000), String(b"en"))


def forward_ports(client: Client, number: int) -> None:
    where = String(b""), UInt32(1024 + number % 60_000)
    client.send_packet(MSG_GLOBAL_REQUEST, String(b"tcpip-forward"), Boolean(True), *where)


def request(client: Client, number: int, kind: bytes, *rest: bytes) -> None:
    """Request something of a session. The server has numbered sessions from 0 on."""
    client.send_packet(
        MSG_CHANNEL_REQUEST, UInt32(number), String(kind), Boolean(kind != b"signal"), *rest
    )


def adjust_windows(client: Client, number: int) -> None:
    if not number:
        open_sessions(client, number)
    client.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(0), UInt32((1 << 32) - 1))


def set_variables(client: Client, number: int) -> None:
    if not number:
        open_sessions(client, number)
    request(client, 0, b"env", String(b"NAME_%d" % number), String(b"x" * 1_000))


def send_input(client: Client, number: int) -> None:
    if not number:
        open_sessions(client, number)
        request(client, 0, b"shell")
    client.send_packet(MSG_CHANNEL_DATA, UInt32(0), String(b"x"))


def send_to_closed(client: Client, number: int) -> None:
    if not number:
        open_sessions(client, number)
        client.send_packet(MSG_CHANNEL_CLOSE, UInt32(0))
    client.send_packet(MSG_CHANNEL_DATA, UInt32(0), String(b"x"))


def begin_sessions(client: Client, number: int) -> None:
    open_sessions(client, number)
    request(client, number, b"exec", String(b"nothing"))
    client.send_packet(MSG_CHANNEL_CLOSE, UInt32(number))


def register(client: Client, number: int) -> None:
    if not number:
        kind = String(b"streamlocal-forward@openssh.com")
        client.send_packet(MSG_GLOBAL_REQUEST, kind, Boolean(True), String(b"/runtime"))
    open_sessions(client, number)
    request(client, number, b"exec", String(b"forward"))
    request(client, number, b"signal", String(b"TERM"))
    client.send_packet(MSG_CHANNEL_CLOSE, UInt32(number))


MESSAGES = {
    "messages without a meaning": ignore,
    "questions": ask,
    "channels for sessions": open_sessions,
    "channels for addresses": open_addresses,
    "forwards": forward,
    "key exchanges": exchange_keys,
    "debug messages": debug,
    "forwards of ports": forward_ports,
    "window adjustments": adjust_windows,
    "environment variables": set_variables,
    "input for a session": send_input,
    "data for a closed session": send_to_closed,
    "sessions that end at once": begin_sessions,
    "runtimes that end at once": register,
}


async def test_tiny_packets_before_the_key_exchange_do_not_hold_up_others(target: Target) -> None:
    ended = 0

    async def flood() -> None:
        nonlocal ended
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", target.daemon.ssh_port)
                async with stream:
                    await stream.send_all(b"SSH-2.0-flood\r\n")
                    while True:
                        await stream.send_all(IGNORE * 4_000)
            except (OSError, trio.BrokenResourceError):
                ended += 1
            await trio.sleep(0.01)

    async def floods() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(flood)

    await target.withstand("tiny packets", floods)
    assert ended, "no connection was ended for what it sent before authentication"


async def test_control_messages_after_authentication_do_not_hold_up_others(target: Target) -> None:
    async def flood(send: Callable[[Client, int], None]) -> None:
        while True:
            client = await connect(target)
            connection = Discarding()
            transport_of(client).set_protocol(connection)
            with suppress(OSError, asyncssh.Error):
                for number in range(1 << 20):
                    if connection.lost.is_set():
                        break
                    send(client, number)
                    if number % 100 == 0:
                        # In small bursts: the others share this process with the attacker.
                        await trio.sleep(0.002)
            client.abort()

    for name, send in MESSAGES.items():
        await target.withstand(name, partial(flood, send))


async def test_questions_during_a_key_exchange_do_not_hold_up_others(target: Target) -> None:
    """The daemon would keep any number of answers until then, and send all at once."""
    enough = trio.Event()

    async def flood() -> None:
        while True:
            client = await connect(target)
            connection = Discarding()
            transport_of(client).set_protocol(connection)
            exchange_keys(client, 0)
            for number in range(QUESTIONS):
                ask(client, number)
                if number % 100 == 0:
                    await trio.sleep(0.002)
            client.send_packet(MSG_KEX_ECDH_INIT, String(X25519_POINT))
            with trio.fail_after(STUCK_SECONDS):
                await connection.lost.wait()
            client.abort()
            enough.set()

    await target.withstand("questions during a key exchange", flood, enough)


async def test_key_exchanges_of_strangers_do_not_hold_up_others(target: Target) -> None:
    """Each takes an elliptic curve and a signature of the host's key, and ends without a known key."""
    key = asyncssh.generate_private_key("ssh-ed25519")

    async def dial(number: int) -> None:
        options: dict[str, Any] = {
            "known_hosts": None,
            "config": None,
            "agent_path": None,
            "client_keys": [key],
            "local_addr": (f"127.0.4.{number + 1}", 0),
        }
        while True:
            with suppress(OSError, asyncssh.Error):
                await call_asyncio(
                    partial(asyncssh.connect, **options),
                    "127.0.0.1",
                    target.daemon.ssh_port,
                )
            await trio.sleep(0.002)

    async def flood() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(dial, number)

    await target.withstand("key exchanges of strangers", flood)


async def is_admitted(stranger: trio.socket.SocketType) -> bool:
    """Return whether the daemon greets a connection, and doesn't just close it."""
    with suppress(OSError):
        return bool(await stranger.recv(1))
    return False


async def test_idle_strangers_keep_no_known_runner_out(target: Target) -> None:
    """Some of them are dropped at random before all places for strangers are taken."""
    async with target.world.runner(target.daemon):
        pass
    async with AsyncExitStack() as stack:
        strangers = []
        for number in range(60):
            stranger = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            stack.callback(stranger.close)
            await stranger.bind((f"127.0.1.{number % 12}", 0))
            with suppress(OSError):
                await stranger.connect(("127.0.0.1", target.daemon.ssh_port))
            strangers.append(stranger)
        async with target.used_by_others("idle strangers"):
            with trio.fail_after(400):
                admitted = sum([await is_admitted(stranger) for stranger in strangers])
                async with target.world.runner(target.daemon):
                    await target.other_is_concluded("idle strangers")
    assert admitted < STRANGERS
