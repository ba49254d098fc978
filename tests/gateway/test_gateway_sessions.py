"""Sessions of runners at the gateway, from the first to the last."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import suppress

import asyncssh
import pytest
import trio

from bassloop.bridge import call_asyncio
from bassloop.gateway import ssh_server
from bassloop.runtimes import Platform, RunFailed, RuntimeLost
from bassloop.wire import bass_pb2
from conftest import OTHER_KEY, Service, open_gateway

THUNK = bass_pb2.Thunk()


async def received(runtime, **metadata: str) -> int:
    async with runtime.run(THUNK, metadata) as updates:
        return sum([len(update.logs[0].data) async for update in updates])


async def test_a_runner_registers_and_gets_a_confirmation(gateway):
    client = await gateway.connect()
    await call_asyncio(client.create_unix_server, lambda: None, "/runtime", encoding=None)
    session = await gateway.session(client, "forward --os=darwin --arch arm64 -p 5")
    said = await call_asyncio(session.stdout.readline)
    (status,) = gateway.pool.snapshot()
    assert said == f"registered darwin/arm64 for vito, priority 5, as {status.id}\n"
    assert (status.login, status.user_id, status.priority) == ("vito", 7, 5)
    assert status.platform == Platform("darwin", "arm64")
    assert gateway.records.runtimes[status.id].address == f"ssh:{status.id}/runtime"


async def test_the_last_free_descriptor_is_enough_for_a_connection(gateway):
    """If the gateway needed another one, it would refuse the runner as if its key were wrong."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/dev/fd"))
    client = socket.socket()
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, limits[1]))
        with suppress(OSError):
            while True:
                taken.append(os.dup(client.fileno()))
        os.close(taken.pop())
        client.connect(("127.0.0.1", gateway.address.port))
        async with trio.SocketStream(trio.socket.from_stdlib_socket(client)) as stream:
            with trio.fail_after(120):
                assert await stream.receive_some(16) == b"SSH-2.0-bassloop"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for each in taken:
            os.close(each)


async def test_calls_reach_the_runner_without_a_listening_socket(gateway):
    async with gateway.runner(Service(many=100, size=1000)) as (runtime, _):
        assert await received(runtime) == 100_000
        assert await runtime.resolve(bass_pb2.ImageRef(), {}) == bass_pb2.Thunk()


async def test_a_failing_thunk_is_reported_as_a_failure(gateway):
    async with gateway.runner(Service(then="fail")) as (runtime, _):
        with pytest.raises(RunFailed, match="exit status 3"):
            await received(runtime)


async def test_cancelling_a_run_ends_it_at_the_runner(gateway):
    service = Service(then="hang")
    async with gateway.runner(service) as (runtime, _):
        async with runtime.run(THUNK, {}) as updates:
            await updates.receive()
        await gateway.until(lambda: service.running == 0)
        assert await received(runtime) if service.then == "end" else True


async def test_a_stalled_run_does_not_slow_down_another_one(gateway):
    service = Service(many=1000, size=32_000)
    async with gateway.runner(service) as (runtime, _), runtime.run(THUNK, {}) as stalled:
        await stalled.receive()
        await gateway.until(lambda: service.sent > 20)
        assert await received(runtime) == 32_000_000


async def test_a_slow_reader_makes_the_runner_wait(gateway):
    service = Service(many=10_000, size=32_000)
    async with gateway.runner(service) as (runtime, _), runtime.run(THUNK, {}) as updates:
        for _ in range(100):
            await updates.receive()
        before = -1
        while before != service.sent:
            before = service.sent
            await trio.sleep(0.1)
        assert service.sent * service.size < (100 * 32_000) + (4 << 20)


async def test_one_connection_can_have_several_runtimes(gateway):
    client = await gateway.connect()
    for path in ("/runtime", "/other/runtime"):
        await call_asyncio(client.create_unix_server, lambda: None, path, encoding=None)
    await gateway.session(client, "forward --os linux")
    await gateway.until(lambda: len(gateway.pool.snapshot()) == 1)
    second = await gateway.session(client, "forward --os darwin")
    await gateway.until(lambda: len(gateway.pool.snapshot()) == 2)
    addresses = sorted(each.address.partition("/")[2] for each in gateway.records.runtimes.values())
    assert addresses == ["other/runtime", "runtime"]
    second.close()
    await gateway.until(lambda: len(gateway.records.runtimes) == 1)
    assert [str(each.platform) for each in gateway.pool.snapshot()] == ["linux/amd64"]


