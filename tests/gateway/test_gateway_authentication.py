"""Authentication at the gateway. Refused clients learn nothing."""

from __future__ import annotations

import time

import asyncssh
import pytest
import trio

from bassloop.bridge import call_asyncio
from bassloop.gateway.authentication import Authentication, Identity
from conftest import OTHER_KEY, USER_KEY, User, open_gateway, public

STRANGE_KEY = asyncssh.generate_private_key("ssh-ed25519")


@pytest.mark.parametrize("key", [USER_KEY, OTHER_KEY])
async def test_each_key_that_github_lists_is_accepted(gateway, key):
    client = await gateway.connect(key=key)
    assert not client.is_closed()


async def test_a_login_is_found_whatever_its_case(gateway):
    await gateway.connect("VITO")


@pytest.mark.parametrize("login", ["vito", "nokeys", "nobody", "../../etc", "x" * 200, "é"])
async def test_a_wrong_key_and_a_login_that_does_not_exist_are_refused_alike(gateway, login):
    with pytest.raises(asyncssh.PermissionDenied) as denied:
        await gateway.connect(login, STRANGE_KEY)
    assert str(denied.value) == f"Permission denied for user {login} on host 127.0.0.1"


async def test_passwords_and_nothing_at_all_are_refused(gateway):
    with pytest.raises(asyncssh.PermissionDenied):
        await gateway.connect(client_keys=[], password="secret")


async def test_nobody_can_authenticate_while_github_is_down(gateway):
    gateway.keys.broken = True
    with pytest.raises(asyncssh.PermissionDenied):
        await gateway.connect()
    gateway.keys.broken = False
    await gateway.connect()


async def test_one_connection_asks_github_twice_at_most_for_all_its_keys(gateway):
    await gateway.connect()
    assert gateway.keys.asked == [("vito", False)]
    await gateway.connect(client_keys=[STRANGE_KEY, STRANGE_KEY, STRANGE_KEY, USER_KEY])
    assert gateway.keys.asked[1:] == [("vito", False), ("vito", True)]


async def test_a_key_that_was_added_a_moment_ago_is_accepted(gateway):
    gateway.keys.added = {"vito": public(STRANGE_KEY)}
    await gateway.connect(key=STRANGE_KEY)


async def test_too_many_keys_end_the_connection():
    async with open_gateway(keys_per_connection=3) as gateway:
        keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(5)]
        with pytest.raises(asyncssh.DisconnectError, match="too many keys"):
            await gateway.connect(client_keys=[*keys, USER_KEY])


async def test_the_first_refusal_takes_equally_long_for_everybody(autojump_clock):
    class Slow:
        async def user(self, login: str) -> User | None:
            await trio.sleep(0.2 if login == "vito" else 0.01)
            return User(7, "vito") if login == "vito" else None

        async def keys(self, login: str, *, fresh: bool = False) -> list[str]:
            await trio.sleep(0 if fresh else 0.3 if login == "vito" else 0.01)
            return [*public(USER_KEY), "not a key"]

    for login, key, took in (
        ("vito", STRANGE_KEY, 0.5),
        ("nobody", STRANGE_KEY, 0.5),
        ("nobody", USER_KEY, 0.5),
        ("vito", USER_KEY, 0.3),
    ):
        authentication = Authentication(Slow(), refusal_seconds=0.5)
        began = trio.current_time()
        found = await authentication.check(login, key)
        assert trio.current_time() - began == pytest.approx(took)
        assert (found is None) == (took == 0.5)
        again = trio.current_time()
        await authentication.check(login, STRANGE_KEY)
        assert trio.current_time() - again == pytest.approx(0 if found is None else 0.5)


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.7, 1.3])
async def test_a_refusal_takes_equally_long_while_github_is_slow(autojump_clock, seconds):
    class Slow:
        async def user(self, login: str) -> User | None:
            await trio.sleep(seconds if login == "vito" else 0.9 * seconds)
            return User(7, "vito") if login == "vito" else None

        async def keys(self, login: str, *, fresh: bool = False) -> list[str]:
            return public(USER_KEY)

    took = set()
    for login in ("vito", "nobody"):
        began = trio.current_time()
        assert await Authentication(Slow(), refusal_seconds=1).check(login, STRANGE_KEY) is None
        took.add(round(trio.current_time() - began, 6))
    assert len(took) == 1, took


