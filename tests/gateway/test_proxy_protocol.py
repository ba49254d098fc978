"""The PROXY protocol: whose address counts behind a balancer, and what it may not do."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING

import asyncssh
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bassloop.bridge import call_asyncio
from bassloop.gateway.admission import MAX_HEADER, SIGNATURE, BadHeader, HeaderReader
from conftest import Gateway, open_gateway

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOPBACK = [ip_network("127.0.0.0/8")]
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


def header(source: IPv4Address | IPv6Address, more: bytes = b"") -> bytes:
    """Return the header that a balancer sends for a client of this address."""
    other = type(source)(1)
    body = source.packed + other.packed + struct.pack(">HH", 40_000, 6455) + more
    family = 0x11 if source.version == 4 else 0x21
    return SIGNATURE + struct.pack(">BBH", 0x21, family, len(body)) + body


def read(data: bytes, cuts: Sequence[int] = ()) -> tuple[HeaderReader, bytes]:
    """A reader that was fed, in pieces, and what it left."""
    reader, cuts = HeaderReader(), list(cuts)
    while reader.wanted:
        size = min(reader.wanted, cuts.pop(0) if cuts else reader.wanted, len(data))
        if not size:
            break
        reader.feed(data[:size])
        data = data[size:]
    return reader, data


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(addresses, st.binary(max_size=300), st.lists(st.integers(1, 60)))
def test_a_header_is_read_however_it_is_split(
    source: IPv4Address | IPv6Address, more: bytes, cuts: list[int]
) -> None:
    reader, rest = read(header(source, more) + b"SSH-2.0-client\r\n", cuts)
    assert rest == b"SSH-2.0-client\r\n"
    mapped = source.ipv4_mapped if isinstance(source, IPv6Address) else None
    assert reader.source == (mapped or source)


@given(st.binary(max_size=100), st.integers(0, 16), st.lists(st.integers(1, 60)))
def test_other_bytes_are_refused_or_waited_for_within_limits(
    data: bytes, kept: int, cuts: list[int]
) -> None:
    data = header(IPv4Address("192.0.2.1"))[:kept] + data
    try:
        reader, rest = read(data, cuts)
    except BadHeader:
        return
    taken = len(data) - len(rest)
    assert taken + reader.wanted <= MAX_HEADER
    assert not reader.wanted or not rest


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n", "version 1 of the PROXY protocol"),
        (b"SSH-2.0-OpenSSH_9.2", "no header of the PROXY protocol"),
        (b"\r\n\r\nQ", "no header"),
        (SIGNATURE + b"\x22\x11\x00\x0c", "version and command 0x22 are unknown"),
        (SIGNATURE + b"\x11\x11\x00\x0c", "version and command 0x11 are unknown"),
        (SIGNATURE + b"\x21\x11\xff\xff", "more than 1024 bytes"),
        (SIGNATURE + b"\x21\x11\x00\x04abcd", "no address of TCP"),
        (SIGNATURE + b"\x21\x31\x00\x04abcd", "no address of TCP"),
    ],
)
def test_bytes_that_are_not_a_header_are_described(data: bytes, words: str) -> None:
    with pytest.raises(BadHeader, match=words):
        read(data)


@pytest.mark.parametrize("data", [LOCAL, SIGNATURE + b"\x21\x00\x00\x00", LOCAL[:-1] + b"\x03abc"])
def test_a_connection_of_the_balancer_itself_has_no_source(data: bytes) -> None:
    reader, rest = read(data + b"SSH")
    assert (reader.wanted, reader.source, rest) == (0, None, b"SSH")


def test_a_header_reader_refuses_more_bytes_than_it_wants() -> None:
    with pytest.raises(ValueError, match="17 bytes were fed, and 16 were wanted"):
        HeaderReader().feed(b"x" * 17)


# --- the gateway ---


async def connect(gateway: Gateway, first: bytes) -> asyncssh.SSHClientConnection:
    """A client behind a balancer that sends these bytes first."""
    sock = socket.create_connection(("127.0.0.1", gateway.address.port))
    sock.sendall(first)
    sock.setblocking(False)
    try:
        return await gateway.connect(sock=sock)
    except BaseException:
        sock.close()
        raise


async def test_a_runner_behind_a_balancer_has_its_own_address() -> None:
    with capture_logs() as logs:
        async with open_gateway(proxies=LOOPBACK, connections_per_address=1) as gateway:
            for number in range(3):
                await connect(gateway, header(IPv4Address(f"192.0.2.{number}")))
            await connect(gateway, header(IPv6Address("2001:db8::1")))
            await connect(gateway, LOCAL)
            with pytest.raises((asyncssh.Error, OSError)):
                await connect(gateway, header(IPv4Address("192.0.2.1")))
    assert [each["event"] for each in logs].count("runner connected") == 5


async def test_an_address_that_has_authenticated_before_gets_in_beside_a_stranger() -> None:
    known, stranger, other = (header(IPv4Address(f"192.0.2.{number}")) for number in range(3))
    async with open_gateway(proxies=LOOPBACK, unauthenticated=1) as gateway:
        client = await connect(gateway, known)
        await call_asyncio(client.run, "nonsense")  # so it counts as authenticated
        async with await trio.open_tcp_stream("127.0.0.1", gateway.address.port) as idle:
            await idle.send_all(stranger)
            assert (await idle.receive_some()).startswith(b"SSH-2.0-bassloop")
            with pytest.raises((asyncssh.Error, OSError)):
                await connect(gateway, other)
            await connect(gateway, known)


@pytest.mark.parametrize(
    ("first", "reason"),
    [(b"", "no header"), (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "version 1")],
)
async def test_a_balancer_that_sends_no_header_is_refused(first: bytes, reason: str) -> None:
    with capture_logs() as logs:
        async with open_gateway(proxies=LOOPBACK) as gateway:
            with pytest.raises((asyncssh.Error, OSError)):
                await connect(gateway, first)
    [refused] = [each for each in logs if each["event"] == "connection of a balancer refused"]
    assert reason in refused["reason"]


async def test_only_the_balancer_may_send_a_proxy_header(gateway: Gateway) -> None:
    with pytest.raises((asyncssh.Error, OSError)):
        await connect(gateway, header(IPv4Address("192.0.2.1")))
    await gateway.connect()


async def test_a_silent_balancer_is_not_waited_for() -> None:
    with capture_logs() as logs:
        async with (
            open_gateway(proxies=LOOPBACK, proxy_header_seconds=0.2) as gateway,
            await trio.open_tcp_stream("127.0.0.1", gateway.address.port) as stream,
        ):
            await stream.send_all(SIGNATURE)
            assert await stream.receive_some() == b""
        async with (
            open_gateway(proxies=LOOPBACK, proxy_header_seconds=200) as gateway,
            await trio.open_tcp_stream("127.0.0.1", gateway.address.port),
        ):
            pass  # as a balancer looks if somebody listens
    [refused] = [each for each in logs if each["event"] == "connection of a balancer refused"]
    assert "in time" in refused["reason"]


async def test_the_number_of_awaited_headers_is_limited() -> None:
    async with open_gateway(
        proxies=LOOPBACK, proxy_header_seconds=200, unauthenticated=2
    ) as gateway:
        streams = [await trio.open_tcp_stream("127.0.0.1", gateway.address.port) for _ in range(3)]
        assert await streams[2].receive_some() == b""
        for stream in streams:
            await stream.aclose()


async def test_health_checks_of_a_balancer_do_not_lock_it_out() -> None:
    async with open_gateway(proxies=LOOPBACK, refusals_per_minute=2) as gateway:
        for _ in range(4):
            async with await trio.open_tcp_stream("127.0.0.1", gateway.address.port) as stream:
                await stream.send_all(LOCAL)
                assert (await stream.receive_some()).startswith(b"SSH-2.0-bassloop")
        client = await connect(gateway, LOCAL)
        client.abort()
        await call_asyncio(client.wait_closed)