async def test_only_the_first_runtime_of_a_go_client_is_offered(gateway):
    client = await gateway.connect(client_version="Go")
    await call_asyncio(client.create_unix_server, lambda: None, "/runtime", encoding=None)
    first = await gateway.session(client, "forward --arch amd64")
    await call_asyncio(first.stdout.readline)
    client._remote_listeners.clear()  # as the Go client, which asks for the same path again
    await call_asyncio(client.create_unix_server, lambda: None, "/runtime", encoding=None)
    second = await gateway.session(client, "forward --arch arm64")
    said = await call_asyncio(second.stdout.readline)
    assert said.startswith("not registered: of several runtimes on one connection")
    (status,) = gateway.pool.snapshot()
    assert (status.kind, status.platform.arch) == ("go", "amd64")
    assert "it can't publish" in status.caveats


async def test_one_user_can_have_several_connections(gateway):
    async with gateway.runner(), gateway.runner():
        await gateway.until(lambda: len(gateway.pool.candidates(7)) == 2)


async def test_a_runner_that_disconnects_is_removed_and_its_runs_are_lost(gateway):
    async with gateway.runner(Service(then="hang")) as (runtime, client):
        with pytest.raises(RuntimeLost, match="vito's runner for linux/amd64"):  # noqa: PT012
            async with runtime.run(THUNK, {}) as updates:
                await updates.receive()
                client.abort()
                async for _ in updates:
                    pass
        await gateway.until(lambda: not gateway.records.runtimes)
        assert gateway.pool.snapshot() == []


async def test_a_forward_that_is_cancelled_takes_its_runtime_along(gateway):
    client = await gateway.connect()
    listener = await call_asyncio(
        client.create_unix_server, lambda: None, "/runtime", encoding=None
    )
    session = await gateway.session(client, "forward")
    await gateway.until(gateway.pool.snapshot)
    listener.close()
    await call_asyncio(session.wait_closed)
    assert gateway.pool.snapshot() == []


async def test_a_runner_with_a_broken_store_is_reported(gateway):
    gateway.records.broken = True
    client = await gateway.connect()
    await call_asyncio(client.create_unix_server, lambda: None, "/runtime", encoding=None)
    status, said = await gateway.refused(client, "forward")
    assert status == 1
    assert "could not register" in said


async def test_a_session_without_a_forward_explains_how_to_request_one(gateway):
    status, said = await gateway.refused(await gateway.connect(), "forward")
    assert status == 2
    assert "-R /runtime:/path/of/the/runner.sock" in said


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("frobnicate --hard", "unknown command: 'frobnicate'\nknown commands: forward\n"),
        (None, "a command is needed\nknown commands: forward\n"),
        ("forward --priority lots", "'lots' is no number"),
        ("forward --os 'a b'", "'a b' is not the name of a platform"),
        ("forward --unknown", "unrecognized arguments: --unknown\nusage: forward"),
        ("forward extra", "unrecognized arguments: extra"),
        ("forward --os", "expected one argument"),
        ("forward 'x", "quotes don't match"),
    ],
)
async def test_an_invalid_command_is_refused_with_a_hint(gateway, command, says):
    status, said = await gateway.refused(await gateway.connect(), command)
    assert status == 2
    assert says in said


async def test_keepalives_are_answered(gateway):
    client = await gateway.connect()
    kind, _ = await call_asyncio(client._make_global_request, b"keepalive", b"sup")
    assert kind in (81, 82), "success and failure both count"


async def test_shells_terminals_agents_and_other_forwarding_are_refused(gateway):
    client = await gateway.connect()
    with pytest.raises(asyncssh.ChannelOpenError):
        await call_asyncio(client.create_process, "forward", term_type="xterm")
    with pytest.raises(asyncssh.ChannelOpenError):
        await call_asyncio(client.open_connection, "127.0.0.1", 22)
    with pytest.raises(asyncssh.ChannelOpenError):
        await call_asyncio(client.open_unix_connection, "/run/x")
    with pytest.raises(asyncssh.ChannelListenError):
        await call_asyncio(client.create_server, lambda *_: None, "127.0.0.1", 0)
    with pytest.raises(asyncssh.ChannelOpenError):
        await call_asyncio(client.start_sftp_client)
    assert await call_asyncio(client._make_global_request, b"x") is not None, "it is still there"