async def test_the_identity_comes_from_github_and_not_from_the_client():
    class Source:
        async def user(self, login: str) -> User:
            return User(7, "Vito")

        async def keys(self, login: str, *, fresh: bool = False) -> list[str]:
            return public(USER_KEY)

    found = await Authentication(Source(), refusal_seconds=0).check("vito", USER_KEY)
    assert found == Identity(7, "Vito", public(USER_KEY)[0].split()[1])


async def test_a_connection_that_does_not_authenticate_is_closed():
    async with open_gateway(auth_seconds=0.1) as gateway:
        stream = await trio.open_tcp_stream("127.0.0.1", gateway.address.port)
        async with stream:
            with trio.fail_after(120):
                while await stream.receive_some(1024):
                    pass


async def test_an_address_that_was_refused_too_often_has_to_wait():
    async with open_gateway(refusals_per_minute=3) as gateway:
        for _ in range(3):
            with pytest.raises(asyncssh.PermissionDenied):
                await gateway.connect(key=STRANGE_KEY)
        with pytest.raises((asyncssh.ConnectionLost, OSError)):
            await gateway.connect()


@pytest.mark.parametrize("limit", ["connections", "connections_per_address"])
async def test_the_number_of_connections_is_limited(limit):
    async with open_gateway(**{limit: 2}) as gateway:
        first = await gateway.connect()
        await gateway.connect()
        with pytest.raises((asyncssh.ConnectionLost, OSError)):
            await gateway.connect()
        first.close()
        await call_asyncio(first.wait_closed)
        await trio.testing.wait_all_tasks_blocked(0.05)
        await gateway.connect()


@pytest.mark.parametrize("limit", ["unauthenticated", "unauthenticated_per_address"])
async def test_the_number_of_unauthenticated_connections_is_limited(limit):
    async with open_gateway(**{limit: 1}) as gateway:
        idle = await trio.open_tcp_stream("127.0.0.1", gateway.address.port)
        assert (await idle.receive_some(100)).startswith(b"SSH-2.0-bassloop")
        with pytest.raises((asyncssh.ConnectionLost, OSError)):
            await gateway.connect()
        await idle.aclose()
        await trio.testing.wait_all_tasks_blocked(0.05)
        await gateway.connect()


@pytest.mark.parametrize(
    "noise", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 5000, b"SSH-2.0-x\r\n\xff\xff"]
)
async def test_connections_that_do_not_speak_ssh_are_refused(gateway, noise):
    began = time.monotonic()
    async with await trio.open_tcp_stream("127.0.0.1", gateway.address.port) as stream:
        try:
            await stream.send_all(noise)
            await stream.send_eof()
            while await stream.receive_some(4096):
                pass
        except trio.BrokenResourceError:
            pass  # a reset is an answer, too
    assert time.monotonic() - began < 60
    await gateway.connect()


async def test_post_quantum_key_exchanges_are_preferred_and_old_ones_are_not_supported(gateway):
    client = await gateway.connect()
    assert client.get_extra_info("server_version") == "SSH-2.0-bassloop"
    for old in (
        {"kex_algs": ["diffie-hellman-group14-sha256"]},
        {"encryption_algs": ["aes256-ctr"]},
        {"mac_algs": ["hmac-sha1"], "encryption_algs": ["aes256-ctr"]},
    ):
        with pytest.raises((asyncssh.KeyExchangeFailed, asyncssh.ConnectionLost)):
            await gateway.connect(**old)
