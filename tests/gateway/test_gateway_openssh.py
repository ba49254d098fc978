"""The stock OpenSSH client in front of a gRPC server: nothing of ours at that end."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from grpclib.server import Server

from bassloop.bridge import call_asyncio
from bassloop.runtimes import RuntimeLost
from bassloop.wire import bass_pb2
from conftest import Gateway, Service

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.openssh,
    pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh here"),
]
THUNK = bass_pb2.Thunk()


def ssh(gateway: Gateway, identity: Path, *rest: str, login: str = "vito") -> list[str]:
    known = identity.with_name("known_hosts")
    known.write_text(gateway.address.known_hosts_line + "\n")
    options = {
        "UserKnownHostsFile": str(known),
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "ExitOnForwardFailure": "yes",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
    }
    flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    where = ["-p", str(gateway.address.port), "-i", str(identity)]
    return ["ssh", "-F", "none", *flags, *where, *rest[:-1], f"{login}@127.0.0.1", rest[-1]]


@asynccontextmanager
async def forwarding(gateway: Gateway, identity: Path, service: Service):
    """A gRPC server on a Unix socket, and `ssh -R` in front of it."""
    path = str(identity.with_name("s.sock"))
    server = Server([service])
    await call_asyncio(server.start, path=path)
    command = ssh(gateway, identity, "-R", f"/runtime:{path}", "forward --os linux --arch amd64")
    run = partial(trio.run_process, command, check=False, capture_stdout=True)
    process = await gateway.nursery.start(run)
    try:
        yield await gateway.pool.wait_for(7, timeout=120), process
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            await process.wait()
            server.close()
            await call_asyncio(server.wait_closed)


async def test_openssh_in_front_of_a_grpc_server_works_as_a_runner(gateway, identity):
    service = Service(many=200, size=32_000)
    async with forwarding(gateway, identity, service) as (runtime, _):
        assert runtime.kind == "openssh"
        async with runtime.run(THUNK, {}) as updates:
            assert sum([len(each.logs[0].data) async for each in updates]) == 6_400_000


async def test_cancelling_reaches_a_runner_behind_openssh(gateway, identity):
    service = Service(then="hang")
    async with forwarding(gateway, identity, service) as (runtime, _):
        async with runtime.run(THUNK, {}) as updates:
            await updates.receive()
        await gateway.until(lambda: service.running == 0)


async def test_a_killed_client_ends_its_run_and_its_runtime(gateway, identity):
    service = Service(then="hang")
    async with forwarding(gateway, identity, service) as (runtime, process):
        with pytest.raises(RuntimeLost):  # noqa: PT012
            async with runtime.run(THUNK, {}) as updates:
                await updates.receive()
                os.kill(process.pid, signal.SIGKILL)
                with trio.fail_after(120):
                    async for _ in updates:
                        pass
        await gateway.until(lambda: not gateway.records.runtimes)


async def test_a_socket_without_a_server_is_explained(gateway, identity):
    forward = f"/runtime:{identity.with_name('nobody.sock')}"
    command = ssh(gateway, identity, "-R", forward, "forward")
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.run_process, command, check=False, capture_stdout=True))
        runtime = await gateway.pool.wait_for(7, timeout=120)
        with pytest.raises(RuntimeLost, match="does a gRPC server answer behind the forward"):
            async with runtime.run(THUNK, {}) as updates:
                await updates.receive()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("command", "login", "status", "says"),
    [
        ("", "vito", 2, b"known commands: forward"),
        ("frobnicate", "vito", 2, b"unknown command: 'frobnicate'"),
        ("forward --priority lots", "vito", 2, b"usage: forward"),
        ("forward", "vito", 2, b"-R /runtime:"),
        ("forward", "nobody", 255, b"Permission denied (publickey)"),
    ],
)
async def test_openssh_shows_the_gateways_error(gateway, identity, command, login, status, says):
    words = ssh(gateway, identity, command, login=login)
    done = await trio.run_process(
        words if command else words[:-1], check=False, capture_stdout=True, capture_stderr=True
    )
    assert done.returncode == status
    assert says in done.stdout + done.stderr