async def test_the_numbers_of_sessions_and_forwards_are_limited():
    async with open_gateway(sessions_per_connection=2, forwards_per_connection=2) as gateway:
        client = await gateway.connect()
        for number in range(2):
            await call_asyncio(
                client.create_unix_server, lambda: None, f"/{number}/runtime", encoding=None
            )
            await gateway.session(client, "forward")
        with pytest.raises(asyncssh.ChannelOpenError, match="Session refused"):
            await gateway.session(client, "forward")
        with pytest.raises(asyncssh.ChannelListenError):
            await call_asyncio(client.create_unix_server, lambda: None, "/2/runtime", encoding=None)
        assert len(gateway.pool.snapshot()) == 2


async def test_a_silent_peer_is_noticed():
    quick = {"keepalive_seconds": 0.3, "keepalive_count": 3}
    async with open_gateway(**quick) as gateway, gateway.runner() as (_, client):
        asked = client._recv_seq + 5
        await gateway.until(lambda: client._recv_seq >= asked)
        assert gateway.pool.snapshot(), "answered questions keep a runner connected"
        client._transport.pause_reading()
        await gateway.until(lambda: not gateway.pool.snapshot())


def test_a_silent_peer_is_noticed_within_90_seconds():
    from bassloop.gateway import GatewaySettings
    from bassloop.settings import Settings

    own, daemon = GatewaySettings(host_key=OTHER_KEY), Settings()
    assert own.keepalive_seconds * (own.keepalive_count + 1) <= 90
    assert daemon.ssh_keepalive_seconds * (daemon.ssh_keepalive_count + 1) <= 90


async def test_withdrawing_a_key_ends_the_connection():
    async with open_gateway(recheck_seconds=0.05) as gateway, gateway.runner() as (_, client):
        gateway.keys.broken = True
        await trio.sleep(0.2)
        assert gateway.pool.snapshot(), "nobody is thrown out because GitHub is down"
        gateway.keys.broken, gateway.keys.listed = False, {}
        await call_asyncio(client.wait_closed)
        assert gateway.pool.snapshot() == []


async def test_an_old_answer_about_a_key_is_checked_as_soon_as_github_answers():
    async with open_gateway(recheck_seconds=1000) as gateway:
        gateway.keys.old, gateway.keys.answering = True, trio.Event()
        async with gateway.runner() as (_, client):
            assert gateway.pool.snapshot()
            gateway.keys.listed = {}
            gateway.keys.answering.set()
            await call_asyncio(client.wait_closed)
            assert gateway.pool.snapshot() == []


async def test_a_gateway_that_stops_notifies_its_runners(gateway):
    client = await gateway.connect()
    await call_asyncio(client.create_unix_server, lambda: None, "/runtime", encoding=None)
    session = await gateway.session(client, "forward")
    await call_asyncio(session.stdout.readline)
    gateway.scope.cancel()
    said = await call_asyncio(session.stdout.read)
    await call_asyncio(client.wait_closed)
    assert said == "the loop is going down; connect again in 2 s\n"
    assert session.exit_status == 0
    await gateway.stopped.wait()


async def test_runners_are_told_to_come_back_at_different_times_however_many_have_left_already(
    gateway, monkeypatch
):
    monkeypatch.setattr(ssh_server, "LOGINS_A_SECOND", 0.5)
    monkeypatch.setattr(ssh_server.random, "uniform", lambda first, last: last)
    sessions = []
    for _ in range(4):
        client = await gateway.connect()
        await call_asyncio(client.create_unix_server, lambda: None, "/runtime", encoding=None)
        sessions.append(await gateway.session(client, "forward"))
        await call_asyncio(sessions[-1].stdout.readline)
    gateway.scope.cancel()
    said = [await call_asyncio(session.stdout.read) for session in sessions]
    assert said == ["the loop is going down; connect again in 10 s\n"] * 4
    await gateway.stopped.wait()


async def test_a_node_that_drains_sends_runners_to_others_once_they_are_idle(gateway):
    again = "this node drains, others go on; connect again in 2 s\n"
    async with gateway.runner(Service(then="hang")) as (busy, _):
        async with busy.run(THUNK, {}) as updates:
            await anext(updates)
            idle = await gateway.connect(key=OTHER_KEY)
            await call_asyncio(idle.create_unix_server, lambda: None, "/runtime", encoding=None)
            session = await gateway.session(idle, "forward --os darwin")
            await call_asyncio(session.stdout.readline)
            gateway.pool.dismiss_idle()
            assert await call_asyncio(session.stdout.read) == again
            assert [each.id for each in gateway.pool.snapshot()] == [busy.id]
            assert await gateway.refused(idle, "forward") == (0, again)
        await gateway.until(lambda: not gateway.pool.snapshot())
